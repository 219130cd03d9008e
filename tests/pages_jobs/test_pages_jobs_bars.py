"""Bars, marks, formulas and the audit of credit: numbers by hand."""

from __future__ import annotations

from typing import Any

import pytest

from jobs.engine.credit.attribution import credit_summary
from jobs.engine.received import audit_of
from jobs.engine.types import Attribution, TokenKind, Trajectory, Turn
from jobs.views.bars import WIDTH, ZERO, Block, axis_of, bar_words, formula, turn_bar
from jobs.views.credit import TurnCredit, turn_credits
from jobs.views.marks import turn_marks


def _record(turn: int = 0, **terms: Any) -> Attribution:
    return Attribution(turn=turn, tool_call_id=None, **{"episode": 0.5, **terms})


def _trajectory(*records: Attribution, kinds: list[int] | None = None) -> Trajectory:
    """Each turn samples four tokens after two of a tool's."""
    turns = [
        Turn(index=at, start=6 * at + 2, end=6 * at + 6, text="…") for at in range(len(records))
    ]
    size = 6 * len(records)
    return Trajectory(
        uid="t", row=0, group="g", sample=0, split="train", trace_id="t", ids=[7] * size,
        logprobs=[0.0] * size, entropies=[0.0] * size,
        kinds=kinds or [2, 2, 1, 1, 1, 1] * len(records), turns=turns, trained=True,
        advantage=records[0].episode, attribution=list(records),
    )  # fmt: skip


def _credits(*records: Attribution) -> list[TurnCredit]:
    return turn_credits(_trajectory(*records), continuations_train=False)


@pytest.mark.parametrize(
    ("reach", "half"),
    [(0.73, 1.0), (1.0, 1.0), (1.01, 2.0), (0.021, 0.05), (40.0, 50.0), (0.3, 0.5), (0.0, 1e-9)],
)
def test_the_axis_is_rounded_up_to_1_2_or_5(reach: float, half: float) -> None:
    assert axis_of([reach], "token").half == pytest.approx(half)


def test_gains_go_right_and_losses_left_each_in_the_order_of_the_terms() -> None:
    (credit,) = _credits(_record(episode=0.5, step=-0.25, process=0.125, n=5, actions=2))
    bar = turn_bar(credit, axis_of([1.0], "token"))
    assert bar is not None
    assert bar.blocks == (
        Block("episode", ZERO, 56.0),
        Block("step", 92.0, 28.0),
        Block("process", 176.0, 14.0),
    )
    assert bar.mark == ZERO + 0.375 * 112 - 1


def test_what_only_repeats_the_outcome_is_an_outline() -> None:
    alone, same, different = _credits(
        _record(0),
        _record(1, step=0.2, n=7, actions=1, interval=(0.0, 0.4)),
        _record(2, step=0.2, n=7, actions=2, interval=(0.0, 0.4)),
    )
    outlines = [
        [block.is_outline for block in bar.blocks]
        for credit in (alone, same, different)
        if (bar := turn_bar(credit, axis_of([1.0], "token")))
    ]
    assert outlines == [[True], [True, True], [False, False]]
    assert [credit.is_uniform for credit in (alone, same, different)] == [True, True, False]
    assert same.came_from == "episode +0.50  step +0.20, all did the same  sign unsure"
    assert alone.came_from == "episode only"


def test_the_whisker_is_the_own_evidence_around_the_total() -> None:
    (credit,) = _credits(_record(step=0.2, n=7, actions=2, interval=(-0.01, 0.41)))
    assert credit.interval == pytest.approx((0.49, 0.91))
    assert credit.half_width == pytest.approx(0.21)
    assert credit.is_unsure
    bar = turn_bar(credit, axis_of([1.0], "token"))
    assert bar is not None
    assert bar.whisker == "M174.9 18.5H221.9M174.9 16.5v4M221.9 16.5v4"


