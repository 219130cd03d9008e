"""The real engine on a tiny model under the real supervisor, killed at random moments."""

from __future__ import annotations

import hashlib
import random
import sys
import time

import pytest

from graders.selectors import latest_version
from graders.services.authoring import grader_create
from jobs.models import Job, JobStep, Run, Trajectory
from jobs.selectors import adapter_zip, job_overview, trajectory_body
from tests.engine.conftest import tiny_model_dir  # noqa: F401
from tests.jobs.test_jobs_kills import Start, kill_group, start, state, wait_for  # noqa: F401

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.slow]

STEPS = 20
CLOSE = {
    "type": "text_similarity",
    "name": "close",
    "input": "{{sample.output_text}}",
    "reference": "{{item.answer}}",
    "evaluation_metric": "fuzzy_match",
}


@pytest.fixture
def real_job(make_job, fake_engine, monkeypatch, tiny_model_dir, organisation, alice) -> Job:  # noqa: F811
    """A short job for the real engine, in deterministic mode."""
    monkeypatch.setenv("HONE_ENGINE_COMMAND", f"{sys.executable} -m jobs.engine")
    monkeypatch.setenv("HONE_LEASE_S", "3")
    monkeypatch.setenv("HONE_GRACE_S", "10")
    job = make_job(steps=STEPS)
    grader = grader_create(acting_user=alice, organisation=organisation, name="close", spec=CLOSE)
    job.grader_version = latest_version(grader)
    job.spec["train"]["split_rows"] = [0, 1, 2, 3, 4, 5]
    job.spec["validation"] = {**job.spec["validation"], "split_rows": [6, 7, 8, 9]}
    job.spec["budgets"] = {"max_turns": 1, "max_turn_tokens": 16, "max_total_tokens": 512}
    job.spec["engine"] |= {
        "group_size": 3,
        "eval_interval": 2,
        "lora_rank": 4,
        "learning_rate": 1e-2,
        "deterministic": True,
    }
    job.save()
    job.base_model.folder = str(tiny_model_dir)
    job.base_model.save()
    return job


def is_at(run: Run, step: int) -> bool:
    now = state(run)
    return now.is_final or (now.last_step >= step and now.pgid is not None)


@pytest.mark.parametrize("seed", [1, 2])
def test_a_killed_real_job_ends_with_each_step_once_and_its_adapter(
    real_job: Job,
    start: Start,  # noqa: F811
    tmp_path,
    seed: int,
) -> None:
    run, log, dice = Run.objects.get(job=real_job), tmp_path / "processes.log", random.Random(seed)
    worker = start("-m", "tests.jobs.plain_worker", run.pk)
    for victim in dice.sample(["engine", "worker"], 2):
        reached = dice.randint(0, STEPS // 2)
        wait_for(lambda at=reached: is_at(run, at), 120, log)
        time.sleep(dice.uniform(0, 0.5))
        if victim == "engine":
            kill_group(state(run).pgid)
        else:
            kill_group(worker.pid)
            worker.wait()
            worker = start("-m", "tests.jobs.plain_worker", run.pk)
    wait_for(lambda: state(run).is_final, 180, log)
    real_job.refresh_from_db()
    assert real_job.status == "succeeded", real_job.error_message
    steps = JobStep.objects.filter(run=run).order_by("pk").values_list("step", flat=True)
    assert list(steps) == list(range(STEPS + 1))
    row = Trajectory.objects.filter(run=run, step=1).first()
    assert row is not None
    assert trajectory_body(row).sampled_tokens == row.tokens
    assert real_job.adapter.proof_max_abs_logprob_diff < 1e-3
    assert len(hashlib.sha256(b"".join(adapter_zip(real_job.adapter))).hexdigest()) == 64
    assert job_overview(real_job).verdict.startswith("Validation reward")
