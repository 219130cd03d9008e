"""500 hostile strings in every text field, on every page: they are text, and nothing else."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote, urlsplit

import pytest
from django.core.files.base import ContentFile
from django.db import connection
from playwright.sync_api import Page as Tab

from hone.accounts.models import User
from hone.core.net.recorded import Entry
from hone.datasets.services import dataset_create
from hone.datasets.services.looking import findings_make
from hone.tools.services import recording_add
from jobs.models import Trajectory
from tests.e2e.house.hostile import COUNT, MARK, Poison, hostile
from tests.e2e.house.pages import NEWCOMER, PAGES, Page
from tests.e2e.house.visiting import Say, Visit
from tests.e2e.house.world import House

ROUNDS = 2
ROWS = 50
WIDTH = 1440
LOOK = """() => {
  const hidden = /[\\p{Cc}\\p{Cf}\\p{Zl}\\p{Zp}\\u034f\\u115f\\u3164]/u;
  const texts = document.createTreeWalker(document.documentElement, NodeFilter.SHOW_TEXT);
  const seen = [];
  while (texts.nextNode()) {
    const node = texts.currentNode;
    const text = node.data.replace(/[\\n\\t]/g, "");
    if (!node.parentElement.closest("textarea, script") && hidden.test(text))
      seen.push(`${node.parentElement.tagName}: ${JSON.stringify(node.data.slice(0, 80))}`);
  }
  const foreign = [
    "iframe, object, embed, base, video, math, marquee, style, a[href^='javascript:']",
    "[onerror], [onload], [onfocus], [onmouseover], [ontoggle], [hx-vals], [src*='evil']",
  ].join();
  return {
    hidden: seen.slice(0, 3),
    foreign: [...document.querySelectorAll(foreign)].map(each => each.outerHTML.slice(0, 80)),
    width: document.documentElement.scrollWidth,
    main: document.querySelectorAll("main").length,
  };
}"""
SEARCHES = (
    Page("jobs_search", "/jobs/?q={words}"),
    Page("trajectories_search", "/jobs/{running}/trajectories/?text={words}&tool={words}"),
    Page("rows_search", "/datasets/{dataset}/v1/rows/?q={words}&from={words}"),
    Page("models_kind", "/graders/new/?kind={words}"),
    Page("sign_in_next", "/login/?next={words}", "stranger"),
)
ADDED = (
    Page("hostile_rows", "/datasets/{hostile_rows}/v1/rows/"),
    Page("hostile_dataset", "/datasets/{hostile_rows}/"),
    Page("hostile_recording", "/recordings/{hostile_recording}/"),
)
"""Things that are files, made of all the strings at once."""


def visited(turn: int) -> list[Page]:
    """One page of each kind, in another of its states each turn; none of an organisation with
    nothing in it. Another query of an address is another kind: it has a template of its own.
    A base model's name is its address, and 250 strings make none: it is read where it is listed."""
    kinds: dict[tuple[str, str, int], list[Page]] = {}
    for page in PAGES:
        if page.who != NEWCOMER and "{model}" not in page.address:
            query = page.address.partition("?")[2]
            kinds.setdefault((page.url_name, query, page.status), []).append(page)
    return [states[turn % len(states)] for states in kinds.values()]


def files_make(house: House, poison: Poison) -> None:
    """A dataset and a recording whose rows hold all the strings."""
    owner: User = house.people["owner"]
    acme = house.running.organisation
    each = COUNT // ROWS
    rows = []
    for row in range(ROWS):
        poison.chunk("Row", 0)
        texts = [hostile(row * each + n, poison.fields.index("Row")) for n in range(each)]
        said = [{"role": "system", "content": texts[0]}, {"role": "user", "content": texts[1]}]
        rows.append({"messages": said, texts[2]: texts[3], "notes": "\n".join(texts)})
    content = "\n".join(json.dumps(row) for row in rows).encode()
    version = dataset_create(
        acting_user=owner,
        organisation=acme,
        name="hostile rows",
        upload=ContentFile(content, name="hostile.jsonl"),
    )
    findings_make(version.pk)
    entries = [
        Entry(tool="x", arguments=json.dumps(row), row="", status="ok", output=row["notes"])
        for row in rows
    ]
    recording = recording_add(
        acting_user=owner, organisation=acme, name="hostile", source="A test", entries=entries
    )
    house.ids |= {"hostile_rows": version.dataset_id, "hostile_recording": recording.pk}


def faults(page: Page, tab: Tab) -> list[str]:
    found: dict[str, Any] = tab.evaluate(LOOK)
    said = [f"hidden characters in {each}" for each in found["hidden"]]
    said += [f"markup {each}" for each in found["foreign"]]
    if found["width"] > WIDTH:
        said.append(f"{found['width']} px wide")
    if found["main"] != 1:
        said.append("its frame is broken")
    return [f"{page.name}: {each}" for each in said]


@pytest.mark.skipif(
    connection.vendor != "sqlite", reason="fields hold more than the length that they are given"
)
def test_500_hostile_strings_in_every_field_are_text_on_every_page(
    visit: Visit, house: House, say: Say
) -> None:
    poison, home = Poison(ROUNDS), urlsplit(visit.address).netloc
    files_make(house, poison)
    asked, findings, shown = [], [], set()
    for who in ("owner", "viewer", "stranger"):
        tab = visit.tab(who)
        tab.set_viewport_size({"width": WIDTH, "height": 900})
        tab.on("request", lambda request: asked.append(request.url))
    for turn in range(ROUNDS):
        poison.pour(turn)
        for name in ("plain", "looped", "faulty"):
            poison.pour_body(Trajectory.objects.get(pk=house.ids[name]), turn)
        house.ids["words"] = quote(hostile(turn * 7, 999) + hostile(turn * 50 + 1, 999))
        for page in (*visited(turn), *SEARCHES, *(ADDED if turn == 0 else ())):
            tab = visit.tab(page.who)
            visit.go(page, tab)
            marks = MARK.findall(tab.content())
            shown |= {(page.name, int(place), int(number)) for place, number in marks}
            findings += faults(page, tab)
    seen = {number for _, _, number in shown}
    pages, fields = ({each[place] for each in shown} for place in (0, 1))
    say(
        f"{len(pages)} pages × {len(fields)} of {len(poison.fields)} fields × {len(seen)} strings: "
        f"{len(shown):,} were shown"
    )
    assert not findings, "\n".join(findings)
    assert not visit.complaints, "\n".join(visit.complaints)
    assert [url for url in asked if urlsplit(url).netloc != home] == []
    assert len(seen) == COUNT
