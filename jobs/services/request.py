"""What a person or a program asks for when it creates a job, and what is said about it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from hone.accounts.models import Organisation, User
from jobs.services.hyperparameters import Setting

VersionId = str | int
State = Literal["ok", "warning", "problem", "not run"]


@dataclass(frozen=True, kw_only=True)
class JobRequest:
    """The choices of one job. Versions are ids of rows of the same organisation.

    Without `validation_version`, `validation_share` of the training rows is held out. A
    hyperparameter that is absent, empty or "auto" is worked out. Single turns are scored by the
    `turn_grader`, by the `turn_judge` (as `name/model`) that goes by the `judge_instructions`, or
    by how much likelier they make `gold_answer`, a template such as `{{item.answer}}`. The
    `held_out_grader` scores validation and trains nothing.
    """

    base_model: int | None
    train_version: VersionId | None
    grader_version: VersionId | None
    name: str = ""
    validation_version: VersionId | None = None
    validation_share: float = 0.1
    tool_versions: tuple[VersionId, ...] = ()
    hyperparameters: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 42
    metadata: Mapping[str, str] = field(default_factory=dict)
    response_format: Mapping[str, Any] | None = None
    shuffle_rewards: bool = False
    deterministic: bool = False
    turn_grader: VersionId | None = None
    turn_judge: str = ""
    judge_instructions: str = ""
    gold_answer: str = ""
    held_out_grader: VersionId | None = None
    recording: str = ""
    """The recording that answers every tool call; empty: the tools are called."""
    start_checkpoint: int | None = None
    """The checkpoint whose adapter the job begins with, by a fresh optimiser; None: a new one."""


@dataclass(frozen=True)
class Check:
    """One line of the live checks; `field` is the form's field to go to."""

    topic: str
    state: State
    sentence: str
    field: str = ""
    code: str = ""


@dataclass(frozen=True)
class Estimate:
    """Rollouts of training and validation, and their time by the pace of an earlier job.

    `seconds` by the middle of its steps, `low` and `high` by the quartiles; None where no job has
    shown its pace. `like`: the id and name of that job.
    """

    steps: int
    rollouts: int
    seconds: float | None = None
    low: float | None = None
    high: float | None = None
    like: tuple[str, str] = ("", "")


@dataclass(frozen=True)
class Checked:
    """All checks of a request together; `settings` is what "auto" becomes. `estimate` None:
    nothing to reckon with, since a part is missing or a setting does not fit."""

    checks: list[Check]
    settings: list[Setting]
    estimate: Estimate | None = None

    @property
    def may_start(self) -> bool:
        return all(check.state != "problem" for check in self.checks)

    @property
    def problems(self) -> list[Check]:
        return [check for check in self.checks if check.state == "problem"]


@dataclass(frozen=True, kw_only=True)
class Asked:
    """Who asks, for which organisation."""

    acting_user: User
    organisation: Organisation
