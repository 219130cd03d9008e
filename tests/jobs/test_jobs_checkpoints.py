"""Keeping, deleting, verifying and forking checkpoints, beside an engine that prunes."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from django.core.files.base import ContentFile

from hone.accounts.models import AuditEntry
from hone.core.errors import UserError
from jobs.engine import events
from jobs.errors import CannotStart, JobRefused
from jobs.models import Checkpoint, Job, JobEvent, Run, run_folder
from jobs.selectors.checkpoints import checkpoints_held
from jobs.services.checkpoints import (
    checkpoint_delete,
    checkpoint_pin,
    checkpoint_unpin,
    checkpoint_verify,
    checkpoints_set_aside,
)
from jobs.services.commit import step_commit
from jobs.services.create import job_create
from jobs.services.ending import run_fail
from jobs.services.lease import run_acquire
from jobs.services.request import JobRequest
from jobs.supervisor.handshake import handshake_build, job_spec
from jobs.supervisor.supervise import supervise
from tests.jobs.test_jobs_supervisor import in_background, wait_for

pytestmark = pytest.mark.django_db(transaction=True)


def row(job: Job, step: int) -> Checkpoint:
    return Checkpoint.objects.get(run__job=job, step=step)


def on_disk(job: Job) -> list[int]:
    folder = run_folder(Run.objects.get(job=job, kind="train").pk) / "checkpoints"
    return sorted(int(path.name[5:]) for path in folder.glob("step-??????"))


def held(job: Job) -> list[int]:
    return checkpoints_held(Run.objects.get(job=job, kind="train").pk)


def files_write(checkpoint: Checkpoint, **changed: bytes) -> None:
    """A whole folder as the engine leaves it, and its manifest's hash in the row."""
    files = {
        "adapter_model.safetensors": b"weights",
        "adapter_config.json": b"{}",
        "state.json": b"{}",
    }
    folder = run_folder(checkpoint.run_id) / checkpoint.path
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    listed = [
        {"name": name, "size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
        for name, data in files.items()
    ]
    manifest = json.dumps({"schema_version": 1, "step": checkpoint.step, "files": listed}).encode()
    (folder / "MANIFEST.json").write_bytes(manifest)
    Checkpoint.objects.filter(pk=checkpoint.pk).update(
        manifest_sha256=hashlib.sha256(manifest).hexdigest()
    )
    checkpoint.refresh_from_db()


@pytest.fixture
def worked(make_job: Any, fake_engine: Any) -> Any:
    """A job whose steps 0 to 3 are committed, and its lease."""
    job = make_job(steps=6)
    lease = run_acquire(Run.objects.get(job=job).pk, holder="test", host="here")
    assert lease is not None
    for step in range(4):
        ref = events.CheckpointRef(
            step=step,
            path=f"checkpoints/step-{step:06d}",
            manifest_sha256="0" * 64,
            bytes=500,
            validation_reward=0.25 if step == 0 else None,
        )
        metrics = {"validation": {"reward_mean": 0.25}} if step == 0 else {}
        done = events.StepDone(step=step, total_steps=6, metrics=metrics, checkpoint=ref, kept=(0,))
        step_commit(lease, done)
        files_write(row(job, step))
    job.refresh_from_db()
    return job, lease


def test_a_running_engine_never_removes_what_a_person_keeps(
    make_job: Any, fake_engine: Any, alice: Any
) -> None:
    fake_engine(step_s=0.15)
    job = make_job(steps=8)
    thread, outcomes = in_background(job)
    wait_for(lambda: Run.objects.get(job=job).last_step >= 2)
    job.refresh_from_db()
    kept = row(job, job.last_step)
    checkpoint_pin(acting_user=alice, checkpoint=kept)
    thread.join(20)
    assert outcomes == ["ended"]
    assert held(job) == [kept.step, 7, 8]
    assert on_disk(job) == [kept.step, 7, 8]
    note = AuditEntry.objects.get(action="checkpoint.keep")
    assert (note.actor, note.target, note.detail) == (alice, job.pk, {"step": kept.step})


def test_a_resumed_engine_still_keeps_it_and_lets_go_what_was_let_go(
    make_job: Any, fake_engine: Any, alice: Any
) -> None:
    fake_engine(pause_at=3)
    job = make_job(steps=6)
    supervise(Run.objects.get(job=job).pk)
    for step in (1, 2):
        checkpoint_pin(acting_user=alice, checkpoint=row(job, step))
    checkpoint_unpin(acting_user=alice, checkpoint=row(job, 1))
    from jobs.services.control import job_resume

    job_resume(acting_user=alice, job=job)
    supervise(Run.objects.get(job=job).pk)
    assert held(job) == on_disk(job) == [2, 5, 6]


def test_a_checkpoint_that_was_pruned_cannot_be_kept(worked: Any, alice: Any) -> None:
    job, _ = worked
    with pytest.raises(UserError) as refused:
        checkpoint_pin(acting_user=alice, checkpoint=row(job, 1))
    assert refused.value.code == "checkpoint_gone"
    assert not row(job, 1).pinned


def test_what_a_job_at_work_needs_cannot_be_deleted(worked: Any, alice: Any) -> None:
    job, _ = worked
    for step, words in ((3, "would resume"), (2, "would resume"), (0, "the best so far")):
        with pytest.raises(UserError, match=words) as refused:
            checkpoint_delete(acting_user=alice, checkpoint=row(job, step))
        assert refused.value.code == "checkpoint_needed"
        assert row(job, step).available


def test_deleting_frees_the_disk_and_leaves_a_note(worked: Any, alice: Any) -> None:
    job, lease = worked
    run_fail(lease, code="out_of_memory", text="It was too large.")
    checkpoint_pin(acting_user=alice, checkpoint=row(job, 2))
    with pytest.raises(UserError, match="kept by a person"):
        checkpoint_delete(acting_user=alice, checkpoint=row(job, 2))
    checkpoint_unpin(acting_user=alice, checkpoint=row(job, 2))
    folder = run_folder(lease.run_id) / row(job, 2).path
    assert folder.is_dir()
    checkpoint_delete(acting_user=alice, checkpoint=row(job, 2))
    assert not folder.exists()
    assert (row(job, 2).available, held(job)) == (False, [0, 3])
    note = AuditEntry.objects.get(action="checkpoint.delete")
    assert note.detail == {"step": 2, "bytes": 500}
    assert JobEvent.objects.filter(job=job, code="checkpoint_deleted").count() == 1
    with pytest.raises(UserError, match="not there any more"):
        checkpoint_delete(acting_user=alice, checkpoint=row(job, 2))


def test_the_checkpoint_behind_the_adapter_cannot_be_deleted(
    make_job: Any, fake_engine: Any, alice: Any
) -> None:
    job = make_job(steps=2)
    supervise(Run.objects.get(job=job).pk)
    with pytest.raises(UserError, match="exported adapter was made"):
        checkpoint_delete(acting_user=alice, checkpoint=row(job, 2))
    assert row(job, 2).verified_at is not None


def test_verifying_sets_a_damaged_one_aside_with_both_hashes_until_it_is_mended(
    worked: Any, alice: Any
) -> None:
    job, lease = worked
    sound = checkpoint_verify(acting_user=alice, checkpoint=row(job, 3))
    assert (sound.damage, sound.available) == ("", True)
    assert sound.verified_at is not None
    weights = run_folder(lease.run_id) / sound.path / "adapter_model.safetensors"
    weights.write_bytes(b"Weights")
    bad = checkpoint_verify(acting_user=alice, checkpoint=sound)
    wanted, found = (hashlib.sha256(data).hexdigest()[:8] for data in (b"weights", b"Weights"))
    assert f"(adapter_model.safetensors: sha256 {wanted}… ≠ {found}…)" in bad.damage
    assert not bad.available
    assert held(job) == [0, 2, 3]
    with pytest.raises(UserError):
        checkpoint_pin(acting_user=alice, checkpoint=bad)
    weights.write_bytes(b"weights")
    mended = checkpoint_verify(acting_user=alice, checkpoint=bad)
    assert (mended.damage, mended.available) == ("", True)


def test_what_the_engine_set_aside_stays_listed_with_what_differed(worked: Any) -> None:
    job, lease = worked
    folder = run_folder(lease.run_id) / row(job, 3).path
    (folder / "state.json").write_bytes(b"[]")
    folder.rename(folder.with_name(f"{folder.name}.corrupt"))
    checkpoints_set_aside(lease)
    assert "state.json: sha256" in row(job, 3).damage
    assert [row(job, step).damage for step in (0, 2)] == ["", ""]


def test_a_viewer_and_a_stranger_change_nothing(worked: Any, dora: Any, charlie: Any) -> None:
    from django.core.exceptions import PermissionDenied
    from django.http import Http404

    job, _ = worked
    for person in (dora, charlie):
        for service in (checkpoint_pin, checkpoint_unpin, checkpoint_delete, checkpoint_verify):
            with pytest.raises((PermissionDenied, Http404)):
                service(acting_user=person, checkpoint=row(job, 3))
    assert AuditEntry.objects.filter(action__startswith="checkpoint").count() == 0


def fork_request(job: Job, step: int, **changes: Any) -> JobRequest:
    fields: dict[str, Any] = {
        "base_model": job.base_model_id,
        "train_version": job.train_version_id,
        "grader_version": job.grader_version_id,
        "validation_version": None,
        "hyperparameters": {"lora_rank": 16, "lora_alpha": 32, "steps": 2},
        "start_checkpoint": row(job, step).pk,
    }
    return JobRequest(**(fields | changes))


@pytest.fixture
def source(worked: Any, alice: Any, organisation: Any) -> Job:
    """As `worked`, with enough rows to hold some out, and a spec that says its shape."""
    from tests.jobs.conftest import make_dataset, task

    job, _ = worked
    version = make_dataset(organisation, alice, [task(number) for number in range(40)])
    engine = {**job.spec["engine"], "lora_rank": 16, "lora_alpha": 32}
    Job.objects.filter(pk=job.pk).update(train_version=version, spec={**job.spec, "engine": engine})
    job.refresh_from_db()
    return job


def forked(source: Job, alice: Any, organisation: Any, step: int = 3, **changes: Any) -> Job:
    request = fork_request(source, step, **{"validation_share": 0.3, **changes})
    return job_create(acting_user=alice, organisation=organisation, request=request)


def test_a_fork_says_for_good_where_it_comes_from_and_keeps_its_checkpoint(
    source: Job, alice: Any, organisation: Any
) -> None:
    fork = forked(source, alice, organisation)
    begun = row(source, 3)
    assert fork.start_checkpoint == begun
    assert fork.spec["start"] == {
        "job": source.pk,
        "name": "refunds",
        "step": 3,
        "manifest_sha256": begun.manifest_sha256,
        "validation_reward": None,
    }
    assert begun.pinned
    assert begun.verified_at is not None
    told = job_spec(Run.objects.get(job=fork)).lora.start
    assert told is not None
    assert (told.job, told.step, told.manifest_sha256) == (source.pk, 3, begun.manifest_sha256)
    assert (Path(told.path) / "MANIFEST.json").is_file()


def test_a_fork_that_has_a_step_needs_the_checkpoint_no_more(
    source: Job, alice: Any, organisation: Any
) -> None:
    fork = forked(source, alice, organisation)
    run_fail(run_acquire_again(source), code="x", text="y")
    for service in (checkpoint_unpin, checkpoint_delete):
        with pytest.raises(UserError, match=r"cannot be (let go|deleted)\."):
            service(acting_user=alice, checkpoint=row(source, 3))
    assert row(source, 3).pinned
    Run.objects.filter(job=fork).update(last_step=0)
    Job.objects.filter(pk=fork.pk).update(last_step=0)
    checkpoint_unpin(acting_user=alice, checkpoint=row(source, 3))
    checkpoint_delete(acting_user=alice, checkpoint=row(source, 3))
    start = job_spec(Run.objects.get(job=fork)).lora.start
    assert start is not None
    assert start.path == ""
    Run.objects.filter(job=fork).update(last_step=-1)
    with pytest.raises(CannotStart, match="step 3 of refunds"):
        job_spec(Run.objects.get(job=fork))


def run_acquire_again(job: Job) -> Any:
    from django.db.models.functions import Now

    Run.objects.filter(job=job).update(lease_until=Now(), holder="")
    lease = run_acquire(Run.objects.get(job=job).pk, holder="test", host="here")
    assert lease is not None
    return lease


@pytest.mark.parametrize(
    ("changes", "field", "words"),
    [
        ({"hyperparameters": {"lora_rank": 8, "lora_alpha": 32}}, "lora_rank", "has 16"),
        ({"hyperparameters": {"lora_rank": 16, "lora_alpha": 8}}, "lora_alpha", "has 32"),
        ({"start_checkpoint": 2**40}, "start_checkpoint", "Choose a checkpoint"),
    ],
)
def test_a_fork_of_another_shape_is_refused_at_its_field(
    source: Job, alice: Any, organisation: Any, changes: Any, field: str, words: str
) -> None:
    with pytest.raises(JobRefused) as refused:
        forked(source, alice, organisation, **changes)
    assert [(name, words in text) for _, name, text in refused.value.problems] == [(field, True)]


def test_a_fork_on_another_base_model_is_refused(
    source: Job, alice: Any, organisation: Any, base_model: Any
) -> None:
    base_model.pk, base_model.name = None, "other"
    base_model.save()
    with pytest.raises(JobRefused, match="fits no other model"):
        forked(source, alice, organisation, base_model=base_model.pk)


def test_a_fork_of_a_damaged_checkpoint_is_refused_and_the_checkpoint_set_aside(
    source: Job, alice: Any, organisation: Any
) -> None:
    begun = row(source, 3)
    (run_folder(begun.run_id) / begun.path / "state.json").write_bytes(b"[]")
    with pytest.raises(JobRefused, match="state.json"):
        forked(source, alice, organisation)
    assert (row(source, 3).available, Job.objects.count()) == (False, 1)


def test_another_organisations_checkpoint_is_as_an_absent_one(
    source: Job, charlie: Any, alice: Any
) -> None:
    from hone.accounts.models import Organisation

    elsewhere = Organisation.objects.get(name="Elsewhere")
    with pytest.raises(JobRefused) as refused:
        forked(source, charlie, elsewhere)
    assert ("start_checkpoint_unknown", "start_checkpoint") in {
        (code, field) for code, field, _ in refused.value.problems
    }


def test_a_fork_runs_to_its_end_on_its_own_checkpoints(
    source: Job, alice: Any, organisation: Any, fake_engine: Any
) -> None:
    fork = forked(source, alice, organisation)
    assert supervise(Run.objects.get(job=fork).pk) == "ended"
    fork.refresh_from_db()
    assert (fork.status, fork.last_step) == ("succeeded", 2)


def test_a_resumed_engine_knows_the_hash_of_what_a_person_keeps(worked: Any, alice: Any) -> None:
    job, lease = worked
    checkpoint_pin(acting_user=alice, checkpoint=row(job, 2))
    kept = handshake_build(lease).kept_checkpoints
    assert [(point.step, point.manifest_sha256) for point in kept] == [
        (step, row(job, step).manifest_sha256) for step in (0, 2)
    ]


def test_a_fork_fetches_its_checkpoint_from_the_storage_where_it_is_not_here(
    elsewhere: Any, source: Job, alice: Any, organisation: Any
) -> None:
    begun = row(source, 3)
    folder = run_folder(begun.run_id) / begun.path
    for file in folder.iterdir():
        key = f"runs/{begun.run_id}/{begun.path}/{file.name}"
        elsewhere.save(key, ContentFile(file.read_bytes()))
    fork = forked(source, alice, organisation)
    shutil.rmtree(folder)
    start = job_spec(Run.objects.get(job=fork)).lora.start
    assert start is not None
    assert (Path(start.path) / "adapter_model.safetensors").read_bytes() == b"weights"
    assert not folder.exists()
