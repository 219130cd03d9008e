"""Live checks of whom graders call: judges that are offered, addresses that may be called."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from graders.kinds.parts import endpoints_in, models_in
from graders.models import GraderVersion, Judge
from graders.selectors import judge_models
from hone.accounts.models import Organisation
from jobs.services import here
from jobs.services.chosen import Inputs
from jobs.services.request import Check, JobRequest

TOPIC = "Judges"
Offered = Mapping[str, tuple[Judge, str]]


def wanted_models(chosen: Inputs, request: JobRequest) -> list[str]:
    """The models as graders name them, and that of the judge of turns."""
    named = [model for _, version in _graders(chosen) for model in models_in(version.spec)]
    return list(dict.fromkeys([*named, *([request.turn_judge] if request.turn_judge else [])]))


def judge_checks(
    organisation: Organisation, chosen: Inputs, request: JobRequest
) -> Iterator[Check]:
    """Nothing is said where nobody is called."""
    offered = judge_models(organisation)
    models = wanted_models(chosen, request)
    yield from _offer_checks(chosen, request, offered)
    if models and request.deterministic:
        sentence = (
            "The job is deterministic, and a judge promises no equal answers. Turn deterministic "
            "off, or choose graders without a judge."
        )
        yield Check(TOPIC, "problem", sentence, "grader_version", "judge_deterministic")
    if request.turn_judge and not request.judge_instructions.strip():
        sentence = "The judge of turns is told nothing. Say what a good turn is."
        yield Check(TOPIC, "problem", sentence, "judge_instructions", "judge_instructions")
    judges = {
        judge.pk: judge for model in models if model in offered for judge in [offered[model][0]]
    }
    places = [(f"the judge {judge.name}", judge.base_url) for judge in judges.values()]
    places += [
        (f"the endpoint of {version}", str(part["url"]).strip())
        for _, version in _graders(chosen)
        for _, part in endpoints_in(version.spec)
    ]
    yield from here.address_checks(places, TOPIC, "grader_version", "judge")


def _graders(chosen: Inputs) -> list[tuple[str, GraderVersion]]:
    found = (
        ("grader_version", chosen.grader),
        ("turn_grader", chosen.turn_grader),
        ("held_out_grader", chosen.held_out),
    )
    return [(field, version) for field, version in found if version is not None]


def _offer_checks(chosen: Inputs, request: JobRequest, offered: Offered) -> Iterator[Check]:
    named: list[tuple[str, str, Any]] = [
        (field, model, version)
        for field, version in _graders(chosen)
        for model in models_in(version.spec)
    ]
    if request.turn_judge:
        named.append(("turn_judge", request.turn_judge, "The judge of turns"))
    for field, model, who in named:
        if model not in offered:
            sentence = (
                f"{who} asks for {model[:80]!r}, which no judge offers any more. Register a judge "
                "for it, or choose another grader."
            )
            yield Check(TOPIC, "problem", sentence, field, "judge_unknown")
