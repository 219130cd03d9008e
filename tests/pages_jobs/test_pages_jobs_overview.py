"""The job page and the list."""

from __future__ import annotations

import json

import story
from django.db import connection
from django.db.models import F
from django.test import Client
from django.test.utils import CaptureQueriesContext

from jobs.models import Adapter, Job, JobStep, Trajectory
from jobs.selectors.browse import attention_of, has_no_signal
from jobs.services.control import job_pause
from jobs.services.lease import Lease
from jobs.services.rollup import rollup_steps

PAGES = (
    "",
    "trajectories/",
    "credit/",
    "graders/",
    "loops/",
    "checkpoints/",
    "events/",
    "spec/",
)


def test_every_tab_opens(owner: Client, running: Job) -> None:
    for tab in PAGES:
        assert owner.get(f"/jobs/{running.pk}/{tab}").status_code == 200
    assert owner.get("/jobs/").status_code == 200
    assert owner.get("/models/").status_code == 200
    assert owner.get("/jobs/new/").status_code == 200
    one = Trajectory.objects.filter(run__job=running).first()
    assert one is not None
    address = f"/jobs/{running.pk}/trajectories/{one.pk}/"
    assert owner.get(address).status_code == 200
    assert owner.get(f"{address}grade/").status_code == 200
    assert json.loads(owner.get(f"{address}raw.json").content)["uid"] == one.uid


def _silence(job: Job) -> None:
    """As if another worker had made the steps again: a committed one never changes."""
    job.runs.update(epoch=F("epoch") + 1)
    for step in JobStep.objects.filter(run__job=job, step__gt=0):
        step.metrics["groups"]["with_signal"] = 0
        step.save(update_fields=["metrics"])
    rollup_steps(job.runs.get())


def test_a_job_that_learned_nothing_says_so_in_the_list(owner: Client, running: Job) -> None:
    assert "no learning signal" not in owner.get("/jobs/").content.decode()
    _silence(running)
    assert '<td class="clip">no learning signal</td>' in owner.get("/jobs/").content.decode()


def test_an_adapter_that_was_never_updated_says_so_beside_its_button(
    owner: Client, running: Job
) -> None:
    run = running.runs.get()
    Adapter.objects.create(
        job=running, run_id=run.pk, step=4, path="adapter", sha256="41ce" * 16, bytes=10,
        proof_tokens=64, proof_max_abs_logprob_diff=0.0,
    )  # fmt: skip
    words = "this adapter answers as the base model does"
    for tab in ("", "checkpoints/"):
        assert words not in owner.get(f"/jobs/{running.pk}/{tab}").content.decode()
    _silence(running)
    for tab in ("", "checkpoints/"):
        page = owner.get(f"/jobs/{running.pk}/{tab}").content.decode()
        assert words in page
        assert "log-probability is 0." in page or "log-probability| 0 over" in page


def test_a_job_that_stopped_before_step_0_says_so(owner: Client, job: Job) -> None:
    job_pause(acting_user=job.created_by, job=job)
    page = owner.get(f"/jobs/{job.pk}/").content.decode()
    assert "Paused before step 0 was done." in page
    assert "· step – of 12" in page
    assert "step 0 of 12" not in page


def test_an_estimate_of_nothing_is_not_shown(owner: Client, running: Job) -> None:
    assert " left (" in owner.get(f"/jobs/{running.pk}/").content.decode()
    Job.objects.filter(pk=running.pk).update(last_step=12)
    assert " left (" not in owner.get(f"/jobs/{running.pk}/").content.decode()


def test_a_long_job_is_silent_until_one_step_of_it_learned(running: Job) -> None:
    """Read from the buckets: not one of its many steps is looked at."""
    run = running.runs.get()
    JobStep.objects.filter(run=run).delete()
    silent = {"groups": {"total": 4, "with_signal": 0}}
    JobStep.objects.bulk_create(
        JobStep(run=run, step=step, epoch=1, metrics=silent) for step in range(1, 4200)
    )
    rollup_steps(run)
    assert has_no_signal(running)
    with CaptureQueriesContext(connection) as captured:
        assert attention_of([running]) == {running.pk: "no learning signal"}
    assert "jobs_jobstep" not in captured[0]["sql"]
    JobStep.objects.filter(run=run, step=7).update(
        metrics={"groups": {"total": 4, "with_signal": 1}}
    )
    rollup_steps(run)
    assert not has_no_signal(running)
    assert attention_of([running]) == {}


def test_a_job_that_has_not_trained_yet_is_not_called_silent(job: Job, lease: Lease) -> None:
    story.steps_commit(job, lease, 0, 0)
    assert not has_no_signal(job)


def test_a_fork_is_compared_with_its_start_and_not_with_the_base_model(
    owner: Client, running: Job
) -> None:
    assert "+0.27 from base" in owner.get(f"/jobs/{running.pk}/").content.decode()
    assert "start</span> 0.000" not in owner.get("/jobs/").content.decode()
    running.spec["start"] = {
        "job": "ftjob-1", "name": "refunds-v2", "step": 8, "manifest_sha256": "41ce" * 16,
        "validation_reward": 0.5,
    }  # fmt: skip
    Job.objects.filter(pk=running.pk).update(spec=running.spec)
    page = owner.get(f"/jobs/{running.pk}/").content.decode()
    assert "Validation reward 0.267 at step 4, start 0.000" in page
    assert "+0.27 from start" in page
    assert "from base" not in page
    assert "start</span> 0.000 → 0.267" in owner.get("/jobs/").content.decode()
    loops = owner.get(f"/jobs/{running.pk}/loops/").content.decode()
    assert "at step 4; the start&#x27;s was" in loops
