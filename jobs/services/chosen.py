"""The rows that a job request names, found in its organisation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from graders.models import GraderVersion
from hone.accounts.models import Organisation
from hone.datasets.models import DatasetVersion
from hone.datasets.selectors import dataset_split
from hone.tools.models import Recording, ToolVersion
from jobs.models import BaseModel, Checkpoint
from jobs.selectors import inputs
from jobs.selectors.access import checkpoint_of
from jobs.services.request import Check, JobRequest


@dataclass
class Inputs:
    """The rows that a request names; None where there is no such row in the organisation."""

    base_model: BaseModel | None
    train: DatasetVersion | None
    validation: DatasetVersion | None
    tools: list[ToolVersion]
    grader: GraderVersion | None
    turn_grader: GraderVersion | None = None
    held_out: GraderVersion | None = None
    recording: Recording | None = None
    start: Checkpoint | None = None
    train_rows: tuple[int, ...] | None = None
    validation_rows: tuple[int, ...] | None = None


def request_inputs(organisation: Organisation, request: JobRequest) -> tuple[Inputs, list[Check]]:
    """The rows behind a request's ids, and a problem for each that is missing."""
    checks: list[Check] = []

    def found(value: Any, topic: str, name: str) -> Any:
        if value is None:
            sent = getattr(request, name)
            why = ": there is none with the id that was sent." if sent else "."
            sentence = f"Choose a {topic.lower()}{why}"
            checks.append(Check(topic, "problem", sentence, name, f"{name}_unknown"))
        return value

    model = BaseModel.objects.filter(enabled=True, pk=request.base_model or 0).first()
    train = request.train_version and inputs.dataset_version(organisation, request.train_version)
    grader = request.grader_version and inputs.grader_version(organisation, request.grader_version)
    tools = [
        found(inputs.tool_version(organisation, version), "Tool", "tool_versions")
        for version in request.tool_versions
    ]
    chosen = Inputs(
        base_model=found(model, "Base model", "base_model"),
        train=found(train or None, "Dataset", "train_version"),
        validation=train or None,
        tools=[tool for tool in tools if tool is not None],
        grader=found(grader or None, "Grader", "grader_version"),
    )
    if request.turn_grader:
        scorer = inputs.grader_version(organisation, request.turn_grader)
        chosen.turn_grader = found(scorer, "Turn grader", "turn_grader")
    if request.held_out_grader:
        watcher = inputs.grader_version(organisation, request.held_out_grader)
        chosen.held_out = found(watcher, "Held-out grader", "held_out_grader")
    if request.recording:
        recording = inputs.recording(organisation, request.recording)
        chosen.recording = found(recording, "Recording", "recording")
    if request.start_checkpoint:
        start = checkpoint_of(organisation, request.start_checkpoint)
        chosen.start = found(start, "Checkpoint", "start_checkpoint")
    if request.validation_version:
        validation = inputs.dataset_version(organisation, request.validation_version)
        chosen.validation = found(validation, "Validation dataset", "validation_version")
    elif chosen.train is not None:
        share = request.validation_share if 0 < request.validation_share < 1 else 0.1
        split = dataset_split(chosen.train, share, request.seed)
        chosen.train_rows, chosen.validation_rows = split
    return chosen, checks
