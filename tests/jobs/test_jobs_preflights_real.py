"""A preflight from the service to its advice, with the real engine, the demo's tools and its tiny
base model: three prepared cases are told apart."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from graders.services.authoring import grader_create
from hone.demo.processes import tool_server, wait_for_port
from hone.demo.workspace import Workspace, tools_allow, workspace_seed
from jobs.models import Job, Run, Trajectory
from jobs.selectors import trajectory_body
from jobs.services.control import job_resume
from jobs.services.preflights import preflight_create
from jobs.services.request import JobRequest
from jobs.supervisor.supervise import supervise
from jobs.workbench.preflight_advice import Verdict
from jobs.workbench.preflight_report import Report, preflight_report

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.slow]

ROOT = Path(__file__).parents[2]
HYPERPARAMETERS = {"batch_size": 8, "max_turn_tokens": 64, "steps": 60, "max_tool_calls": 10}


class _Patient(ThreadingHTTPServer):
    """Lets all rollouts connect at once: a connection that is turned away is another fault."""

    request_queue_size = 128


class _Broken(BaseHTTPRequestHandler):
    """A tool server that fails at every call."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(500)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        return


@pytest.fixture
def port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        number: int = probe.getsockname()[1]
        return number


@pytest.fixture
def workspace(
    settings: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, port: int
) -> Workspace:
    """The demo's, with tools at a port where nothing listens yet."""
    settings.MEDIA_ROOT = settings.DATA_DIR = tmp_path
    settings.OUTBOUND_ALLOW = ()
    monkeypatch.setenv("HONE_DEMO_PORT", str(port))
    monkeypatch.setenv("PYTHONPATH", f"{ROOT / 'platform'}:{ROOT}")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("HONE_ENGINE_COMMAND", f"{sys.executable} -m jobs.engine")
    tools_allow()
    return workspace_seed()


@contextmanager
def serving(port: int) -> Iterator[None]:
    """The demo's tools at this port."""
    server = subprocess.Popen(tool_server(port).command, env=dict(os.environ))
    try:
        assert wait_for_port(port, seconds=20, alive=server)
        yield
    finally:
        server.kill()
        server.wait()


@pytest.fixture
def tools(workspace: Workspace, port: int) -> Iterator[None]:
    with serving(port):
        yield


def preflight(workspace: Workspace, *, tasks: int = 16, **choices: Any) -> Job:
    """Run one, and hand back its job."""
    asked = {
        "base_model": workspace.base_model.pk,
        "train_version": workspace.training.pk,
        "validation_version": workspace.validation.pk,
        "tool_versions": tuple(tool.pk for tool in workspace.tools),
        "grader_version": workspace.grader.pk,
        "hyperparameters": HYPERPARAMETERS,
    }
    job = preflight_create(
        acting_user=workspace.user,
        organisation=workspace.organisation,
        request=JobRequest(**(asked | choices)),
        tasks=tasks,
    )
    assert supervise(Run.objects.get(job=job).pk) == "ended"
    job.refresh_from_db()
    return job


def found_by(job: Job) -> tuple[Report, Verdict]:
    report = preflight_report(job)
    assert report.verdict is not None
    return report, report.verdict


@pytest.mark.usefixtures("tools")
def test_the_ledger_desk_is_ready_to_be_learnt(workspace: Workspace) -> None:
    job = preflight(workspace)
    assert (job.status, job.error_message) == ("succeeded", "")
    report, verdict = found_by(job)
    found = report.figures
    assert (found.attempts, len(found.tasks), found.tool_faults.count) == (128, 16, 0)
    assert verdict.kind == "ready"
    assert found.signal.low >= 0.4
    assert report.estimate is not None
    assert report.estimate.seconds.low < report.estimate.seconds.middle
    assert report.speed.learner_seconds is not None
    assert report.tuning is not None
    assert report.tuning.passes == found.passes.count > 0
    rows = Trajectory.objects.filter(run__job=job)
    assert not rows.exclude(advantage=None).exists()
    assert not rows.filter(trained=True).exists()
    assert {flag for row in rows for flag in row.flags} <= {"looped", "malformed_call"}
    body = trajectory_body(rows[0])
    assert (body.split, body.trained, body.attribution) == ("preflight", False, [])


@pytest.mark.usefixtures("tools")
def test_a_grader_that_nothing_passes_leaves_no_signal(workspace: Workspace) -> None:
    nothing = {
        "type": "string_check",
        "name": "nothing",
        "operation": "eq",
        "input": "{{sample.output_text}}",
        "reference": "only this text, which nobody says: {{item.answer}}",
    }
    grader = grader_create(
        acting_user=workspace.user,
        organisation=workspace.organisation,
        name="nothing",
        spec=nothing,
    )
    job = preflight(workspace, tasks=8, grader_version=grader.versions.get().pk)
    _, verdict = found_by(job)
    assert (job.status, verdict.kind) == ("succeeded", "no_signal")
    assert verdict.evidence == "All 64 graded attempts at 8 tasks have the reward 0.000."


def test_a_tool_that_does_not_answer_is_named_and_tried_again_once_it_does(
    workspace: Workspace, port: int
) -> None:
    job = preflight(workspace, tasks=8)
    _, verdict = found_by(job)
    assert (job.status, verdict.kind) == ("paused", "fix_tool")
    assert "No connection could be made" in verdict.evidence
    with serving(port):
        job_resume(acting_user=workspace.user, job=job)
        assert supervise(Run.objects.get(job=job).pk) == "ended"
    job.refresh_from_db()
    report, verdict = found_by(job)
    assert (job.status, report.figures.attempts, report.figures.tool_faults.count) == (
        "succeeded",
        64,
        0,
    )
    assert verdict.kind != "fix_tool"


def test_a_tool_that_always_fails_is_named(workspace: Workspace, port: int) -> None:
    server = _Patient(("127.0.0.1", port), _Broken)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        job = preflight(workspace, tasks=8)
    finally:
        server.shutdown()
        server.server_close()
    _, verdict = found_by(job)
    assert (job.status, verdict.kind) == ("paused", "fix_tool")
    assert "HTTP 500" in verdict.evidence
