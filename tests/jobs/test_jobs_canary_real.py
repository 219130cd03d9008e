"""A secret in a tool's header appears nowhere, even where tools send back what they were sent.

A real engine trains with tools that echo their headers in answers, errors and failures; an MCP
server does the same in its list and its answers. Then everything is searched.
"""

from __future__ import annotations

import json
import logging
import os
import secrets
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver, reverse

from hone.core.net.recorded import unpacked
from hone.demo.workspace import Workspace, workspace_seed
from hone.tools.models import McpServer, Recording, Tool
from hone.tools.selectors import latest_version
from hone.tools.services import (
    ToolFields,
    mcp_server_ask,
    mcp_server_create,
    mcp_tools_import,
    secret_rotate,
    tool_call,
    tool_check_ask,
    tool_check_run,
    tool_version_add,
)
from hone.tools.services import checks as checks_module
from jobs.models import Job, JobEvent, Run, Trajectory
from jobs.selectors import trajectory_body
from jobs.services.create import job_create
from jobs.services.recordings import recording_from_job
from jobs.services.request import JobRequest
from jobs.supervisor.supervise import supervise
from tests.mcp_server import running

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.slow]

ROOT = Path(__file__).parents[2]
MARK = secrets.token_hex(8)
"""In every secret of this run, and in no process of anybody else."""
CANARY = f"canary-{MARK}/0c"
OLD = f"canary-old-{MARK}"
HEADERS = {"Authorization": f"Bearer {CANARY}", "X-Key": CANARY}
TOOL_TASK = {
    "steps": 1,
    "batch_size": 2,
    "group_size": 4,
    "max_refills": 0,
    "eval_interval": 1,
    "eval_samples": 1,
    "max_turns": 4,
    "max_turn_tokens": 64,
}


class Echo(BaseHTTPRequestHandler):
    """Sends its headers back: in an answer, in an error of the caller, in a failure of its own."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        server: Any = self.server
        with server.lock:
            server.count += 1
            status = (200, 404, 200, 200, 404, 200, 200, 503)[server.count % 8]
            if CANARY in (self.headers.get("X-Key") or ""):
                server.keyed += 1
        told = dict(self.headers.items())
        body = json.dumps({"output": json.dumps(told), "headers": told}).encode()
        self.send_response(status, CANARY)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("X-Echo", self.headers.get("X-Key") or "")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet: what the tool itself writes is not the platform's."""


@pytest.fixture
def echo() -> Iterator[Any]:
    server: Any = ThreadingHTTPServer(("127.0.0.1", 0), Echo)
    server.count, server.keyed, server.lock = 0, 0, threading.Lock()
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


class Watch:
    """Looks at the command line and environment of every process, again and again."""

    def __init__(self) -> None:
        self.hits: list[str] = []
        self.engines = 0
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._look)

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *raised: object) -> None:
        self._end.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._end.wait(0.1):
            for process in Path("/proc").iterdir():
                if process.name.isdigit():
                    self._look_at(process)

    def _look_at(self, process: Path) -> None:
        for name in ("cmdline", "environ"):
            try:
                told = (process / name).read_bytes()
            except OSError:
                continue
            self.engines += name == "cmdline" and b"jobs.engine" in told
            if MARK.encode() in told:
                self.hits.append(f"{process}/{name}")


@pytest.fixture
def workspace(
    settings: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, echo: Any
) -> Workspace:
    settings.MEDIA_ROOT = settings.DATA_DIR = tmp_path
    settings.OUTBOUND_ALLOW = (f"127.0.0.1:{echo.server_port}",)
    monkeypatch.setenv("PYTHONPATH", f"{ROOT / 'platform'}:{ROOT}")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("HONE_ENGINE_COMMAND", f"{sys.executable} -m jobs.engine")
    monkeypatch.setattr(checks_module, "ring", lambda task, argument: None)
    made = workspace_seed()
    for tool in Tool.objects.all():
        fields = ToolFields(
            url=f"http://127.0.0.1:{echo.server_port}/",
            description=latest_version(tool).description,
            parameters=latest_version(tool).parameters,
            headers={"Authorization": f"Bearer {OLD}", "X-Key": CANARY},
            rate_limit=1000.0,
        )
        tool_version_add(acting_user=made.user, tool=tool, fields=fields)
        secret_rotate(
            acting_user=made.user, owner=tool, name="Authorization", value=HEADERS["Authorization"]
        )
    return made


def trained(workspace: Workspace) -> Job:
    job = job_create(
        acting_user=workspace.user,
        organisation=workspace.organisation,
        request=JobRequest(
            base_model=workspace.base_model.pk,
            train_version=workspace.training.pk,
            validation_share=0.03,
            tool_versions=tuple(latest_version(tool).pk for tool in Tool.objects.all()),
            grader_version=workspace.grader.pk,
            hyperparameters=TOOL_TASK,
        ),
    )
    supervise(Run.objects.get(job=job).pk)
    job.refresh_from_db()
    return job


