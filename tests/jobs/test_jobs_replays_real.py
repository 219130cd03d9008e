"""A measurement from the service to the row, with the real engine, tools and base model of the
demo: it finds again what the training found."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hone.demo.processes import tool_server, wait_for_port
from hone.demo.workspace import tools_allow, workspace_seed
from jobs.models import Job, JobStep, Replay, Run, Trajectory
from jobs.selectors import trajectory_body
from jobs.services.create import job_create
from jobs.services.replays import replay_create
from jobs.services.request import JobRequest
from jobs.supervisor.supervise import supervise
from tests.jobs.test_jobs_replays import everything

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.slow]

ROOT = Path(__file__).parents[2]
CONTINUATIONS = 3
HYPERPARAMETERS = {
    "steps": 2,
    "batch_size": 2,
    "group_size": 4,
    "max_refills": 0,
    "eval_interval": 2,
    "eval_samples": 1,
    "learning_rate": 5e-3,
    "max_turns": 6,
    "max_turn_tokens": 64,
    "counterfactual_calls": 1,
    "counterfactual_continuations": CONTINUATIONS,
}


@pytest.fixture
def trained(settings: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Job]:
    """Two steps, in each of which one call was measured and not trained on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    settings.MEDIA_ROOT = settings.DATA_DIR = tmp_path
    settings.OUTBOUND_ALLOW = ()
    monkeypatch.setenv("HONE_DEMO_PORT", str(port))
    monkeypatch.setenv("PYTHONPATH", f"{ROOT / 'platform'}:{ROOT}")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("HONE_ENGINE_COMMAND", f"{sys.executable} -m jobs.engine")
    server = subprocess.Popen(tool_server(port).command, env=dict(os.environ))
    try:
        assert wait_for_port(port, seconds=20, alive=server)
        tools_allow()
        workspace = workspace_seed()
        job = job_create(
            acting_user=workspace.user,
            organisation=workspace.organisation,
            request=JobRequest(
                base_model=workspace.base_model.pk,
                train_version=workspace.training.pk,
                validation_share=0.03,
                tool_versions=tuple(tool.pk for tool in workspace.tools),
                grader_version=workspace.grader.pk,
                hyperparameters=HYPERPARAMETERS,
                deterministic=True,
            ),
        )
        assert supervise(Run.objects.get(job=job).pk) == "ended"
        job.refresh_from_db()
        assert job.status == "succeeded", job.error_message
        yield job
    finally:
        server.kill()
        server.wait()


def test_it_finds_what_training_found_and_changes_nothing(trained: Job) -> None:
    rows = Trajectory.objects.filter(run__job=trained, step=2, split="train")
    row, turn = next(
        (row, turn) for row in rows for turn in trajectory_body(row).turns if turn.measured
    )
    before = everything(trained)
    replay = replay_create(
        acting_user=trained.created_by,
        trajectory=row,
        turn=turn.index,
        continuations=CONTINUATIONS,
    )
    assert supervise(replay.pk) == "ended"
    found = Replay.objects.get(pk=replay.pk)
    measured = turn.measured
    assert measured is not None
    assert (found.run.status, found.weights_step, found.reason) == ("succeeded", 1, "")
    assert (found.delta, (found.low, found.high)) == (measured.delta, measured.interval)
    assert (found.n, found.unusable) == (measured.n, measured.unusable)
    told = JobStep.objects.get(run__job=trained, step=2).metrics["credit"]
    assert found.cost["sampled_tokens"] == told["continuations_sampled_tokens"]
    assert everything(trained) == before
