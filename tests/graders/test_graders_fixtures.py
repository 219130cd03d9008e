"""Fixtures: samples with the score they must get, run at every save."""

from __future__ import annotations

from typing import Any

import pytest
from django.http import Http404
from sandboxes import needs_sandbox

from graders.errors import FixturesFail
from graders.kinds.base import Sample
from graders.models import Fixture, FixtureResult, Grader, GraderVersion
from graders.selectors import access_fixture, fixture_counts, latest_version
from graders.services import (
    Wanted,
    fixture_change,
    fixture_create,
    fixture_delete,
    fixtures_rerun,
    fixtures_run,
    grader_archive,
    grader_create,
    grader_version_add,
    typed_sample,
)
from graders.services import fixtures as service
from hone.accounts.models import AuditEntry, Organisation, User
from hone.core.errors import UserError

EXACT: dict[str, Any] = {
    "type": "string_check",
    "name": "exact",
    "input": "{{sample.output_text}}",
    "reference": "{{item.answer}}",
    "operation": "eq",
}
LOOSE = {**EXACT, "operation": "ilike"}


@pytest.fixture
def grader(alice: User, organisation: Organisation) -> Grader:
    return grader_create(acting_user=alice, organisation=organisation, name="exact", spec=EXACT)


def kept(user: User, grader: Grader, answer: str, score: float, name: str = "") -> Fixture:
    return fixture_create(
        acting_user=user,
        grader=grader,
        wanted=Wanted(name or answer, score, score),
        sample=typed_sample(answer),
        item={"answer": "Paris"},
    )


def scores(version: GraderVersion) -> dict[str, float | None]:
    rows = FixtureResult.objects.filter(version=version).select_related("fixture")
    return {row.fixture.name: row.reward for row in rows}


def test_a_new_fixture_is_run_on_the_newest_version_at_once(alice: User, grader: Grader) -> None:
    kept(alice, grader, "Paris", 1)
    kept(alice, grader, "It is Paris.", 1)
    version = latest_version(grader)
    assert scores(version) == {"Paris": 1.0, "It is Paris.": 0.0}
    count = fixture_counts([version])[version.pk]
    assert (count.passed, count.run, count.failing) == (1, 2, 1)


def test_a_save_runs_all_fixtures_and_keeps_what_each_got(alice: User, grader: Grader) -> None:
    kept(alice, grader, "Paris", 1)
    kept(alice, grader, "It is Paris.", 1)
    version = grader_version_add(acting_user=alice, grader=grader, spec=LOOSE, edited=1)
    assert scores(version) == {"Paris": 1.0, "It is Paris.": 1.0}
    assert version.reason == ""
    assert "failing_fixtures" not in AuditEntry.objects.get(action="grader.version").detail


def test_a_save_whose_fixtures_fail_needs_a_reason_and_keeps_it(
    alice: User, grader: Grader
) -> None:
    kept(alice, grader, "Not Paris.", 0)
    with pytest.raises(FixturesFail, match=r"1 of 1 fixtures fails: Not Paris\.\. Mend") as caught:
        grader_version_add(acting_user=alice, grader=grader, spec=LOOSE, edited=1, reason="  ")
    assert [(one.grading.reward, one.passed) for one in caught.value.outcomes] == [(1.0, False)]
    assert (grader.versions.count(), FixtureResult.objects.count()) == (1, 1)

    version = grader_version_add(
        acting_user=alice, grader=grader, spec=LOOSE, edited=1, reason="rare in practice"
    )
    assert (version.number, version.reason) == (2, "rare in practice")
    assert scores(version) == {"Not Paris.": 1.0}
    assert AuditEntry.objects.get(action="grader.version").detail == {
        "number": 2,
        "failing_fixtures": ["Not Paris."],
        "reason": "rare in practice",
    }


def test_a_reason_that_is_not_needed_is_not_kept(alice: User, grader: Grader) -> None:
    kept(alice, grader, "Paris", 1)
    version = grader_version_add(
        acting_user=alice, grader=grader, spec=LOOSE, edited=1, reason="just in case"
    )
    assert version.reason == ""


def test_the_same_spec_again_asks_for_no_reason(alice: User, grader: Grader) -> None:
    kept(alice, grader, "It is Paris.", 1)
    again = grader_version_add(acting_user=alice, grader=grader, spec=dict(EXACT), edited=1)
    assert again.number == 1


@pytest.mark.parametrize(
    ("low", "high", "reward", "passes"),
    [
        (0.5, 0.5, 0.5004, True),
        (0.5, 0.5, 0.5006, False),
        (0.2, 0.6, 0.2, True),
        (0.2, 0.6, 0.61, False),
        (0, 1, None, False),
    ],
)
def test_a_fixture_holds_scores_in_its_range_to_three_digits(
    low: float, high: float, reward: float | None, passes: bool
) -> None:
    assert Fixture(low=low, high=high).holds(reward) is passes


def test_an_error_is_never_a_pass(alice: User, grader: Grader) -> None:
    fixture = fixture_create(
        acting_user=alice,
        grader=grader,
        wanted=Wanted("no row", 0, 1),
        sample=typed_sample("Paris"),
        item={},
    )
    result = FixtureResult.objects.get(fixture=fixture)
    assert (result.reward, result.code, result.passed) == (None, "invalid_variable", False)
    assert "item.answer" in result.message