def test_a_whisker_beyond_the_axis_ends_there_without_a_cap() -> None:
    (credit,) = _credits(_record(step=0.2, n=7, actions=2, interval=(-3.0, 3.0)))
    bar = turn_bar(credit, axis_of([1.0], "token"))
    assert bar is not None
    assert bar.whisker == f"M0.0 18.5H{WIDTH:.1f}"


def test_two_comparisons_are_too_few_for_an_interval() -> None:
    (credit,) = _credits(_record(step=0.2, n=2, actions=2, interval=(0.1, 0.3)))
    assert credit.interval is None
    assert credit.came_from == "episode +0.50  step +0.20  n = 2, too few"


def test_per_turn_the_bar_is_as_many_times_longer_as_the_turn_has_trained_tokens() -> None:
    (credit,) = _credits(_record(episode=0.5))
    bar = turn_bar(credit, axis_of([2.0], "turn"))
    assert (credit.tokens, bar and bar.blocks[0].width) == (4, 112.0)


def test_the_formula_has_the_numbers_of_the_record() -> None:
    (credit,) = _credits(
        _record(episode=0.514, step=0.211, n=7, actions=2, own=0.857, anchor=0.435)
    )
    told = formula(credit, reward=1.0, group_mean=0.486, gamma=0.95)
    assert told == (
        "A = (1.000 − 0.486) + 0.5 × (0.857 − 0.435) = +0.72. "
        "The step term compares returns that are discounted by γ = 0.95 a turn"
    )
    shaped = formula(credit, reward=0.9, group_mean=0.486, gamma=None)
    assert shaped == "A = episode +0.51 + 0.5 × (0.857 − 0.435) = +0.72"


def test_the_bar_is_told_in_words() -> None:
    (credit,) = _credits(_record(episode=0.52, step=0.21, n=7, actions=2, interval=(0.0, 0.42)))
    assert bar_words(2, "search_policy", credit) == (
        "Turn 2, search_policy, advantage plus 0.73, plus or minus 0.21, 7 turns compared, "
        "2 actions"
    )


def test_the_audit_adds_up_turns_and_tokens() -> None:
    audit = audit_of(_trajectory(_record(0, step=0.25), _record(1)))
    assert audit is not None
    assert (audit.by_turn, audit.by_token, audit.tokens, audit.agrees) == (5.0, 5.0, 8, True)


def test_the_audit_finds_a_trained_token_that_is_in_no_turn() -> None:
    kinds = [2, int(TokenKind.SAMPLED), 1, 1, 1, 1]
    told = _trajectory(_record(0), kinds=kinds)
    told.attribution = []
    audit = audit_of(told)
    assert audit is not None
    assert (audit.by_turn, audit.by_token, audit.tokens, audit.agrees) == (2.0, 2.5, 5, False)


def test_what_was_not_trained_has_no_audit_and_no_summary() -> None:
    told = _trajectory(_record(0))
    told.trained = False
    assert audit_of(told) is None
    assert credit_summary(told) is None


def test_the_summary_keeps_totals_evidence_and_reach() -> None:
    told = credit_summary(
        _trajectory(_record(0, step=-0.75, n=3, actions=2), _record(1, step=0.1, n=3, actions=1))
    )
    assert told is not None
    assert told.turns == ((-0.25, True), (0.6, False))
    assert (told.reach, told.reach_turn) == (0.75, 3.0)


def test_a_mark_a_turn_up_or_down_hollow_without_evidence() -> None:
    marks = turn_marks({"turns": [[0.5, True], [-0.2, True], [0.1, False]]})
    assert marks.plus == "M1 1h6v6h-6z"
    assert marks.minus == "M9 9h6v6h-6z"
    assert marks.hollow == "M17.5 1.5h5v5h-5z"
    assert (marks.width, marks.more) == (24, 0)
    assert marks.words == "2 up, 1 down, 2 of 3 with evidence of their own"
    assert turn_marks({"turns": [[0.5, True]] * 33}).more == 3
