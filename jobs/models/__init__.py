"""Jobs and what comes of them. The row is the truth: state, lease, epoch and what is wanted."""

from jobs.models.artifacts import Adapter, Checkpoint, run_folder
from jobs.models.base_model import BaseModel, BaseModelStatus
from jobs.models.job import Job
from jobs.models.record import JobEvent, JobStep, Usage
from jobs.models.run import Run, RunKind
from jobs.models.states import FINAL, OPEN, PROBED_PAUSES, TRANSITIONS, Desired, PauseReason, Status
from jobs.models.trajectory import Trajectory

__all__ = [
    "FINAL",
    "OPEN",
    "PROBED_PAUSES",
    "TRANSITIONS",
    "Adapter",
    "BaseModel",
    "BaseModelStatus",
    "Checkpoint",
    "Desired",
    "Job",
    "JobEvent",
    "JobStep",
    "PauseReason",
    "Run",
    "RunKind",
    "Status",
    "Trajectory",
    "Usage",
    "run_folder",
]