def test_another_range_judges_the_scores_that_are_there(alice: User, grader: Grader) -> None:
    fixture = kept(alice, grader, "It is Paris.", 1)
    fixture_change(acting_user=alice, fixture=fixture, wanted=Wanted("a sentence", 0, 0.5))
    result = FixtureResult.objects.get(fixture=fixture)
    assert (result.reward, result.passed, result.fixture.name) == (0.0, True, "a sentence")
    assert AuditEntry.objects.get(action="fixture.change").detail["before"] == {
        "low": 1.0,
        "high": 1.0,
    }


def test_all_run_again_on_the_newest_version(alice: User, grader: Grader) -> None:
    kept(alice, grader, "Paris", 1)
    FixtureResult.objects.update(reward=None, code="other", message="the judge was away")
    outcomes = fixtures_rerun(acting_user=alice, grader=grader)
    assert [one.passed for one in outcomes] == [True]
    result = FixtureResult.objects.get()
    assert (result.reward, result.code, result.message) == (1.0, "", "")


def test_a_sample_keeps_its_calls_and_json(alice: User, grader: Grader) -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "search", "arguments": "{}"}}
    sample = Sample(
        output_text='{"b": 1, "a": 2}',
        output_tools=[call],
        output_json={"b": 1, "a": 2},
        has_output_json=True,
    )
    spec = {**EXACT, "input": "{{sample.output_tools[0].function.name}}{{sample.output_json.b}}"}
    fixture = fixture_create(
        acting_user=alice, grader=grader, wanted=Wanted("calls", 0, 0), sample=sample, item={}
    )
    fixture.refresh_from_db()
    assert list(fixture.sample["output_json"]) == ["b", "a"]
    outcome = fixtures_run(grader.organisation, {**spec, "reference": "search1"}, [fixture])[0]
    assert outcome.grading.reward == 1.0


@needs_sandbox
def test_python_runs_on_fixtures_out_of_reach(alice: User, grader: Grader) -> None:
    fixture = kept(alice, grader, "Paris", 1)
    source = "def grade(sample, item):\n    return len(sample['output_text']) / 10"
    outcome = fixtures_run(grader.organisation, {"type": "python", "source": source}, [fixture])[0]
    assert outcome.grading.reward == 0.5


def test_fixtures_that_no_time_is_left_for_fail(
    alice: User, grader: Grader, monkeypatch: pytest.MonkeyPatch
) -> None:
    fixture = kept(alice, grader, "Paris", 1)
    monkeypatch.setattr(service, "RUN_S", -1.0)
    outcome = fixtures_run(grader.organisation, EXACT, [fixture])[0]
    assert not outcome.passed
    assert outcome.grading.error is not None
    assert "It was not run" in outcome.grading.error.message


def test_what_cannot_be_kept_is_refused_and_nothing_is(
    alice: User, grader: Grader, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept(alice, grader, "Paris", 1)
    with pytest.raises(UserError, match="There is a fixture named Paris already"):
        kept(alice, grader, "Rome", 0, name="Paris")
    with pytest.raises(UserError, match="NUL"):
        kept(alice, grader, "a\x00b", 0, name="nul")
    with pytest.raises(UserError, match="The most, 0, is under the least, 1"):
        Wanted("swapped", 1, 0)
    with pytest.raises(UserError, match="nan is no score"):
        Wanted("no number", float("nan"), 1)
    with pytest.raises(UserError, match="a fixture holds at most 1000000"):
        kept(alice, grader, "x" * 1_000_001, 0, name="long")
    monkeypatch.setattr(service, "MOST", 1)
    with pytest.raises(UserError, match="has 1 fixtures already"):
        kept(alice, grader, "Rome", 0)
    assert list(grader.fixtures.values_list("name", flat=True)) == ["Paris"]


def test_a_deleted_fixture_leaves_with_its_results(alice: User, grader: Grader) -> None:
    fixture_delete(acting_user=alice, fixture=kept(alice, grader, "Paris", 1))
    assert (Fixture.objects.count(), FixtureResult.objects.count()) == (0, 0)
    assert AuditEntry.objects.get(action="fixture.delete").detail["name"] == "Paris"


def test_an_archived_grader_takes_no_fixtures(alice: User, grader: Grader) -> None:
    grader_archive(acting_user=alice, grader=grader)
    with pytest.raises(UserError, match="archived"):
        kept(alice, grader, "Paris", 1)


def test_a_fixture_is_found_under_its_own_grader_only(
    alice: User, charlie: User, grader: Grader, organisation: Organisation
) -> None:
    fixture = kept(alice, grader, "Paris", 1)
    other = grader_create(acting_user=alice, organisation=organisation, name="two", spec=EXACT)
    assert access_fixture(alice, grader.pk, fixture.pk) == fixture
    for user, grader_id, fixture_id in (
        (alice, other.pk, fixture.pk),
        (charlie, grader.pk, fixture.pk),
        (alice, grader.pk, 2**64),
    ):
        with pytest.raises(Http404):
            access_fixture(user, grader_id, fixture_id)
