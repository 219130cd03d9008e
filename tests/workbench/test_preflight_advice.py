"""Advice: every rule at its threshold, one attempt to this side and one to that."""

from __future__ import annotations

import pytest

from jobs.workbench.preflight_advice import Trouble, Verdict, verdict_of
from jobs.workbench.preflight_figures import Attempt, Figures, figures_of

SIGNAL = (1.0, 0.0)


def tasks(count: int, rewards: tuple[float, ...] = SIGNAL, first: int = 0) -> list[Attempt]:
    return [Attempt(first + row, reward) for row in range(count) for reward in rewards]


def marked(made: list[Attempt], count: int, **fields: object) -> list[Attempt]:
    """The first attempts with other fields."""
    changed = [Attempt(**{**vars_of(each), **fields}) for each in made[:count]]  # type: ignore[arg-type]
    return [*changed, *made[count:]]


def vars_of(attempt: Attempt) -> dict[str, object]:
    return {name: getattr(attempt, name) for name in ("row", "reward", "stop", "flags", "cause")}


def judged(found: Figures | list[Attempt], trouble: Trouble | None = None) -> Verdict:
    figures = found if isinstance(found, Figures) else figures_of(found)
    verdict = verdict_of(figures, trouble)
    assert verdict is not None
    return verdict


def titles(verdict: Verdict) -> list[str]:
    return [advice.title for advice in verdict.advice]


def test_signal_in_every_task_is_ready() -> None:
    verdict = judged(tasks(16))
    assert (verdict.kind, verdict.title) == ("ready", "Ready")
    assert verdict.evidence == (
        "16 of 16 tasks carry signal (100\u202f%, 95 % interval 81\u202f% to 100\u202f%)."
    )
    assert [(each.kind, each.next_step) for each in verdict.advice] == [("ready", "Start the job.")]


def test_nothing_tried_is_no_verdict() -> None:
    assert verdict_of(figures_of([])) is None


@pytest.mark.parametrize(
    ("lost", "kind", "said"),
    [(2, "ready", False), (3, "ready", True), (20, "ready", True), (21, "fix_tool", True)],
)
def test_a_tool_that_loses_over_1_percent_is_named_and_over_10_percent_blocks(
    lost: int, kind: str, said: bool
) -> None:
    made = tasks(100)
    fields = {"reward": None, "stop": "tool_fault", "cause": "tool find: HTTP 500."}
    verdict = judged(marked(made, lost, **fields))
    assert verdict.kind == kind
    assert ("Fix the tool" in titles(verdict)) is said
    if said:
        advice = next(each for each in verdict.advice if each.kind == "fix_tool")
        assert advice.evidence == (
            f"{lost} of 200 attempts were lost to a tool fault, most often ({lost}): tool find: "
            "HTTP 500."
        )


@pytest.mark.parametrize(("errors", "blocks"), [(5, False), (6, True)])
def test_a_tool_that_answers_most_calls_with_an_error_blocks(errors: int, blocks: bool) -> None:
    tools = [{"find": {"calls": 10, "errors": errors, "faults": 0}}]
    verdict = judged(figures_of(tasks(16), tools=tools))
    assert (verdict.kind == "fix_tool") is blocks


@pytest.mark.parametrize("name", ["find", "(unknown)"])
def test_few_calls_or_names_that_were_made_up_say_nothing_of_a_tool(name: str) -> None:
    calls = 9 if name == "find" else 100
    tools = [{name: {"calls": calls, "errors": calls, "faults": 0}}]
    assert judged(figures_of(tasks(16), tools=tools)).kind == "ready"


@pytest.mark.parametrize(
    ("lost", "kind", "said"),
    [(2, "ready", False), (3, "ready", True), (20, "ready", True), (21, "fix_grader", True)],
)
def test_a_grader_that_fails_is_named_and_blocks_as_a_tool_does(
    lost: int, kind: str, said: bool
) -> None:
    made = marked(tasks(100), lost, reward=None, cause="grader: division by zero")
    verdict = judged(made)
    assert verdict.kind == kind
    assert ("Fix the grader" in titles(verdict)) is said


@pytest.mark.parametrize(
    ("reason", "kind"),
    [
        ("tool_unavailable", "fix_tool"),
        ("grader_unavailable", "fix_grader"),
        ("grader_failed", "fix_grader"),
    ],
)
def test_what_the_run_waits_for_comes_first_with_the_engines_evidence(
    reason: str, kind: str
) -> None:
    verdict = judged(figures_of([]), Trouble(reason, "12 of 16 rollouts were lost"))  # type: ignore[arg-type]
    assert (verdict.kind, verdict.evidence) == (kind, "12 of 16 rollouts were lost.")


def test_what_is_left_beside_a_broken_tool_is_not_judged() -> None:
    made = marked(tasks(16, (0.0, 0.0)), 16, reward=None, stop="tool_fault")
    assert titles(judged(made)) == ["Fix the tool"]


