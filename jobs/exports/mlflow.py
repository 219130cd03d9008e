"""MLflow: a run in a store of files, or on the server that MLFLOW_TRACKING_URI names."""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from jobs.exports.base import PROJECT, ExportedJob, library, variables

SILENT = {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true"}
TAG = "hone.job"
AT_ONCE = 1000
"""Metrics that MLflow takes in one request."""
LONGEST_VALUE = 6000
"""Characters of a parameter's value."""


class Mlflow:
    """Of a job that was exported before, the older run is deleted."""

    name = "mlflow"
    distribution = "mlflow-skinny"

    def write(self, job: ExportedJob, folder: Path) -> str:
        # mlflow-skinny has no database; its store of files asks to be allowed.
        store = {} if os.environ.get("MLFLOW_TRACKING_URI") else {"MLFLOW_ALLOW_FILE_STORE": "true"}
        place = (folder / "mlflow").resolve()
        with variables(**SILENT, **store, MLFLOW_TRACKING_URI=place.as_uri()):
            library("mlflow", self.distribution)
            tracking = library("mlflow.tracking", self.distribution)
            client = tracking.MlflowClient()
            experiment = self._experiment(client)
            self._delete_older(client, experiment, job.job_id)
            self._write(client, experiment, job)
            return str(os.environ["MLFLOW_TRACKING_URI"])

    def _experiment(self, client: Any) -> str:
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME") or PROJECT
        found = client.get_experiment_by_name(name)
        return str(found.experiment_id if found else client.create_experiment(name))

    def _delete_older(self, client: Any, experiment: str, job_id: str) -> None:
        for run in client.search_runs([experiment], f"tags.`{TAG}` = '{job_id}'"):
            client.delete_run(run.info.run_id)

    def _write(self, client: Any, experiment: str, job: ExportedJob) -> None:
        entities = library("mlflow.entities", self.distribution)
        run = client.create_run(experiment, tags={TAG: job.job_id}, run_name=job.name)
        run_id = run.info.run_id
        params = (entities.Param(name, value[:LONGEST_VALUE]) for name, value in job.config.items())
        for some in _some(params, 100):
            client.log_batch(run_id, params=some)
        metrics = (
            entities.Metric(name, value, int(step.at.timestamp() * 1000), step.step)
            for step in job.steps
            for name, value in step.metrics.items()
        )
        for some in _some(metrics, AT_ONCE):
            client.log_batch(run_id, metrics=some)
        client.set_terminated(run_id)


def _some(items: Iterator[Any], most: int) -> Iterator[list[Any]]:
    while taken := list(islice(items, most)):
        yield taken
