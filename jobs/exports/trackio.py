"""trackio: a local project in a folder, or on the server that TRACKIO_SERVER_URL names."""

from __future__ import annotations

import os
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

from jobs.exports.base import PROJECT, ExportedJob, library, variables

SILENT = {"HF_HUB_DISABLE_TELEMETRY": "1", "GRADIO_ANALYTICS_ENABLED": "False"}
"""trackio itself sends nothing; the libraries below it have switches of their own."""


class Trackio:
    """Of a job that was exported before, the older local run is deleted."""

    name = "trackio"
    distribution = "trackio"

    def write(self, job: ExportedJob, folder: Path) -> str:
        place = folder / "trackio"
        place.mkdir(parents=True, exist_ok=True)
        project = os.environ.get("TRACKIO_PROJECT") or PROJECT
        # It prints how to open its dashboard, which is no word of ours.
        with variables(**SILENT, TRACKIO_DIR=str(place)), redirect_stdout(StringIO()):
            trackio = library("trackio", self.distribution)
            self._delete_older(trackio, project, job.job_id)
            run = trackio.init(
                project=project,
                name=job.job_id,
                config={"name": job.name, **job.config},
                auto_log_gpu=False,
                auto_log_cpu=False,
                embed=False,
            )
            for step in job.steps:
                run.log(dict(step.metrics), step=step.step)
            run.finish()
            return os.environ.get("TRACKIO_SERVER_URL") or os.environ["TRACKIO_DIR"]

    def _delete_older(self, trackio: object, project: str, job_id: str) -> None:
        try:
            runs = list(trackio.Api().runs(project))  # type: ignore[attr-defined]
        except ValueError:
            return
        for run in runs:
            if run.name == job_id:
                run.delete()
