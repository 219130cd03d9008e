"""The Checkpoints tab, and the form of a fork, a rebased job and their provenance."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import story
from django.test import Client

from hone.accounts.models import AuditEntry, Organisation, User
from jobs.models import Adapter, Checkpoint, Job, Usage, run_folder
from jobs.services.ending import run_fail
from jobs.services.lease import Lease


def row(job: Job, step: int) -> Checkpoint:
    return Checkpoint.objects.get(run__job=job, step=step)


def text_of(page: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", "", page))


def page_of(client: Client, job: Job) -> str:
    return client.get(f"/jobs/{job.pk}/checkpoints/").content.decode()


def act(client: Client, job: Job, step: int, verb: str) -> str:
    address = f"/jobs/{job.pk}/checkpoints/{step}/{verb}/"
    return client.post(address, follow=True).content.decode()


def test_each_reward_has_its_interval_over_tasks_and_the_equal_ones_are_named(
    owner: Client, running: Job
) -> None:
    page = text_of(page_of(owner, running))
    assert re.search(r"4 0\.\d{3} \(0\.\d{3}–0\.\d{3}, 4 tasks\) best best 1 of 2", page)
    assert "Steps 0 and 4 cannot be told apart on 4 tasks." in page


def test_two_steps_that_every_task_tells_apart_are_not_called_equal(
    owner: Client, running: Job
) -> None:
    from jobs.models import Trajectory

    made = Trajectory.objects.filter(run__job=running, split="validation").exclude(reward=None)
    made.filter(step=0).update(reward=0.0)
    made.filter(step=4).update(reward=1.0)
    assert "cannot be told apart" not in page_of(owner, running)


def test_a_checkpoint_is_kept_and_let_go_from_its_row(owner: Client, running: Job) -> None:
    page = act(owner, running, 3, "keep")
    assert "The checkpoint of step 3 stays." in page
    assert "kept by a person" in page
    assert row(running, 3).pinned
    assert "is kept by nobody now" in act(owner, running, 3, "let-go")
    assert not row(running, 3).pinned
    assert list(
        AuditEntry.objects.filter(action__startswith="checkpoint.")
        .order_by("pk")
        .values_list("action", flat=True)
    ) == ["checkpoint.keep", "checkpoint.let_go"]


def test_what_the_job_needs_has_no_delete_and_is_refused(owner: Client, running: Job) -> None:
    page = page_of(owner, running)
    assert "/checkpoints/4/delete/" not in page
    assert "The job would resume from it." in page
    assert "/checkpoints/0/delete/" in page
    assert "cannot be deleted. The job would resume from it." in act(owner, running, 4, "delete")
    assert row(running, 4).available


def test_a_deleted_one_leaves_the_list(owner: Client, running: Job, lease: Lease) -> None:
    run_fail(lease, code="out_of_memory", text="It was too large.")
    assert "The checkpoint of step 0 was deleted." in act(owner, running, 0, "delete")
    assert 'id="step-0"' not in page_of(owner, running)


def test_one_without_its_files_is_set_aside_struck_through_and_not_offered(
    owner: Client, running: Job
) -> None:
    page = act(owner, running, 0, "verify")
    assert "are gone from the file storage" in page
    assert "<s>0</s>" in page
    assert f"?from={running.pk}&amp;checkpoint=0" not in page
    assert "/checkpoints/0/download/" not in page


def test_a_viewer_sees_the_table_without_a_button_and_may_do_nothing(
    viewer: Client, stranger: Client, running: Job
) -> None:
    page = page_of(viewer, running)
    assert "best 1 of 2" in page
    for word in ("Keep</button>", "Verify</button>", "Delete…", "Fork a job"):
        assert word not in page
    for verb in ("keep", "let-go", "verify", "delete"):
        address = f"/jobs/{running.pk}/checkpoints/4/{verb}/"
        assert viewer.post(address).status_code == 403
        assert stranger.post(address).status_code == 404
        assert viewer.get(address).status_code != 200


@pytest.mark.parametrize(
    ("measured", "words"),
    [
        (0.42, "differs: largest |Δ log-probability| 4.2e-01"),
        (0.0, "it answers as the base model does"),
        (None, "not measured"),
    ],
)
def test_the_proof_also_says_whether_the_adapter_differs_from_the_base_model(
    owner: Client, running: Job, lease: Lease, measured: float | None, words: str
) -> None:
    folder = run_folder(lease.run_id) / "adapter"
    folder.mkdir(parents=True)
    Adapter.objects.create(
        job=running,
        run_id=lease.run_id,
        step=4,
        path="adapter",
        sha256="0" * 64,
        bytes=5,
        proof_max_abs_logprob_diff=3.1e-6,
        proof_tokens=9,
        base_max_abs_logprob_diff=measured,
    )
    page = page_of(owner, running)
    assert words in page
    assert f'href="/jobs/{running.pk}/proof.json"' in page
    refused = owner.get(f"/jobs/{running.pk}/proof.json", follow=True).content.decode()
    assert "The adapter has no manifest" in refused


@pytest.fixture
def source(running: Job) -> Job:
    """The job with a spec that says what shape its adapter has."""
    engine = {"lora_rank": 12, "lora_alpha": 24}
    running.spec = {**running.spec, "engine": engine}
    running.save(update_fields=["spec"])
    return running


def test_a_fork_is_filled_in_from_its_checkpoint(owner: Client, source: Job) -> None:
    page = owner.get(f"/jobs/new/?from={source.pk}&checkpoint=4").content.decode()
    assert "<h1>Fork of refunds-v3, step 4</h1>" in page
    assert 'value="refunds-v3 (fork)"' in page
    assert 'name="lora_rank" value="12"' in page
    assert 'name="lora_alpha" value="24"' in page
    assert f'name="start_checkpoint" value="{row(source, 4).pk}"' in page
    assert "The optimiser begins anew" in page


def test_a_refused_fork_stays_a_fork(owner: Client, source: Job) -> None:
    address = f"/jobs/new/?from={source.pk}&checkpoint=4"
    form = {"start_checkpoint": row(source, 4).pk, "name": "mine", "start": "1"}
    answer = owner.post(address, form)
    page = answer.content.decode()
    assert answer.status_code == 422
    assert "<h1>Fork of refunds-v3, step 4</h1>" in page
    assert f'name="start_checkpoint" value="{row(source, 4).pk}"' in page
    assert 'value="mine"' in page


def test_another_shape_is_a_problem_at_its_field(owner: Client, source: Job) -> None:
    form = {"start_checkpoint": row(source, 4).pk, "base_model": source.base_model_id}
    page = owner.post("/jobs/new/check/", {**form, "lora_rank": "8"}).content.decode()
    assert '<a href="#id_lora_rank">lora_rank is 8; the checkpoint of step 4' in page


@pytest.mark.parametrize("step", ["99", "x", "4" * 30])
def test_a_step_without_a_checkpoint_is_not_found_or_not_a_fork(
    owner: Client, source: Job, step: str
) -> None:
    answer = owner.get(f"/jobs/new/?from={source.pk}&checkpoint={step}")
    assert (answer.status_code, b"Fork of" in answer.content) in {(404, False), (200, False)}


def test_a_stranger_s_checkpoint_is_as_none(stranger: Client, charlie: User, source: Job) -> None:
    given = {"start_checkpoint": row(source, 4).pk}
    page = stranger.post("/jobs/new/check/", given).content.decode()
    assert "there is none with the id that was sent" in page
    assert "refunds-v3" not in stranger.post("/jobs/new/", given).content.decode()


def test_a_rebased_job_asks_for_its_base_model_and_says_why_nothing_is_carried_over(
    owner: Client, source: Job
) -> None:
    page = owner.get(f"/jobs/new/?from={source.pk}&rebase=1").content.decode()
    assert "<h1>refunds-v3 on another base model</h1>" in page
    assert "The adapter is not carried over" in page
    assert f'<option value="{source.base_model_id}" selected' not in page
    assert 'name="steps" value="12"' in page
    assert 'name="start_checkpoint" value=' not in page


def test_a_fork_shows_where_it_comes_from_and_its_source_counts_it(
    owner: Client, source: Job, alice: User, organisation: Organisation, files: Path
) -> None:
    fork = story.job_make(
        alice, organisation, files / "model", name="fork",
        version=source.train_version, grader=source.grader_version,
    )  # fmt: skip
    start: dict[str, Any] = {
        "job": source.pk, "name": f"refunds {story.HOSTILE}", "step": 4,
        "manifest_sha256": "41ce" * 16, "validation_reward": 0.5,
    }  # fmt: skip
    fork.spec = {**fork.spec, "start": start}
    fork.start_checkpoint = row(source, 4)
    fork.save(update_fields=["spec", "start_checkpoint"])
    shown = page_of(owner, fork)
    assert "Forked from step 4 of" in shown
    assert '<script>alert("x")' not in shown
    assert "⟦U+202E⟧" in shown
    assert "1 fork" in page_of(owner, source)
    assert "is to begin with it, and has not begun" not in page_of(owner, source)


def test_the_estimate_is_by_the_pace_of_the_newest_job_on_the_model(
    owner: Client, source: Job
) -> None:
    Usage.objects.filter(run__job=source).update(seconds=16.0, rollouts=16)
    form = {
        "base_model": source.base_model_id, "train_version": source.train_version_id,
        "validation_version": source.train_version_id, "steps": "10", "batch_size": "2",
        "group_size": "4", "eval_interval": "5", "eval_samples": "1",
    }  # fmt: skip
    page = text_of(owner.post("/jobs/new/check/", form).content.decode())
    # 10 × 2 × 4 of training, and 20 rows at steps 0, 5 and 10.
    assert "10 steps, 140 attempts, about 2 min 20 s (2 min 20 s to" in page
    assert "By the pace of refunds-v3" in page
