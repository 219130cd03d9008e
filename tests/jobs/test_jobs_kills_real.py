"""Real worker, sweeper and engine on the tiny base model, killed with `kill -9` at random moments.

`HONE_KILL_SEEDS` is how many seeds are tried; `.ci/run` tries 20.
"""

from __future__ import annotations

import os
import random
import sys
import time

import pytest

from graders.selectors import latest_version
from graders.services.authoring import grader_create
from hone.demo.base_model import WEIGHTS
from jobs.models import Checkpoint, Job, JobStep, Run, Trajectory, Usage
from jobs.selectors import adapter_zip, job_overview, trajectory_body
from jobs.selectors.leads import lead_of
from tests.jobs.processes import Program, Programs, kill_group, state

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.slow]

SEEDS = int(os.environ.get("HONE_KILL_SEEDS", "3"))
STEPS = 12
TRAINED, VALIDATED = 2 * 3, 4
"""Trajectories of a step: two tasks, three attempts each; and of each second step's evaluation."""
CLOSE = {
    "type": "text_similarity",
    "name": "close",
    "input": "{{sample.output_text}}",
    "reference": "{{item.answer}}",
    "evaluation_metric": "fuzzy_match",
}


@pytest.fixture
def real_job(make_job, fake_engine, monkeypatch, organisation, alice) -> Job:
    """A short job for the real engine, with short leases."""
    monkeypatch.setenv("HONE_ENGINE_COMMAND", f"{sys.executable} -m jobs.engine")
    monkeypatch.setenv("HONE_LEASE_S", "6")
    monkeypatch.setenv("HONE_RENEW_S", "0.5")
    monkeypatch.setenv("HONE_GRACE_S", "10")
    monkeypatch.setenv("HONE_SWEEP_S", "0.3")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    job = make_job(steps=STEPS)
    grader = grader_create(acting_user=alice, organisation=organisation, name="close", spec=CLOSE)
    job.grader_version = latest_version(grader)
    job.spec["train"]["split_rows"] = [0, 1, 2, 3, 4, 5]
    job.spec["validation"] = {**job.spec["validation"], "split_rows": [6, 7, 8, 9]}
    job.spec["budgets"] = {"max_turns": 1, "max_turn_tokens": 12, "max_total_tokens": 256}
    job.spec["engine"] |= {
        "group_size": 3,
        "max_refills": 0,
        "eval_interval": 2,
        "lora_rank": 4,
        "learning_rate": 1e-3,
        "deterministic": True,
    }
    job.save()
    job.base_model.folder = str(WEIGHTS)
    job.base_model.save()
    return job


class Nemesis:
    """Kills engine, worker or both; a worker is started again at once, as by an init system."""

    def __init__(self, programs: Programs, run: Run, seed: int) -> None:
        self._programs = programs
        self._run = run
        self._dice = random.Random(seed)
        self._worker: Program = programs.celery_worker()
        self._struck = 0

    def strike(self) -> None:
        """Wait for a random moment and kill: while the engine loads, makes a step or exports."""
        reached = self._dice.randint(-1, STEPS)
        self._programs.wait_for(lambda: self._is_at(reached), 120)
        time.sleep(self._dice.uniform(0, 1))
        victim = self._dice.choice(["engine", "worker", "both"])
        if victim != "engine":
            self._programs.kill(self._worker)
        self._struck = state(self._run).epoch
        if victim != "worker":
            kill_group(state(self._run).pgid)
        if victim != "engine":
            self._worker = self._programs.celery_worker()

    def _is_at(self, step: int) -> bool:
        """An engine that was not struck yet is at work after a step."""
        run = state(self._run)
        return run.epoch > self._struck and run.pgid is not None and run.last_step >= step


@pytest.mark.parametrize("seed", range(SEEDS))
def test_whatever_is_killed_the_job_ends_with_each_step_once(
    real_job: Job, programs: Programs, seed: int
) -> None:
    run = Run.objects.get(job=real_job)
    programs.sweeper()
    nemesis = Nemesis(programs, run, seed)
    # Twice at the same step is not yet too often.
    for _ in range(2):
        nemesis.strike()
    programs.wait_for(lambda: state(run).is_final, 180)
    real_job.refresh_from_db()
    assert real_job.status == "succeeded", f"{real_job.error_message}\n{real_job.error_log}"
    assert state(run).epoch >= 3, "a strike came too late"
    each_once(run)
    adapter_is_whole(real_job)
    programs.wait_for(lambda: programs.engines() == [], 10)


def each_once(run: Run) -> None:
    steps = list(range(STEPS + 1))
    made = list(JobStep.objects.filter(run=run).order_by("pk").values_list("step", "epoch"))
    assert [step for step, _ in made] == steps
    assert [epoch for _, epoch in made] == sorted(epoch for _, epoch in made)
    usage = Usage.objects.filter(run=run).order_by("step").values_list("step", "rollouts")
    expected = [(step, TRAINED * (step > 0) + VALIDATED * (step % 2 == 0)) for step in steps]
    assert list(usage) == expected
    rows = Trajectory.objects.filter(run=run)
    assert [(step, rows.filter(step=step).count()) for step in steps] == expected
    assert Checkpoint.objects.filter(run=run).count() == len(steps)
    for row in rows:
        assert trajectory_body(row).sampled_tokens == row.tokens


def adapter_is_whole(job: Job) -> None:
    assert job.adapter.proof_max_abs_logprob_diff < 1e-3
    assert b"".join(adapter_zip(job.adapter)).startswith(b"PK")
    assert job_overview(lead_of(job)).verdict.startswith("Validation reward")