def tried(workspace: Workspace) -> None:
    """Calls and tests from the pages, with each kind of echo."""
    version = latest_version(Tool.objects.order_by("name")[0])
    for _ in range(8):
        tool_call(
            acting_user=workspace.user, version=version, arguments="{}", item={}, record_as="echoes"
        )
    check = tool_check_ask(acting_user=workspace.user, tool=version.tool)
    assert tool_check_run(check.pk) is not None


def asked_mcp(workspace: Workspace, settings: Any) -> None:
    with running() as server:
        settings.OUTBOUND_ALLOW += (server.place,)

        def leak() -> str:
            raise ValueError(CANARY)

        server.server.add_tool(leak, name="leak", description=f"Told to send Bearer {CANARY}")
        made = mcp_server_create(
            acting_user=workspace.user,
            organisation=workspace.organisation,
            name="echoes",
            url=server.url,
            headers=HEADERS,
        )
        made = mcp_server_ask(acting_user=workspace.user, server=made)
        for version in mcp_tools_import(
            acting_user=workspace.user, server=made, names=["echo", "leak"]
        ):
            tool_call(acting_user=workspace.user, version=version, arguments="{}", item={})


def stored() -> Iterator[tuple[str, str]]:
    """All rows of all tables, as text."""
    with connection.cursor() as cursor:
        for table in connection.introspection.table_names(cursor):
            cursor.execute(f'SELECT * FROM "{table}"')
            yield f"table {table}", repr(cursor.fetchall())
    for recording in Recording.objects.all():
        yield f"recording {recording.name}", repr(unpacked(bytes(recording.content)))
    for row in Trajectory.objects.all():
        yield f"trajectory {row.uid}", repr(trajectory_body(row))


def files(folder: Path) -> Iterator[tuple[str, str]]:
    for path in folder.rglob("*"):
        if path.is_file():
            yield f"file {path.name}", path.read_bytes().decode("latin-1")


def pages(workspace: Workspace, job: Job) -> Iterator[tuple[str, str]]:
    """Every page that is read, with the ids of what is there."""
    client = Client()
    client.force_login(workspace.user)
    recording = Recording.objects.first()
    assert recording is not None
    tool = Tool.objects.order_by("name")[0]
    ids = {
        "job_id": job.pk,
        "tool_id": tool.pk,
        "server_id": McpServer.objects.get().pk,
        "recording_id": recording.pk,
        "trajectory_id": Trajectory.objects.order_by("-tool_calls")[0].pk,
        "step": 0,
        "key": "reward",
        "form": "csv",
    }
    for name, wanted in _named(get_resolver().url_patterns):
        if wanted <= ids.keys():
            address = reverse(name, kwargs={key: ids[key] for key in wanted})
            answer = client.get(address)
            body = b"".join(answer) if answer.streaming else answer.content  # type: ignore[arg-type]
            yield address, body.decode("latin-1") + repr(answer.headers)


def _named(parts: list[Any], above: frozenset[str] = frozenset()) -> Iterator[tuple[str, set[str]]]:
    for part in parts:
        wanted = above | set(part.pattern.regex.groupindex)
        if isinstance(part, URLResolver):
            yield from _named(part.url_patterns, frozenset(wanted))
        elif isinstance(part, URLPattern) and part.name and part.name != "logout":
            yield part.name, set(wanted)


def ours(caplog: pytest.LogCaptureFixture) -> str:
    """Without what the MCP server writes, which runs in this process and is somebody else's."""
    return "\n".join(
        caplog.handler.format(record)
        for record in caplog.records
        if not record.name.startswith("mcp.server")
    )


def test_a_secret_in_a_header_appears_nowhere(
    workspace: Workspace,
    echo: Any,
    settings: Any,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    caplog.set_level(logging.DEBUG)
    with Watch() as watch:
        job = trained(workspace)
        tried(workspace)
        asked_mcp(workspace, settings)
    recording_from_job(acting_user=workspace.user, job=job, name="from the job")
    assert job.status == "succeeded", f"{job.status} {job.error_message}"
    assert watch.engines > 0
    assert echo.keyed > 10
    assert Trajectory.objects.filter(tool_calls__gt=0).exists()
    written = capfd.readouterr()
    places: list[tuple[str, str]] = [
        ("log", ours(caplog)),
        ("standard output", written.out),
        ("standard error", written.err),
        ("environment", repr(os.environ)),
        ("events", repr(list(JobEvent.objects.values_list("text", flat=True)))),
        *stored(),
        *files(tmp_path),
        *pages(workspace, job),
    ]
    told = [where for where, text in places if MARK in text.lower()]
    assert told == []
    assert watch.hits == []
    masked = [where for where, text in places if "**********" in text]
    assert any(where.startswith("trajectory") for where in masked)
    assert any(where.startswith("recording") for where in masked)
