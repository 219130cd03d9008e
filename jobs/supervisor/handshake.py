"""What the engine is told at its start: the job's frozen spec, its files, and secrets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from django.conf import settings

from hone.core.errors import UserError
from jobs.engine import spec
from jobs.errors import CannotStart, StorageFailed
from jobs.models import BaseModelStatus, Checkpoint, Job, Run, run_folder
from jobs.selectors import inputs
from jobs.services import artifacts
from jobs.services.lease import Lease


def handshake_build(lease: Lease) -> spec.Handshake:
    """The handshake of a run; raises CannotStart where an input is gone, MustPause where files of
    the run are."""
    run = Run.objects.select_related(
        "job__base_model", "job__train_version", "job__validation_version", "job__grader_version"
    ).get(pk=lease.run_id)
    artifacts.checkpoints_fetch(run)
    points = {
        row.step: spec.ResumePoint(row.step, row.path, row.manifest_sha256)
        for row in Checkpoint.objects.filter(run=run, available=True)
    }
    kept = Checkpoint.objects.filter(run=run, available=True, kept=True)
    return spec.Handshake(
        spec=job_spec(run),
        run_dir=str(run_folder(run.pk)),
        epoch=lease.epoch,
        headers=_headers(run.job),
        allow_networks=tuple(settings.OUTBOUND_ALLOW),
        resume=points.get(run.last_step),
        last_step=run.last_step,
        kept_checkpoints=tuple(points[row.step] for row in kept.order_by("step")),
    )


def job_spec(run: Run) -> spec.JobSpec:
    """The engine's spec; raises CannotStart where an input is gone or cannot be used."""
    job = run.job
    frozen: dict[str, Any] = job.spec
    if job.grader_version is None:
        raise CannotStart("grader_deleted", _gone("grader", frozen["grader"]["name"]))
    try:
        return spec.JobSpec(
            run_id=run.pk,
            kind="evaluate" if run.kind == "evaluate" else "train",
            seed=job.seed,
            model_path=_model_path(job),
            model_name=job.base_model.source if job.base_model.is_hub else job.base_model.name,
            train=_data(job, "train"),
            validation=_data(job, "validation"),
            tools=tuple(spec.ToolSpec(**tool) for tool in frozen["tools"]),
            grader=job.grader_version.spec,
            response_format=frozen["response_format"],
            budgets=spec.Budgets(**frozen["budgets"]),
            **frozen["engine"],
        )
    except (TypeError, ValueError) as error:
        # A name that the spec does not know, as after an upgrade, is a TypeError.
        raise CannotStart(
            "spec_invalid",
            f"The job's frozen settings do not fit this version of Hone: {error}. Clone the job.",
        ) from error


def _data(job: Job, part: str) -> spec.DataSpec:
    frozen = job.spec[part]
    version = job.train_version if part == "train" else job.validation_version
    if version is None:
        raise CannotStart("dataset_deleted", _gone("dataset", frozen["name"]))
    try:
        with artifacts.storage():
            path = inputs.dataset_path(version)
    except StorageFailed as error:
        if not isinstance(error.__cause__, FileNotFoundError | UserError):
            raise
        raise CannotStart(
            "dataset_unreadable",
            f"The file of dataset {frozen['name']} cannot be read ({error}). Upload it again and "
            "clone the job.",
        ) from error
    rows = frozen["split_rows"]
    return spec.DataSpec(str(path), None if rows is None else tuple(rows))


def _gone(what: str, name: str) -> str:
    return (
        f"The {what} {name} was deleted while the job still needed it. Nothing was lost that was "
        f"finished; clone the job with another {what}."
    )


def _model_path(job: Job) -> str:
    model = job.base_model
    if model.status != BaseModelStatus.READY or not Path(model.folder).is_dir():
        raise CannotStart(
            "model_gone",
            f"The base model {model.name} is not on this machine ({model.folder or model.source}). "
            "The operator adds it with `manage.py add_base_model`; then clone the job.",
        )
    return model.folder


def _headers(job: Job) -> dict[str, dict[str, str]]:
    versions = list(job.tool_versions.all())
    if len(versions) != len(job.spec["tools"]):
        known = {inputs.tool_name(version) for version in versions}
        gone = [tool["name"] for tool in job.spec["tools"] if tool["name"] not in known]
        raise CannotStart("tool_deleted", _gone("tool", ", ".join(gone)))
    return {inputs.tool_name(version): inputs.tool_headers(version) for version in versions}
