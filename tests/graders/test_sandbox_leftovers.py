"""After 1,000 gradings nothing is left of them, and the server is as it was."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from attacks import refused, source_of
from outside import Outside, processes_below, watching
from sandboxes import MODES

from graders.sandbox import cgroup
from graders.sandbox.client import PythonSandbox

RUNS = 1000
EVERY = 10
HONEST = """
import numpy
def grade(sample, item):
    print("x" * 100)
    return float(numpy.mean([item["number"], item["number"]]))
"""
WRITING = """
def grade(sample, item):
    for number in range(100):
        with open(f"/tmp/left-behind-{number}", "w") as file: file.write("x" * 1000)
    return float(item["number"])
"""
ATTACKS = [
    source_of(refused()[name][0])
    for name in (
        "files: many files", "memory: 8 GB", "output: exit now", "forgery: a reply",
        "escape: ptrace", "processes: a fork bomb", "output: a flood on the reply",
        "memory: a null pointer", "processes: many handles", "network: tcp",
    )
]  # fmt: skip


@pytest.fixture(params=MODES)
def mode(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


@pytest.fixture
def outside(tmp_path: Path) -> Iterator[Outside]:
    with watching(tmp_path) as watched:
        yield watched


def handles() -> int:
    return len(os.listdir("/proc/self/fd"))


def groups() -> set[Path]:
    """Those that this process has made and not removed."""
    ours = f"{cgroup.PREFIX}{os.getpid()}-*"
    return {path for place in cgroup.home().folders for path in place.glob(ours)}


def the_server(below: set[int]) -> int:
    """The process that forks: the youngest of those that a sandbox without gradings has."""
    return max(below)


def state_of(server: int) -> tuple[int, int]:
    """Its handles and mounts, once it has closed those of the last grading."""
    time.sleep(0.2)
    folder = Path(f"/proc/{server}")
    return len(os.listdir(folder / "fd")), (folder / "mounts").read_text().count("\n")


@pytest.mark.slow
def test_nothing_is_left_after_1000_gradings(mode: bool, outside: Outside) -> None:
    cgroups, ours = groups(), handles()
    with PythonSandbox(wall_s=20.0, bwrap=mode, foreign_calls=True) as sandbox:
        writes = sandbox.start().has_scratch

        def run(number: int) -> None:
            item = outside.item() | {"number": number}
            if number % EVERY == 0:
                attack = ATTACKS[number // EVERY % len(ATTACKS)]
                assert sandbox.run(attack, {}, item).reward is None
            else:
                source = WRITING if writes and number % EVERY == 1 else HONEST
                assert sandbox.run(source, {}, item).reward == float(number)

        run(1)
        run(2)
        below = processes_below(os.getpid())
        server = the_server(below)
        before, open_before = state_of(server), handles()
        with ThreadPoolExecutor(4) as threads:
            assert len(list(threads.map(run, range(RUNS)))) == RUNS
        assert processes_below(os.getpid()) == below
        assert state_of(server) == before
        assert handles() == open_before
    outside.assert_untouched()
    assert groups() == cgroups
    assert handles() == ours
