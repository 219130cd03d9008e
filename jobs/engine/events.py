"""What a run reports: typed events, one JSON object a line, on the engine's event stream.

A step exists when its `StepDone` has been committed by the supervisor, and not before. The files
that an event names (checkpoint folder, trajectory bodies) are complete and synced to disk before
the event is written. Paths are relative to the run folder.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from jobs.engine.errors import PauseReason
from jobs.engine.types import Trajectory

Level = Literal["info", "warn", "error"]
Split = Literal["train", "validation", "preflight", "playground"]


class Event(msgspec.Struct, frozen=True, tag_field="event", tag=True, kw_only=True):
    """The base of all events; `event` in the JSON is the class name."""


class Started(Event, frozen=True, kw_only=True):
    """The model is loaded; `first_step` is the step that comes next."""

    device: str
    dtype: str
    parameters: int
    trainable_parameters: int
    sampler: str
    first_step: int


class Message(Event, frozen=True, kw_only=True):
    """A line for the job's event list. `code` names the kind where a program may care."""

    level: Level = "info"
    text: str
    code: str = ""
    data: dict[str, Any] = msgspec.field(default_factory=dict)


class Progress(Event, frozen=True, kw_only=True):
    """Where the engine is inside a step; shown live, never stored as history."""

    step: int
    phase: Literal["loading", "evaluation", "rollout", "learning", "checkpoint", "export"]
    done: int
    total: int


class TurnsSoFar(Event, frozen=True, kw_only=True):
    """A rollout that somebody watches, after a turn or the answers to its calls; shown live,
    never stored as history. It has no tokens, and long results of tools are cut."""

    step: int
    rollout: Trajectory


class CreditSummary(msgspec.Struct, frozen=True, kw_only=True):
    """The credit of a trained trajectory, small enough for its row in a list."""

    turns: tuple[tuple[float, bool], ...]
    """Advantage of a turn, and whether it has evidence of its own; the first 100."""
    reach: float
    """How far from zero the longest of its credit bars goes, per token."""
    reach_turn: float
    """The same of advantage times trained tokens of the turn."""


class TrajectoryRow(msgspec.Struct, frozen=True, kw_only=True):
    """The index row of one trajectory; its body is one zstd frame in the step's body file."""

    uid: str
    split: Split
    row: int
    """Zero-based line of the task in its dataset file."""
    group: str
    sample: int
    reward: float | None
    parts: dict[str, float] = msgspec.field(default_factory=dict)
    advantage: float | None = None
    trained: bool = False
    turns: int
    tool_calls: int
    tokens: int
    """Sampled tokens."""
    total_tokens: int
    stop: str
    flags: tuple[str, ...] = ()
    """Of: looped, ungraded, malformed_call, tool_error, tool_fault, no_signal, audit_differs."""
    cause: str = ""
    """Why it is ungraded."""
    tools: tuple[str, ...] = ()
    credit: CreditSummary | None = None
    """What its turns were trained on; None where it was not trained."""
    excerpt: str = ""
    """At most 2,000 characters: the last answer, then the tool calls."""
    seconds: float = 0.0
    offset: int
    length: int


class CheckpointRef(msgspec.Struct, frozen=True, kw_only=True):
    """A complete checkpoint folder: its manifest lists each file with size and sha256."""

    step: int
    path: str
    manifest_sha256: str
    bytes: int
    validation_reward: float | None = None
    """Set where the step was evaluated: such a checkpoint competes to be kept."""


class StepDone(Event, frozen=True, kw_only=True):
    """One whole step: step 0 is the base model's evaluation, without an update.

    `metrics` holds groups of plain numbers (None where unknown): `train`, `validation`,
    `preflight` (see `jobs.engine.metrics.RolloutStats`), `groups`, `learning`, `seconds`;
    and `insight` (see `jobs.engine.insight`), bounded sums and examples for the pages.
    A preflight's steps are slices of its tasks, and a playground's its sides. They train nothing,
    so they have no checkpoint.
    """

    step: int
    total_steps: int
    metrics: dict[str, dict[str, Any]]
    trajectories: tuple[TrajectoryRow, ...] = ()
    bodies: str | None = None
    checkpoint: CheckpointRef | None = None
    kept: tuple[int, ...] = ()
    """Steps whose checkpoints are kept after this one (best by validation reward)."""
    messages: tuple[Message, ...] = ()


class AdapterRef(msgspec.Struct, frozen=True, kw_only=True):
    """The exported adapter folder and the proof that it is the model that was trained."""

    step: int
    path: str
    sha256: str
    bytes: int
    proof_max_abs_logprob_diff: float
    proof_tokens: int
    base_max_abs_logprob_diff: float | None = None
    """From the base model's; 0 where the adapter changes nothing. None: not measured."""


class Paused(Event, frozen=True, kw_only=True):
    """The engine stopped cleanly after `last_step`; nothing of a later step is kept."""

    reason: PauseReason
    text: str


class Cancelled(Event, frozen=True, kw_only=True):
    """The engine stopped because the owner cancelled."""


class Finished(Event, frozen=True, kw_only=True):
    """The run reached its end. `adapter` is None for a run that did not train."""

    seconds: float
    adapter: AdapterRef | None = None
    best_step: int | None = None


class ReplayDone(Event, frozen=True, kw_only=True):
    """A replay reached its end: its whole result, so that no end is committed without it.

    `delta` and `interval` None: there is no estimate, and `reason` says why. `weights_step`: of
    the checkpoint that sampled; 0 is the base model. `cost` as in `jobs.engine.continuations`.
    `tools`: the names that the turn called, each once.
    """

    uid: str
    turn: int
    delta: float | None
    interval: tuple[float, float] | None
    n: int
    unusable: int
    reason: str
    weights_step: int
    cost: dict[str, Any]
    tools: tuple[str, ...] = ()


class Failed(Event, frozen=True, kw_only=True):
    """The run cannot go on. `permanent`: trying again would fail the same way."""

    code: str
    text: str
    permanent: bool = True


AnyEvent = (
    Started
    | Message
    | Progress
    | TurnsSoFar
    | StepDone
    | Paused
    | Cancelled
    | Finished
    | ReplayDone
    | Failed
)
