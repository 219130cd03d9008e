"""The job page and the list."""

from __future__ import annotations

import json

from django.test import Client

from jobs.models import Adapter, Job, JobStep, Trajectory
from jobs.services.control import job_pause

PAGES = ("", "trajectories/", "checkpoints/", "events/", "spec/")


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
    for step in JobStep.objects.filter(run__job=job, step__gt=0):
        step.metrics["groups"]["with_signal"] = 0
        step.save(update_fields=["metrics"])


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
    assert " left\n" in owner.get(f"/jobs/{running.pk}/").content.decode()
    Job.objects.filter(pk=running.pk).update(last_step=12)
    assert " left\n" not in owner.get(f"/jobs/{running.pk}/").content.decode()
