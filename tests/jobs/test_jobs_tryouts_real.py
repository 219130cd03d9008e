"""Tries by real Celery workers: with the real engine, the demo's tools and its tiny base model; and
killed between the sides."""

from __future__ import annotations

import socket
import sys
from pathlib import Path
from typing import Any

import pytest

from graders.services.authoring import grader_create
from hone.accounts.models import Organisation, User
from hone.demo.processes import tool_server
from hone.demo.workspace import tools_allow, workspace_seed
from jobs.models import BaseModel, Job, Run, Trajectory, Tryout, Usage
from jobs.selectors import trajectory_body
from jobs.services.tryouts import TryoutRequest, tryout_create
from jobs.supervisor.process import process_start
from tests.jobs.conftest import EXACT, Fake, make_dataset
from tests.jobs.processes import Programs, state

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.slow]


@pytest.fixture
def port(monkeypatch: pytest.MonkeyPatch, settings: Any, tmp_path: Path) -> int:
    """Where the demo's tools will be, which workers may call."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        number: int = probe.getsockname()[1]
    settings.DATA_DIR = tmp_path
    settings.MEDIA_ROOT = tmp_path / "files"
    settings.OUTBOUND_ALLOW = ()
    monkeypatch.setenv("HONE_DEMO_PORT", str(number))
    monkeypatch.setenv("HONE_OUTBOUND_ALLOW", f"127.0.0.1:{number}")
    monkeypatch.setenv("HONE_ENGINE_COMMAND", f"{sys.executable} -m jobs.engine")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    tools_allow()
    return number


def test_a_model_beside_itself_uses_real_tools_and_says_the_same_twice(
    port: int, programs: Programs
) -> None:
    workspace = workspace_seed()
    programs.start(*tool_server(port).command[1:])
    request = TryoutRequest(
        a=f"base:{workspace.base_model.pk}",
        b=f"base:{workspace.base_model.pk}",
        version=workspace.training.pk,
        row=3,
        tools=[tool.pk for tool in workspace.tools],
        grader=workspace.grader.pk,
        max_turn_tokens=64,
    )
    job = tryout_create(
        acting_user=workspace.user, organisation=workspace.organisation, request=request
    )
    run = Run.objects.get(job=job)
    programs.sweeper()
    programs.celery_worker()
    programs.wait_for(lambda: state(run).is_final, 240)
    job.refresh_from_db()
    assert job.status == "succeeded", f"{job.error_message}\n{job.error_log}"
    a, b = Trajectory.objects.filter(run=run).order_by("step")
    first, second = trajectory_body(a), trajectory_body(b)
    assert first.calls
    assert {call.status for call in first.calls} <= {"ok", "tool_error", "malformed"}
    assert (first.ids, first.reward) == (second.ids, second.reward)
    assert first.trace_id != second.trace_id
    assert a.reward is not None
    assert Tryout.objects.get(job=job).heard >= 4
    assert [row.rollouts for row in Usage.objects.filter(run=run)] == [1, 1]


def test_a_worker_that_is_killed_costs_the_side_in_hand_alone(
    organisation: Organisation,
    alice: User,
    base_model: BaseModel,
    fake_engine: Fake,
    programs: Programs,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HONE_SWEEP_S", "0.3")
    fake_engine(step_s=3)
    grader = grader_create(acting_user=alice, organisation=organisation, name="exact", spec=EXACT)
    model = f"base:{base_model.pk}"
    request = TryoutRequest(
        a=model,
        b=model,
        version=make_dataset(organisation, alice).pk,
        grader=grader.versions.get().pk,
    )
    job = tryout_create(acting_user=alice, organisation=organisation, request=request)
    run = Run.objects.get(job=job)
    programs.sweeper()
    worker = programs.celery_worker()
    programs.wait_for(lambda: state(run).last_step == 0, 60)
    (kept,) = Trajectory.objects.filter(run=run)
    engine = state(run).pgid
    programs.kill(worker)
    programs.wait_for(lambda: process_start(engine or 0) == "", 10)
    programs.celery_worker()
    programs.wait_for(lambda: state(run).is_final, 60)
    rows = list(Trajectory.objects.filter(run=run).order_by("step"))
    assert [(row.uid, row.reward) for row in rows] == [("side-A", 0.0), ("side-B", 1.0)]
    assert (rows[0].pk, state(run).epoch) == (kept.pk, 2)
    assert Job.objects.get(pk=job.pk).status == "succeeded"
