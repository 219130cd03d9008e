"""Weights & Biases: an offline run in a folder, which `wandb sync` sends when somebody asks."""

from __future__ import annotations

from pathlib import Path

from jobs.exports.base import PROJECT, ExportedJob, library, variables

SILENT = {
    "WANDB_MODE": "offline",
    "WANDB_ERROR_REPORTING": "false",
    "WANDB_SILENT": "true",
}
"""Nothing is sent, its own errors included, unless the operator set WANDB_MODE to online."""


class Wandb:
    """The library's own settings (WANDB_MODE, WANDB_API_KEY, WANDB_PROJECT, …) hold."""

    name = "wandb"
    distribution = "wandb"

    def write(self, job: ExportedJob, folder: Path) -> str:
        place = folder / "wandb"
        place.mkdir(parents=True, exist_ok=True)
        with variables(**SILENT, WANDB_PROJECT=PROJECT, WANDB_DIR=str(place)):
            wandb = library("wandb", self.distribution)
            run = wandb.init(
                id=job.job_id,
                name=job.name,
                config=dict(job.config),
                settings=wandb.Settings(
                    console="off",
                    disable_git=True,
                    save_code=False,
                    disable_job_creation=True,
                    x_disable_machine_info=True,
                    x_disable_meta=True,
                    x_disable_stats=True,
                    x_save_requirements=False,
                ),
            )
            for step in job.steps:
                run.log(dict(step.metrics), step=step.step)
            run.finish()
            return f"{run.settings.mode}, {Path(run.dir).parent}"
