"""The trackers that metrics can go to, by the names that HONE_EXPORT takes."""

from __future__ import annotations

from jobs.exports.base import Exporter
from jobs.exports.mlflow import Mlflow
from jobs.exports.trackio import Trackio
from jobs.exports.wandb import Wandb

EXPORTERS: dict[str, Exporter] = {each.name: each for each in (Wandb(), Mlflow(), Trackio())}
