"""Reads for the pages and the API: access doors first, then lists, overviews and series."""

from jobs.selectors.access import (
    access_checkpoint,
    access_job,
    access_trajectory,
    base_models_ready,
)
from jobs.selectors.adapters import adapter_zip, checkpoint_zip
from jobs.selectors.bodies import trajectory_body
from jobs.selectors.listing import (
    Filters,
    Page,
    job_checkpoints,
    job_events,
    job_list,
    trajectory_list,
    trajectory_siblings,
)
from jobs.selectors.overview import Overview, Tile, job_overview, queue_place, seconds_left
from jobs.selectors.series import job_series

__all__ = [
    "Filters",
    "Overview",
    "Page",
    "Tile",
    "access_checkpoint",
    "access_job",
    "access_trajectory",
    "adapter_zip",
    "base_models_ready",
    "checkpoint_zip",
    "job_checkpoints",
    "job_events",
    "job_list",
    "job_overview",
    "job_series",
    "queue_place",
    "seconds_left",
    "trajectory_body",
    "trajectory_list",
    "trajectory_siblings",
]
