"""The life of the sandbox's server: started, lost, forked, refused and closed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from outside import processes_below
from sandboxes import MODES, graded, needs_landlock, needs_sandbox

from graders.kinds.base import GradingError
from graders.sandbox import Isolation, SandboxUnavailable, client, command, server
from graders.sandbox.client import PythonSandbox, read_ending
from graders.sandbox.limits import Limits


def gone_soon(pids: set[int]) -> bool:
    """Whether all are gone; the kernel may still be clearing a namespace away for a moment."""
    until = time.monotonic() + 3
    while (left := [pid for pid in pids if Path(f"/proc/{pid}").exists()]) and (
        time.monotonic() < until
    ):
        time.sleep(0.02)
    return not left


@pytest.mark.parametrize("bwrap", MODES)
@pytest.mark.slow
def test_closing_leaves_no_process(bwrap: bool) -> None:
    before = processes_below(os.getpid())
    opened = PythonSandbox(wall_s=20.0, bwrap=bwrap)
    endless = threading.Thread(
        target=graded, args=(opened, "def grade(sample, item):\n  while True: pass")
    )
    opened.start()
    endless.start()
    time.sleep(0.3)
    started = processes_below(os.getpid()) - before
    assert started
    opened.close()
    assert gone_soon(started)
    # The interrupted call is tried once more, on a server of its own.
    time.sleep(0.3)
    opened.close()
    endless.join(timeout=20)
    assert gone_soon(processes_below(os.getpid()) - before)


@pytest.mark.parametrize("bwrap", MODES)
def test_a_server_that_does_not_answer_is_killed_with_all_that_is_in_it(
    monkeypatch: pytest.MonkeyPatch, bwrap: bool
) -> None:
    monkeypatch.setattr(server, "CLOSE_S", 0.2)
    before = processes_below(os.getpid())
    opened = server.SandboxServer(server.ServerOptions(Limits(), bwrap=bwrap))
    started = processes_below(os.getpid()) - before
    for pid in started:
        os.kill(pid, signal.SIGSTOP)
    opened.close()
    assert gone_soon(started)


@pytest.mark.parametrize("bwrap", MODES)
@pytest.mark.slow
def test_a_server_that_dies_is_started_again_and_the_call_is_tried_again(bwrap: bool) -> None:
    with PythonSandbox(wall_s=20.0, bwrap=bwrap) as opened, ThreadPoolExecutor(1) as threads:
        opened.start()
        waiting = threads.submit(
            graded, opened, "import time\ndef grade(sample, item):\n  time.sleep(1)\n  return 1"
        )
        time.sleep(0.4)
        # The server before its child, of whose end it would tell; the child may go with it.
        for pid in sorted(processes_below(os.getpid())):
            with suppress(FileNotFoundError, ProcessLookupError):
                if b"graders.sandbox" in Path(f"/proc/{pid}/cmdline").read_bytes():
                    os.kill(pid, signal.SIGKILL)
        assert waiting.result(timeout=30).reward == 1.0


@needs_sandbox
def test_a_forked_worker_gets_a_server_of_its_own() -> None:
    with PythonSandbox(wall_s=20.0) as opened:
        opened.start()
        source = "def grade(sample, item): return 0.5"
        worker = os.fork()
        if worker == 0:
            reward = graded(opened, source).reward
            opened.close()
            os._exit(0 if reward == 0.5 else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(worker, 0)[1]) == 0
        assert graded(opened, source).reward == 0.5


@pytest.mark.parametrize("bwrap", MODES)
def test_two_servers_hash_alike(bwrap: bool) -> None:
    """So sets have one order, and a resumed job grades as it did before."""
    source = "def grade(sample, item): return hash('abc') % 2 ** 50"
    rewards = set()
    for _ in range(2):
        with PythonSandbox(bwrap=bwrap) as opened:
            rewards.add(graded(opened, source).reward)
    assert len(rewards) == 1
    assert rewards != {None}


@pytest.mark.parametrize("bwrap", MODES)
def test_a_grading_that_cannot_start_says_so(bwrap: bool) -> None:
    opened = server.SandboxServer(server.ServerOptions(Limits(), bwrap=bwrap))
    key = b"k" * 32
    try:
        error = read_ending(opened.call(b"no JSON", key, 10.0), key, 10.0).error
    finally:
        opened.close()
    assert error is not None
    assert (error.code, error.infra) == ("python_grader_server", True)
    assert "before the grader was started" in error.message


@needs_sandbox
@pytest.mark.parametrize("refusal", [SandboxUnavailable("No memory left."), OSError("No memory")])
def test_a_server_that_cannot_be_started_again_is_a_passing_fault(
    monkeypatch: pytest.MonkeyPatch, refusal: Exception
) -> None:
    def refuse(_options: server.ServerOptions) -> server.SandboxServer:
        raise refusal

    source = "def grade(sample, item): return 1"
    with PythonSandbox() as opened:
        assert graded(opened, source).reward == 1.0
        opened.close()
        with monkeypatch.context() as patched:
            patched.setattr(client, "SandboxServer", refuse)
            assert graded(opened, source).error == GradingError(
                "python_grader_server", str(refusal), infra=True
            )
        assert graded(opened, source).reward == 1.0


def test_a_machine_that_isolates_nothing_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "probe", lambda: Isolation("none", "No seccomp."))
    with pytest.raises(SandboxUnavailable, match="do not run here. No seccomp"):
        graded(PythonSandbox(), "def grade(sample, item): return 1")


@needs_landlock
def test_a_restriction_without_effect_is_noticed_at_the_start(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(command, "program", _without_filter(command.program))
    with pytest.raises(SandboxUnavailable, match="failed its own test"):
        PythonSandbox(bwrap=False).start()


def _without_filter(program: Any) -> Any:
    def changed(*arguments: Any, **options: Any) -> list[str]:
        words: list[str] = program(*arguments, **options)
        at = words.index("-c") + 1
        allow_all = "lambda machine, writing=False: bytes.fromhex('060000000000ff7f')"
        words[at] = words[at].replace(
            "from graders.sandbox.zygote import main",
            f"from graders.sandbox import bpf; bpf.program = {allow_all}; "
            "from graders.sandbox.zygote import main",
        )
        return words

    return changed


OWNER = """
import sys
from graders.sandbox.client import PythonSandbox
opened = PythonSandbox(wall_s=60.0, bwrap=sys.argv[1] == "True")
opened.start()
print("started", flush=True)
opened.run("def grade(sample, item):\\n  while True: pass", {}, {})
"""


@pytest.mark.parametrize("bwrap", MODES)
@pytest.mark.slow
def test_nothing_outlives_a_killed_owner(bwrap: bool) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", OWNER, str(bwrap)], stdout=subprocess.PIPE, text=True
    ) as owner:
        assert owner.stdout is not None
        assert owner.stdout.readline() == "started\n"
        time.sleep(0.3)
        below = processes_below(owner.pid)
        assert len(below) >= 2
        owner.kill()
    assert gone_soon(below)
