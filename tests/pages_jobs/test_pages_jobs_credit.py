"""The credit of single turns: what is shown of it, and that the whole episode never poses as it."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.test import Client

from jobs.engine.types import Attribution, Measured, Trajectory, Turn
from jobs.models import Job, JobStep
from jobs.models import Trajectory as Row
from jobs.views.credit import Term, credit_sentence, job_credit_sentence, turn_credits


def _turn(index: int, **more: Any) -> Turn:
    return Turn(index=index, start=0, end=3, text="…", **more)


def _record(index: int, episode: float, **more: Any) -> Attribution:
    return Attribution(turn=index, tool_call_id=None, episode=episode, **more)


def _trajectory(*turns: Turn, **more: Any) -> Trajectory:
    fields: dict[str, Any] = {"advantage": 0.25, "trained": True, **more}
    return Trajectory(
        uid="t", row=0, group="g", sample=0, split="train", trace_id="trace_0",
        ids=[], logprobs=[], entropies=[], kinds=[], turns=list(turns), **fields,
    )  # fmt: skip


def test_each_term_is_named_with_what_it_rests_on() -> None:
    turn = _turn(0, score=0.8)
    record = _record(0, 0.25, step=-0.1, process=0.05, n=5, interval=(-0.3, 0.1))
    (credit,) = turn_credits(_trajectory(turn, attribution=[record]), continuations_train=False)
    assert credit.total == pytest.approx(0.2)
    assert not credit.is_uniform
    assert credit.terms == (
        Term("episode", 0.25),
        Term("step", -0.1, "n 5, 95\u202f% −0.30 to +0.10, sign unsure"),
        Term("process", 0.05, "scored 0.800"),
    )


def test_a_turn_with_the_episode_alone_is_said_to_be_so() -> None:
    records = [
        _record(0, 0.25),
        _record(1, 0.25, step=0.0, n=3, interval=(0.0, 0.0), actions=2),
    ]
    uniform, compared = turn_credits(
        _trajectory(_turn(0), _turn(1), attribution=records), continuations_train=False
    )
    assert (uniform.is_uniform, compared.is_uniform) == (True, False)
    assert credit_sentence([uniform, compared]) == (
        "1 of 2 turns has evidence of its own (50\u202f% of turns). The other repeats the whole "
        "episode's advantage."
    )
    assert credit_sentence([compared]) == (
        "1 of 1 turn has evidence of its own (100\u202f% of turns)."
    )
    assert credit_sentence([uniform, uniform]) == (
        "Whole episode only: every turn is trained with the same advantage, and no turn has "
        "evidence of its own."
    )


def test_a_trajectory_from_before_there_were_records_has_the_episode_alone() -> None:
    credits = turn_credits(_trajectory(_turn(0), _turn(1)), continuations_train=False)
    assert [(credit.total, credit.is_uniform) for credit in credits] == [(0.25, True)] * 2


def test_what_was_not_trained_has_no_credit() -> None:
    told = _trajectory(_turn(0), _turn(1, score=0.4), trained=False, advantage=None)
    silent, scored = turn_credits(told, continuations_train=False)
    assert not silent
    assert (scored.total, scored.asides) == (None, ("Scored 0.400, not trained on",))
    assert credit_sentence([silent, scored]) == ""


MEASURED = Measured(delta=0.3, n=8, interval=(0.1, 0.5), unusable=2)


def test_continuations_that_do_not_train_are_beside_the_sum() -> None:
    turn, record = _turn(0, measured=MEASURED), _record(0, 0.25)
    (credit,) = turn_credits(_trajectory(turn, attribution=[record]), continuations_train=False)
    assert (credit.total, credit.is_uniform) == (0.25, True)
    assert credit.asides == (
        "Continuations: +0.30 (n 8, 95\u202f% +0.10 to +0.50, 2 more unusable). Measured, not "
        "trained on",
    )


def test_continuations_that_train_are_a_term_and_the_evidence_is_theirs() -> None:
    turn = _turn(0, measured=MEASURED)
    record = _record(0, 0.25, step=0.1, counterfactual=0.15, n=8, interval=(0.05, 0.25))
    (credit,) = turn_credits(_trajectory(turn, attribution=[record]), continuations_train=True)
    assert credit.terms == (
        Term("episode", 0.25),
        Term("step", 0.1),
        Term("counter", 0.15, "n 8, 95\u202f% +0.05 to +0.25"),
    )
    assert credit.asides == ()


def test_a_score_that_changes_nothing_says_so() -> None:
    (credit,) = turn_credits(
        _trajectory(_turn(0, score=0.5), attribution=[_record(0, 0.25)]), continuations_train=False
    )
    assert (credit.is_uniform, credit.asides) == (True, ("Scored 0.500, which adds nothing",))


def _page(client: Client, job: Job, uid: str) -> str:
    one = Row.objects.get(uid=uid)
    page = client.get(f"/jobs/{job.pk}/trajectories/{one.pk}/").content.decode()
    return re.sub(r"\s+", " ", re.sub(r"<svg.*?</svg>|<[^>]*>", " ", page, flags=re.S))


def test_the_trajectory_page_shows_the_sum_its_terms_and_where_there_are_none(
    owner: Client, running: Job
) -> None:
    page = _page(owner, running, "t4-r1-s1")
    assert "1 of 2 turns has evidence of its own" in page
    assert (
        "Advantage −0.55 whole episode −0.50 siblings at this state −0.10 (n 5, 95 % −0.32 to "
        "+0.12, sign unsure) turn score +0.05 (scored 0.800) Continuations: +0.30 (n 8, 95 % +0.10 "
        "to +0.50, 1 more unusable). Measured, not trained on"
    ) in page
    assert "Advantage −0.50 · whole episode only" in page


def test_a_page_of_an_older_trajectory_says_whole_episode_only(owner: Client, running: Job) -> None:
    page = _page(owner, running, "t4-r1-s0")
    assert "Whole episode only: every turn is trained with the same advantage" in page
    assert page.count("· whole episode only") == 2
    assert "siblings at this state" not in page


def test_a_trajectory_that_trains_nothing_shows_no_credit(owner: Client, running: Job) -> None:
    for uid in ("v4-r1-s1", "t4-r0-s0"):
        assert "whole episode" not in _page(owner, running, uid)


def test_the_overview_says_on_how_many_turns_there_is_evidence(owner: Client, running: Job) -> None:
    page = owner.get(f"/jobs/{running.pk}/").content.decode()
    assert (
        "Credit: step-level evidence on 62\u202f% of trained turns (15 of 24, 64 continuations). "
        "Siblings at the same state count: 55% of later turns share a state, actions explain "
        "returns."
    ) in page
    assert '<td class="num">15 of 24</td>' in page


def test_the_overview_of_an_older_job_says_nothing_of_it(owner: Client, running: Job) -> None:
    for step in JobStep.objects.filter(run__job=running):
        step.metrics.pop("credit", None)
        step.save(update_fields=["metrics"])
    page = owner.get(f"/jobs/{running.pk}/").content.decode()
    assert "Credit:" not in page
    assert owner.get(f"/jobs/{running.pk}/steps.csv").status_code == 200


@pytest.mark.parametrize(
    ("credit", "sentence"),
    [
        ({}, ""),
        ({"turns": 0, "turns_with_evidence": 0}, ""),
        (
            {"turns": 12, "turns_with_evidence": 0},
            "Credit: whole episode only. Every turn of an attempt gets the same advantage.",
        ),
        (
            {
                "turns": 12,
                "turns_with_evidence": 0,
                "anchored_weight": 0.0,
                "reason": "only 4% of later turns share a state; 10% are needed",
            },
            "Credit: step-level evidence on 0\u202f% of trained turns (0 of 12). Siblings at the "
            "same state are left out: only 4% of later turns share a state; 10% are needed.",
        ),
    ],
)
def test_the_newest_step_that_tells_speaks(credit: dict[str, Any], sentence: str) -> None:
    steps = [JobStep(metrics={"credit": credit}), JobStep(metrics={})]
    assert job_credit_sentence(steps) == sentence
