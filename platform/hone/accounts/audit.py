"""Reading the audit log: who did what to which thing, and what it was before."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from typing import Any

from django.db.models import Q, QuerySet

from hone.accounts.models import AuditEntry, Organisation, User
from hone.core.spreadsheets import cells

PAGE = 50
LONGEST_VALUE = 300
ID = re.compile(r"[a-z]+-[0-9a-f]{16}")
SHELL = "shell"
"""Stands for nobody: a change made on the installation's command line or by the platform."""
DONE = {
    "add": "added", "archive": "archived", "cancel": "cancelled", "change": "changed",
    "check": "tested", "create": "created", "delete": "deleted", "download": "downloaded",
    "edit": "changed",
    "give": "gave rights of", "header": "changed a header of", "import": "imported",
    "keep": "kept", "key": "changed the key of", "leave": "left as", "let_go": "let go",
    "mark": "marked a trajectory of", "pause": "paused",
    "password": "set the password of", "remove": "removed", "rerun": "ran again",
    "replay": "measured a turn of", "replay_cancel": "cancelled a measurement of",
    "resume": "resumed", "retry": "tried again", "revoke": "revoked", "role": "changed the role of",
    "schedule": "scheduled tests of", "secret_rotate": "changed a secret of",
    "secret_withdraw": "withdrew a secret of", "see": "marked as seen the", "stop": "stopped",
    "take": "took rights of", "verify": "verified", "version": "saved a version of",
}  # fmt: skip
CSV_COLUMNS = ["time_utc", "person", "action", "thing", "before", "after", "detail"]


@dataclass(frozen=True)
class AuditFilters:
    """What the log shows; empty and None leave out nothing. Days are whole ones, in UTC."""

    person: str = ""
    verb: str = ""
    thing: str = ""
    since: date | None = None
    until: date | None = None


@dataclass(frozen=True)
class Line:
    """An entry as it is shown: the rest of `detail` in pairs, `before` and `after` apart.

    `has_page`: the search finds the thing's page by its id, if it is there still.
    """

    entry: AuditEntry
    words: str
    before: str
    after: str
    has_page: bool
    pairs: list[tuple[str, str]]


def audit_rows(organisation: Organisation, filters: AuditFilters) -> QuerySet[AuditEntry]:
    """The entries that the filters leave, newest first."""
    rows = AuditEntry.objects.filter(organisation=organisation).select_related("actor")
    if filters.person:
        actor = None if filters.person == SHELL else int(filters.person)
        rows = rows.filter(actor=actor) if actor is not None else rows.filter(actor__isnull=True)
    if filters.verb:
        rows = rows.filter(action=filters.verb)
    if filters.thing:
        named = Q(target__icontains=filters.thing) | Q(detail__name__icontains=filters.thing)
        rows = rows.filter(named)
    if filters.since is not None:
        rows = rows.filter(created_at__gte=datetime.combine(filters.since, time.min, tzinfo=UTC))
    if filters.until is not None:
        rows = rows.filter(created_at__lte=datetime.combine(filters.until, time.max, tzinfo=UTC))
    return rows.order_by("-pk")


def audit_people(organisation: Organisation) -> list[User]:
    """Everybody who did something here, also who has left since."""
    actors = AuditEntry.objects.filter(organisation=organisation).values("actor")
    return list(User.objects.filter(pk__in=actors).order_by("email"))


def audit_verbs(organisation: Organisation) -> list[str]:
    """The actions that happened here."""
    rows = AuditEntry.objects.filter(organisation=organisation)
    return list(rows.values_list("action", flat=True).distinct().order_by("action"))


def shown(entry: AuditEntry) -> Line:
    """The entry in words."""
    detail = dict(entry.detail) if isinstance(entry.detail, dict) else {}
    before, after = _value(detail.pop("before", "")), _value(detail.pop("after", ""))
    pairs = [(key, _value(value)) for key, value in detail.items() if value not in ("", None)]
    has_page = ID.fullmatch(entry.target) is not None
    return Line(entry, in_words(entry.action), before, after, has_page, pairs)


def in_words(action: str) -> str:
    """`job.create` → `created job`; an action without a word for it stays as it is."""
    noun, _, verb = action.rpartition(".")
    return f"{DONE[verb]} {noun.replace('_', ' ')}" if noun and verb in DONE else action


def csv_rows(rows: QuerySet[AuditEntry]) -> Iterator[list[object]]:
    """All of the entries, with whole values, as cells that no spreadsheet takes for a formula."""
    for entry in rows.iterator(chunk_size=500):
        detail = entry.detail if isinstance(entry.detail, dict) else {}
        actor = entry.actor.email if entry.actor else SHELL
        found = [f"{entry.created_at:%Y-%m-%dT%H:%M:%SZ}", actor, entry.action, entry.target]
        found += [_text(detail.get("before", "")), _text(detail.get("after", ""))]
        yield cells([*found, json.dumps(detail, ensure_ascii=False)])


def _value(value: Any) -> str:
    found = _text(value)
    return found if len(found) <= LONGEST_VALUE else f"{found[:LONGEST_VALUE]}…"


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
