"""What the engine is told at its start: the job's frozen spec, its files, and secrets."""

from __future__ import annotations

from typing import Any

import msgspec
from django.conf import settings
from django.db.models import Q

from graders.kinds.judging.judges import JudgeEndpoint
from hone.core.errors import UserError
from hone.core.secrets import SecretUnreadable
from jobs.engine import spec
from jobs.errors import CannotStart, MustPause, StorageFailed
from jobs.models import Checkpoint, Job, PauseReason, Run, RunKind, run_folder
from jobs.selectors import inputs
from jobs.selectors.engine_fields import adapter_start, engine_fields
from jobs.selectors.judges import RoleHeaders, job_grader_headers, job_judges
from jobs.services import artifacts
from jobs.services.lease import Lease
from jobs.supervisor.base_models import model_path
from jobs.supervisor.playground import playground_spec
from jobs.supervisor.preflight import preflight_spec
from jobs.supervisor.replay import replay_spec


def handshake_build(lease: Lease) -> spec.Handshake:
    """The handshake of a run; raises CannotStart where an input is gone, MustPause where files of
    the run are."""
    run = Run.objects.select_related(
        "job__base_model",
        "job__train_version",
        "job__validation_version",
        "job__grader_version",
        "job__start_checkpoint",
    ).get(pk=lease.run_id)
    artifacts.checkpoints_fetch(run)
    # A replay has no checkpoints of its own, and so nothing to go on from.
    points = {
        row.step: spec.ResumePoint(row.step, row.path, row.manifest_sha256)
        for row in Checkpoint.objects.filter(run=run, available=True)
    }
    kept = Checkpoint.objects.filter(Q(kept=True) | Q(pinned=True), run=run, available=True)
    judges, grader_headers = _grader_secrets(run.job)
    recording, recording_name = _recording(run)
    return spec.Handshake(
        spec=job_spec(run),
        run_dir=str(run_folder(run.pk)),
        epoch=lease.epoch,
        headers=_headers(run.job),
        judges=judges,
        grader_headers=grader_headers,
        sampler_key=settings.SAMPLER_KEY if settings.SAMPLER_URL else "",
        allow_networks=tuple(settings.OUTBOUND_ALLOW),
        resume=points.get(run.last_step),
        last_step=run.last_step,
        kept_checkpoints=tuple(points[row.step] for row in kept.order_by("step")),
        recording=recording,
        recording_name=recording_name,
        replay=replay_spec(run) if run.kind == RunKind.REPLAY else None,
        preflight=preflight_spec(run) if run.kind == RunKind.PREFLIGHT else None,
        playground=playground_spec(run) if run.kind == RunKind.PLAYGROUND else None,
    )


def job_spec(run: Run) -> spec.JobSpec:
    """The engine's spec; raises CannotStart where an input is gone or cannot be used."""
    job = run.job
    frozen: dict[str, Any] = job.spec
    if job.grader_version is None and frozen["grader"] is not None:
        raise CannotStart("grader_deleted", _gone("grader", frozen["grader"]["name"]))
    try:
        return spec.JobSpec(
            run_id=run.pk,
            kind=msgspec.convert(run.kind, spec.RunKind),
            seed=job.seed,
            model_path=model_path(job.base_model),
            model_name=job.base_model.source if job.base_model.is_hub else job.base_model.name,
            train=_data(job, "train"),
            validation=_data(job, "validation"),
            tools=tuple(spec.ToolSpec(**tool) for tool in frozen["tools"]),
            grader=job.grader_version.spec if job.grader_version else {},
            response_format=frozen["response_format"],
            budgets=spec.Budgets(**frozen["budgets"]),
            server=_server(),
            held_out_grader=(frozen.get("held_out_grader") or {}).get("spec"),
            **engine_fields(frozen["engine"], frozen.get("turn_rewards"), _start(run)),
        )
    except (TypeError, ValueError) as error:
        # A name that the spec does not know, as after an upgrade, is a TypeError.
        raise CannotStart(
            "spec_invalid",
            f"The job's frozen settings do not fit this version of Hone: {error}. Clone the job.",
        ) from error


def _start(run: Run) -> spec.AdapterStart | None:
    """What a fork begins with, on this machine; once it has a step, its own checkpoints count."""
    frozen = run.job.spec.get("start")
    if not frozen or run.last_step >= 0:
        return adapter_start(frozen)
    source = run.job.start_checkpoint
    folder = None
    if source is not None and source.available:
        into = run_folder(run.pk) / "start"
        folder = artifacts.borrow_folder(source.run_id, source.path, into=into)
    if folder is None:
        raise CannotStart(
            "start_gone",
            f"The checkpoint of step {frozen['step']} of {frozen['name']}, which the job begins "
            "with, is gone. Fork another checkpoint.",
        )
    return adapter_start(frozen, str(folder))


def _server() -> spec.ServerSpec | None:
    """The operator's sampling server; None where the engine samples itself."""
    if not settings.SAMPLER_URL:
        return None
    return msgspec.convert(
        {
            "base_url": settings.SAMPLER_URL,
            "dialect": settings.SAMPLER_DIALECT,
            "processed_logprobs": settings.SAMPLER_PROCESSED_LOGPROBS,
        },
        spec.ServerSpec,
    )


def _data(job: Job, part: str) -> spec.DataSpec:
    frozen = job.spec[part]
    if frozen is None:
        # A try brings its one task with it.
        return spec.DataSpec("")
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


def _grader_secrets(job: Job) -> tuple[dict[str, JudgeEndpoint], RoleHeaders]:
    """What graders call, with keys and headers; one that cannot be opened is waited for."""
    try:
        return job_judges(job), job_grader_headers(job)
    except SecretUnreadable as error:
        raise MustPause(
            PauseReason.GRADER_UNAVAILABLE,
            f"A key of a judge or a header of an endpoint that grades cannot be opened. {error} "
            "The job goes on by itself once it can.",
        ) from error


def _recording(run: Run) -> tuple[str, str]:
    """File and name of the recording that answers for the tools, written where the engine reads
    it; empty where the tools answer."""
    frozen = run.job.spec.get("recording")
    if not frozen:
        return "", ""
    recording = inputs.recording(run.job.organisation, frozen["id"])
    if recording is None:
        raise CannotStart("recording_deleted", _gone("recording", frozen["name"]))
    if recording.sha256 != frozen["sha256"]:
        raise CannotStart(
            "recording_changed",
            f"The recording {frozen['name']} was added to since the job was made, so the job would "
            "not come out the same. Clone the job.",
        )
    path = run_folder(run.pk) / "recording.jsonl.zst"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(bytes(recording.content))
    return str(path), recording.name


def _headers(job: Job) -> dict[str, dict[str, str]]:
    versions = list(job.tool_versions.all())
    if len(versions) != len(job.spec["tools"]):
        known = {inputs.tool_name(version) for version in versions}
        gone = [tool["name"] for tool in job.spec["tools"] if tool["name"] not in known]
        raise CannotStart("tool_deleted", _gone("tool", ", ".join(gone)))
    return {inputs.tool_name(version): inputs.tool_headers(version) for version in versions}