@pytest.mark.parametrize(("easy", "kind"), [(12, "ready"), (13, "too_easy")])
def test_too_easy_is_over_60_percent_that_always_pass(easy: int, kind: str) -> None:
    verdict = judged([*tasks(easy, (1.0, 1.0)), *tasks(20 - easy, first=easy)])
    assert verdict.kind == kind
    if kind == "too_easy":
        assert verdict.evidence.startswith("The base model passes 13 of 20 tasks in every attempt")


def test_all_passing_is_too_easy_and_not_without_signal() -> None:
    verdict = judged(tasks(16, (1.0, 1.0)))
    assert titles(verdict) == ["Too easy"]


def test_equal_rewards_are_no_signal_whatever_their_number() -> None:
    verdict = judged(tasks(2, (0.0, 0.0)))
    assert (verdict.kind, verdict.evidence) == (
        "no_signal",
        "All 4 graded attempts at 2 tasks have the reward 0.000.",
    )


@pytest.mark.parametrize(
    ("with_signal", "of", "kind"),
    [
        (2, 16, "no_signal"),
        (3, 16, "demonstrations"),
        (1, 12, "no_signal"),
        (1, 9, "demonstrations"),
        (100, 700, "no_signal"),
        (125, 700, "demonstrations"),
    ],
)
def test_no_signal_is_an_upper_bound_under_20_percent_or_a_share_of_an_eighth_at_most(
    with_signal: int, of: int, kind: str
) -> None:
    """2 of 16: 12.5 %, up to 36 %. 3 of 16: 19 %. 1 of 12: 8 %, up to 35 %. 1 of 9: 11 %, but up to
    44 %. 100 of 700: 14 %, but at most 17 %. 125 of 700: 18 %, up to 21 %. Otherwise most tasks
    never pass, which is said."""
    made = [*tasks(with_signal), *tasks(of - with_signal, (0.0, 0.0), first=with_signal)]
    assert judged(made).kind == kind


@pytest.mark.parametrize(
    ("bad", "kind", "title"),
    [
        (20, "ready", None),
        (21, "ready", "Many calls are malformed"),
        (60, "ready", "Many calls are malformed"),
        (61, "demonstrations", "Fine-tune on demonstrations first"),
    ],
)
def test_calls_that_cannot_be_read_warn_over_10_percent_and_block_over_30(
    bad: int, kind: str, title: str | None
) -> None:
    verdict = judged(marked(tasks(100), bad, flags=frozenset({"malformed_call"})))
    assert verdict.kind == kind
    assert titles(verdict) == ([title] if title else ["Ready"])


@pytest.mark.parametrize(("never", "kind"), [(12, "ready"), (13, "demonstrations")])
def test_demonstrations_come_first_where_over_60_percent_never_pass(never: int, kind: str) -> None:
    verdict = judged([*tasks(20 - never), *tasks(never, (0.0, 0.0), first=20 - never)])
    assert verdict.kind == kind


def test_many_that_never_pass_only_warn_where_their_rewards_differ_enough() -> None:
    verdict = judged(tasks(16, (0.1, 0.4)))
    assert (verdict.kind, titles(verdict)) == ("ready", ["Some tasks never pass"])


@pytest.mark.parametrize(("with_signal", "warned"), [(22, True), (23, False)])
def test_little_signal_is_a_lower_bound_under_40_percent(with_signal: int, warned: bool) -> None:
    """22 of 40: 39.8 % to 69.3 %. 23 of 40: 42.2 % to 71.5 %."""
    easy = tasks(20, (1.0, 1.0), first=100)[: 2 * (40 - with_signal)]
    verdict = judged([*tasks(with_signal), *easy])
    assert ("Little signal, or too few tasks to tell" in titles(verdict)) is warned


@pytest.mark.parametrize(
    ("fields", "least", "title"),
    [
        ({"stop": "turn_limit"}, 21, "Many attempts are cut off"),
        ({"flags": frozenset({"looped"})}, 11, "Many attempts loop"),
        ({"stop": "time_limit", "reward": None}, 3, "Attempts run out of time"),
    ],
)
def test_limits_warn_from_their_threshold_on(
    fields: dict[str, object], least: int, title: str
) -> None:
    assert title not in titles(judged(marked(tasks(100), least - 1, **fields)))
    warned = judged(marked(tasks(100), least, **fields))
    assert title in titles(warned)
    assert (warned.kind, warned.title) == ("ready", "Ready with warnings")


def test_most_out_of_time_blocks() -> None:
    made = marked(tasks(100), 101, stop="time_limit", reward=None)
    assert judged(made).kind == "limits"


def test_a_list_of_rows_is_cut_and_counts_from_1() -> None:
    made = [*tasks(40), *tasks(10, (0.0, 0.0), first=40)]
    advice = next(each for each in judged(made).advice if each.title == "Some tasks never pass")
    assert advice.evidence == (
        "10 of 50 tasks never pass (rows 41, 42, 43, 44, 45, 46, 47, 48 and 2 more)."
    )
