"""`up` and `demo` as processes: what they refuse, and that nothing is left behind."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from hone.demo.processes import ProcessGroup, Program, require_free_port

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
