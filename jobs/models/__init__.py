"""Jobs and what comes of them. The row is the truth: state, lease, epoch and what is wanted."""

from jobs.models.artifacts import Adapter, Checkpoint, run_folder
from jobs.models.base_model import BaseModel, BaseModelStatus
from jobs.models.bucket import StepBucket
from jobs.models.comparison import (
    OPEN_COMPARISON,
    ComparedScore,
    Comparison,
    ComparisonStatus,
    HumanMark,
)
from jobs.models.job import Job, Purpose
from jobs.models.preflight import Preflight
from jobs.models.record import JobEvent, JobStep, Usage
from jobs.models.replay import Replay
from jobs.models.run import Run
from jobs.models.seen import AlarmSeen
from jobs.models.states import (
    FINAL,
    LEADING,
    OPEN,
    PROBED_PAUSES,
    TRANSITIONS,
    Desired,
    PauseReason,
    RunKind,
    Status,
)
from jobs.models.trajectory import Trajectory
from jobs.models.tryout import Tryout

__all__ = [
    "FINAL",
    "LEADING",
    "OPEN",
    "OPEN_COMPARISON",
    "PROBED_PAUSES",
    "TRANSITIONS",
    "Adapter",
    "AlarmSeen",
    "BaseModel",
    "BaseModelStatus",
    "Checkpoint",
    "ComparedScore",
    "Comparison",
    "ComparisonStatus",
    "Desired",
    "HumanMark",
    "Job",
    "JobEvent",
    "JobStep",
    "PauseReason",
    "Preflight",
    "Purpose",
    "Replay",
    "Run",
    "RunKind",
    "Status",
    "StepBucket",
    "Trajectory",
    "Tryout",
    "Usage",
    "run_folder",
]
