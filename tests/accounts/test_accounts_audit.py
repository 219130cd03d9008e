"""The audit log: filtered, in words, and as cells that no spreadsheet runs."""

from __future__ import annotations

from datetime import date, timedelta

import pytest
from django.utils import timezone

from hone.accounts.audit import (
    SHELL,
    AuditFilters,
    audit_people,
    audit_rows,
    audit_verbs,
    csv_rows,
    in_words,
    shown,
)
from hone.accounts.models import AuditEntry, Organisation, User
from hone.accounts.services import audit_record, operator_set


@pytest.fixture
def _history(alice: User, bob: User, organisation: Organisation) -> None:
    for actor, action, target, detail in [
        (alice, "job.create", "ftjob-1", {"name": "refunds-v3"}),
        (bob, "member.role", "dora@example.org", {"before": "viewer", "after": "member"}),
        (None, "operator.password", "bob@example.org", {}),
        (bob, "job.pause", "=1+1", {"name": "-2"}),
    ]:
        audit_record(
            acting_user=actor, organisation=organisation, action=action, target=target,
            detail=detail,
        )  # fmt: skip


def targets(organisation: Organisation, **filters: object) -> list[str]:
    rows = audit_rows(organisation, AuditFilters(**filters))  # type: ignore[arg-type]
    return [row.target for row in rows]


@pytest.mark.usefixtures("_history")
def test_each_filter_leaves_out_what_it_says(bob: User, organisation: Organisation) -> None:
    assert targets(organisation) == ["=1+1", "bob@example.org", "dora@example.org", "ftjob-1"]
    assert targets(organisation, person=str(bob.pk)) == ["=1+1", "dora@example.org"]
    assert targets(organisation, person=SHELL) == ["bob@example.org"]
    assert targets(organisation, verb="job.create") == ["ftjob-1"]
    assert targets(organisation, thing="REFUNDS") == ["ftjob-1"]
    assert targets(organisation, thing="example.org") == ["bob@example.org", "dora@example.org"]


@pytest.mark.usefixtures("_history")
def test_days_are_whole_and_in_utc(organisation: Organisation) -> None:
    today = timezone.now().date()
    assert len(targets(organisation, since=today, until=today)) == 4
    assert targets(organisation, since=today + timedelta(days=1)) == []
    assert targets(organisation, until=today - timedelta(days=1)) == []
    assert targets(organisation, until=date(9999, 12, 31)) != []


@pytest.mark.usefixtures("_history")
def test_another_organisations_entries_are_not_there(charlie: User) -> None:
    elsewhere = charlie.organisations.get()
    assert targets(elsewhere) == audit_verbs(elsewhere) == audit_people(elsewhere) == []


@pytest.mark.usefixtures("_history")
def test_what_was_before_stands_apart_from_the_rest(organisation: Organisation) -> None:
    line = shown(AuditEntry.objects.get(action="member.role"))
    assert (line.words, line.before, line.after, line.pairs) == (
        "changed the role of member", "viewer", "member", [],
    )  # fmt: skip
    assert shown(AuditEntry.objects.get(target="ftjob-1")).pairs == [("name", "refunds-v3")]


@pytest.mark.parametrize(
    ("action", "words"),
    [
        ("base_model.retry", "tried again base model"),
        ("job.create", "created job"),
        ("job.replay", "measured a turn of job"),
        ("tool.secret_rotate", "changed a secret of tool"),
        ("alarm.see", "marked as seen the alarm"),
        ("tryout.stop", "stopped tryout"),
        ("odd.thing", "odd.thing"),
        ("create", "create"),
    ],
)
def test_an_action_is_told_in_words_or_stays_as_it_is(action: str, words: str) -> None:
    assert in_words(action) == words


@pytest.mark.usefixtures("_history")
def test_no_cell_begins_a_formula(organisation: Organisation) -> None:
    newest, *_, first = list(csv_rows(audit_rows(organisation, AuditFilters())))
    assert newest[2:5] == ["job.pause", "'=1+1", ""]
    assert first[1] == "alice@example.org"
    assert first[-1] == '{"name": "refunds-v3"}'


def test_the_first_person_operates_and_others_by_command(bob: User) -> None:
    operator_set(bob, is_operator=True)
    bob.refresh_from_db()
    assert bob.is_operator
    assert AuditEntry.objects.get().action == "operator.give"
