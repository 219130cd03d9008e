"""Live checks of how credit reaches single turns: what contradicts, and what would do nothing."""

from __future__ import annotations

from collections.abc import Iterator

from jobs.selectors import inputs
from jobs.services.chosen import Inputs
from jobs.services.hyperparameters import Setting, value_of
from jobs.services.request import Check, JobRequest


def credit_checks(chosen: Inputs, request: JobRequest, settings: list[Setting]) -> Iterator[Check]:
    """One problem at most; the others are warnings, since such a job can run."""
    yield from _turn_checks(request, settings)
    yield from _held_out_checks(chosen)
    yield from _continuation_checks(chosen, settings)


def _turn_checks(request: JobRequest, settings: list[Setting]) -> Iterator[Check]:
    sources = {
        "turn_grader": bool(request.turn_grader),
        "turn_judge": bool(request.turn_judge),
        "gold_answer": bool(request.gold_answer.strip()),
    }
    given = [field for field, is_given in sources.items() if is_given]
    if len(given) > 1:
        sentence = (
            "Turns are scored by a grader, by a judge or by the gold answer, by one of them only. "
            "Leave the others out."
        )
        yield Check("Credit", "problem", sentence, given[-1], "turn_rewards_both")
    weight = next(each for each in settings if each.name == "turn_weight")
    if weight.value and not weight.is_auto and not given:
        sentence = (
            f"turn_weight is {weight.value} and has no effect: nothing scores turns. Choose a turn "
            "grader or a judge, give a gold answer, or leave turn_weight at auto."
        )
        yield Check("Credit", "warning", sentence, "turn_weight", "no_effect")
    elif not weight.value and given:
        sentence = "Turns are scored and nothing is trained on the scores: turn_weight is 0."
        yield Check("Credit", "warning", sentence, "turn_weight", "no_effect")


def _held_out_checks(chosen: Inputs) -> Iterator[Check]:
    grader, held_out = chosen.grader, chosen.held_out
    if grader is not None and held_out is not None and grader.sha256 == held_out.sha256:
        sentence = (
            "The held-out grader is the grader that is trained on, so the two can never disagree. "
            "Choose another, or none."
        )
        yield Check("Credit", "warning", sentence, "held_out_grader", "held_out_same")


def _continuation_checks(chosen: Inputs, settings: list[Setting]) -> Iterator[Check]:
    """Continuations call only what changes nothing, or what the record answers."""
    if not value_of(settings, "counterfactual_calls"):
        return
    if not chosen.tools:
        sentence = "No tools are chosen, so there is no call whose effect could be measured."
    elif all(tool.effects == "writes" for tool in chosen.tools):
        sentence = (
            "Every chosen tool writes, so hardly any call can be measured: continuations call only "
            "tools declared without side effects, and take other replies from the record."
        )
    else:
        called = [inputs.tool_name(tool) for tool in chosen.tools if tool.effects != "writes"]
        sentence = f"Continuations really call {', '.join(sorted(called))}: declared not to write."
        yield Check("Credit", "ok", sentence)
        return
    yield Check("Credit", "warning", sentence, "counterfactual_calls", "no_effect")
