"""`up` and `demo` as processes: what they refuse, and that nothing is left behind."""

from __future__ import annotations

import hashlib
import io
import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from hone.demo.management.commands import demo
from hone.demo.processes import ProcessGroup, Program, require_free_port
from hone.demo.workspace import Workspace, demo_job_create
from jobs.models import Job, Run
from jobs.services.ending import run_pause
from jobs.services.lease import run_acquire

ROOT = Path(__file__).resolve().parents[2]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def environment(folder: Path, port: int) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name != "DJANGO_SETTINGS_MODULE"}
    for name in ("DATABASE_URL", "BROKER_URL"):
        kept.pop(name, None)
    return {**kept, "HONE_DATA_DIR": str(folder), "HONE_DEMO_PORT": str(port)}


def manage(*words: str, folder: Path, port: int) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(ROOT / "manage.py"), *words],
        env=environment(folder, port),
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_a_taken_port_is_named_with_the_way_out() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(Exception, match=f"Port {port} on 127.0.0.1 is taken.*Try another"):
            require_free_port(port, "the web server", "Try another.")


@pytest.mark.slow
def test_up_says_when_its_port_is_taken(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        ran = manage("up", "--port", str(port), folder=tmp_path, port=free_port())
    assert ran.returncode == 1
    assert f"Port {port} on 127.0.0.1 is taken" in ran.stderr
    assert f"make up PORT={port + 1}" in ran.stderr


def test_a_group_ends_a_program_that_ignores_its_signal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hone.demo.processes.PATIENCE_S", 0.5)
    stubborn = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(60)"
    group = ProcessGroup(tmp_path, dict(os.environ))
    group.start(Program("stubborn", [sys.executable, "-c", stubborn]))
    child = group.running["stubborn"].pid
    time.sleep(0.3)
    group.stop()
    with pytest.raises(ProcessLookupError):
        os.kill(child, 0)


def test_a_group_names_the_program_that_fell_and_its_last_words(tmp_path: Path) -> None:
    group = ProcessGroup(tmp_path, dict(os.environ))
    group.start(Program("brief", [sys.executable, "-c", "print('no disk'); raise SystemExit(3)"]))
    group.running["brief"].wait(30)
    assert group.fallen() == "brief"
    assert group.last_lines("brief") == "no disk"
    group.stop()


def children_of(folder: Path) -> list[str]:
    """Command lines of running processes that work on this data folder."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if f"HONE_DATA_DIR={folder}\0".encode() in (process / "environ").read_bytes():
                found.append((process / "cmdline").read_bytes().replace(b"\0", b" ").decode())
        except (OSError, ProcessLookupError):
            continue
    return found


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_up_serves_signs_in_and_ends_without_leaving_a_process(tmp_path: Path) -> None:
    port, tools = free_port(), free_port()
    log = tmp_path / "up.log"
    with log.open("wb") as out:
        up = subprocess.Popen(
            [sys.executable, str(ROOT / "manage.py"), "up", "--port", str(port), "--no-job"],
            env=environment(tmp_path / "data", tools),
            stdout=out,
            stderr=subprocess.STDOUT,
        )
    try:
        deadline = time.monotonic() + 90
        while b"Ctrl-C ends everything" not in log.read_bytes() and time.monotonic() < deadline:
            assert up.poll() is None, log.read_text()
            time.sleep(0.3)
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=10) as answer:
            assert answer.status == 200
        second = manage("up", "--port", str(free_port()), folder=tmp_path / "data", port=tools)
        assert "Hone is running already" in second.stderr
    finally:
        up.send_signal(signal.SIGINT)
        up.wait(60)
    assert "demo@hone.local" in log.read_text()
    assert children_of(tmp_path / "data") == []


@pytest.mark.django_db
def test_a_demo_job_that_is_paused_ends_the_command_with_the_pauses_text(
    monkeypatch: pytest.MonkeyPatch, settings: Any
) -> None:
    @contextmanager
    def nobody(logs: Path, environment: dict[str, str]) -> Iterator[ProcessGroup]:
        group = ProcessGroup(logs, environment)
        monkeypatch.setattr(group, "start", lambda program: None)
        group.running["tool-server"] = subprocess.Popen([sys.executable, "-c", ""])
        yield group

    def paused(workspace: Workspace, *, seed: int, shuffle: bool) -> Job:
        job = demo_job_create(workspace, seed=seed, shuffle=shuffle)
        lease = run_acquire(Run.objects.get(job=job).pk, holder="test", host="here")
        assert lease
        run_pause(lease, reason="tool_unavailable", text="`search` did not answer for 30 s.")
        return job

    monkeypatch.setattr(demo, "call_command", lambda *_, **__: None)
    monkeypatch.setattr(demo, "process_group", nobody)
    monkeypatch.setattr(demo, "demo_job_create", paused)
    monkeypatch.setenv("HONE_DEMO_PORT", str(free_port()))
    settings.OUTBOUND_ALLOW = ()
    out = io.StringIO()
    with pytest.raises(CommandError) as refusal:
        call_command("demo", stdout=out)
    job = Job.objects.get()
    assert str(refusal.value) == (
        f"{job.pk} is paused: `search` did not answer for 30 s. "
        "The next `make demo` cancels it and starts another."
    )
    assert json.loads(out.getvalue().splitlines()[-1])["status"] == "paused"


BRIEF = """
import sys
import django
django.setup()
from django.core.management import call_command
from hone.demo import workspace
rows, settings = workspace.validation_rows, workspace.demo_hyperparameters()
workspace.validation_rows = lambda: rows(count=10)
brief = {"steps": int(sys.argv[1]), "batch_size": 2, "group_size": 2}
workspace.demo_hyperparameters = lambda: {**settings, **brief}
call_command("demo", *sys.argv[2:])
"""
"""`manage.py demo` over ten tasks, with as many steps as its first argument says."""


def begin_brief_demo(*words: str, folder: Path, port: int) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-u", "-c", BRIEF, *words],
        env={**environment(folder, port), "DJANGO_SETTINGS_MODULE": "hone.settings"},
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def the_end_of(running: subprocess.Popen[str]) -> tuple[int, str, str]:
    """Exit status, output and errors."""
    try:
        out, errors = running.communicate(timeout=300)
    finally:
        running.kill()
    return running.returncode, out, errors


@pytest.mark.slow
def test_the_demo_ends_with_a_table_and_one_json_object(tmp_path: Path) -> None:
    status, out, errors = the_end_of(begin_brief_demo("1", folder=tmp_path, port=free_port()))
    assert status == 0, errors
    lines = out.splitlines()
    assert "reward by family    " in lines
    found = json.loads(lines[-1])
    assert (found["status"], found["steps"]) == ("succeeded", 1)
    assert (
        set(found["baseline"])
        == set(found["final"])
        == {
            *("reward", "tool_calls_mean", "tool_calls_p95", "loop_rate", "tokens_p95"),
        }
    )
    weights = (Path(found["adapter"]) / "adapter_model.safetensors").read_bytes()
    assert found["adapter_sha256"] == hashlib.sha256(weights).hexdigest()
    assert children_of(tmp_path) == []


@pytest.mark.slow
def test_an_interrupted_demo_is_cancelled_by_the_next_one(tmp_path: Path) -> None:
    port = free_port()
    first = begin_brief_demo("5000", folder=tmp_path, port=port)
    assert first.stdout
    for line in first.stdout:
        if line.startswith("step   0"):
            break
    first.send_signal(signal.SIGINT)
    status, _, errors = the_end_of(first)
    assert status == 1
    assert "is left unfinished. The next `make demo` cancels it and starts another." in errors
    assert children_of(tmp_path) == []

    status, out, errors = the_end_of(begin_brief_demo("1", "--shuffle", folder=tmp_path, port=port))
    assert status == 0, errors
    assert "Cancelled ledger desk, seed 1, which an earlier run had left open." in out
    found = json.loads(out.splitlines()[-1])
    with sqlite3.connect(next(tmp_path.glob("*.sqlite3"))) as database:
        rows = dict(database.execute("SELECT name, status FROM jobs_job"))
        (spec,) = database.execute("SELECT spec FROM jobs_job WHERE id = ?", [found["job"]])
    assert rows == {
        "ledger desk, seed 1": "cancelled",
        "ledger desk, seed 1, shuffled rewards": "succeeded",
    }
    assert json.loads(spec[0])["engine"]["shuffle_rewards"] is True
