"""Reads for the pages and the API: access doors first, then lists, overviews and series."""

from jobs.selectors.access import (
    access_checkpoint,
    access_job,
    access_replay,
    access_trajectory,
    base_models_ready,
)
from jobs.selectors.adapters import adapter_proof, adapter_zip, checkpoint_zip
from jobs.selectors.bodies import trajectory_body
from jobs.selectors.checkpoints import job_checkpoints
from jobs.selectors.history import History, job_history
from jobs.selectors.listing import (
    JobFilters,
    job_list,
    trajectory_replays,
    trajectory_siblings,
)
from jobs.selectors.overview import Overview, Tile, job_overview
from jobs.selectors.series import job_series
from jobs.selectors.trajectories import Filters, Page, trajectory_list
from jobs.selectors.waits import queue_of

__all__ = [
    "Filters",
    "History",
    "JobFilters",
    "Overview",
    "Page",
    "Tile",
    "access_checkpoint",
    "access_job",
    "access_replay",
    "access_trajectory",
    "adapter_proof",
    "adapter_zip",
    "base_models_ready",
    "checkpoint_zip",
    "job_checkpoints",
    "job_history",
    "job_list",
    "job_overview",
    "job_series",
    "queue_of",
    "trajectory_body",
    "trajectory_list",
    "trajectory_replays",
    "trajectory_siblings",
]
