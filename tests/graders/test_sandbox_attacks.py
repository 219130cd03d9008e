"""Attacks on the sandbox, each judged from outside, in each mode that this machine offers."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from attacks import LASTING, refused, source_of
from outside import SECRET, Outside, watching
from sandboxes import MODES, failure, graded, opened

from graders.sandbox.client import PythonSandbox

pytestmark = pytest.mark.skipif(
    os.uname().machine != "x86_64", reason="speaks of system calls by their x86-64 numbers"
)
ATTACKS = refused()
HONEST = "def grade(sample, item): return 0.25"


@pytest.fixture(scope="module", params=MODES)
def sandbox(request: pytest.FixtureRequest) -> Iterator[PythonSandbox]:
    for each in opened(request.param):
        each.start()
        yield each


@pytest.fixture(scope="module")
def outside(sandbox: PythonSandbox, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Outside]:
    folder = tmp_path_factory.mktemp("outside")
    for parent in (folder, *folder.parents[:2]):
        parent.chmod(0o755)
    with watching(folder) as watched:
        yield watched


@pytest.mark.parametrize(("body", "said"), ATTACKS.values(), ids=ATTACKS.keys())
def test_is_contained(sandbox: PythonSandbox, outside: Outside, body: str, said: str) -> None:
    grading = sandbox.run(source_of(body), {"output_text": "answer"}, outside.item())
    assert re.search(said, failure(grading))
    assert SECRET not in grading.stdout + failure(grading)
    outside.assert_untouched()
    assert graded(sandbox, HONEST).reward == 0.25


def test_there_are_more_than_60_and_no_two_are_the_same() -> None:
    bodies = [body for body, _ in ATTACKS.values()] + list(LASTING.values())
    assert len(bodies) == len(set(bodies)) > 60
    assert {name.split(":")[0] for name in ATTACKS} == {
        "escape", "network", "files", "processes", "memory", "output", "forgery",
    }  # fmt: skip


BOMBS = (
    "processes: a fork bomb", "processes: a thread bomb", "memory: slow growth",
    "memory: doubling lists", "files: many files", "files: more than its disk",
    "output: a flood on the reply", "processes: many handles",
)  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("bwrap", MODES)
def test_while_bombs_go_off_others_are_graded(bwrap: bool) -> None:
    with (
        PythonSandbox(bwrap=bwrap, concurrency=4, foreign_calls=True) as sandbox,
        ThreadPoolExecutor(3) as bombers,
    ):
        server = sandbox.start().process.pid
        sources = [source_of(ATTACKS[name][0]) for name in BOMBS * 2]
        going_off = [bombers.submit(sandbox.run, source, {}, {}) for source in sources]
        rewards = [graded(sandbox, HONEST).reward for _ in range(50)]
        for bomb in going_off:
            failure(bomb.result())
        assert rewards == [0.25] * 50
        assert sandbox.start().process.pid == server


@pytest.fixture(scope="module", params=MODES)
def brief_sandbox(request: pytest.FixtureRequest) -> Iterator[PythonSandbox]:
    yield from opened(request.param, wall_s=0.5)


@pytest.mark.slow
@pytest.mark.parametrize("body", LASTING.values(), ids=LASTING.keys())
def test_is_ended_in_time(brief_sandbox: PythonSandbox, body: str) -> None:
    started = time.monotonic()
    message = failure(brief_sandbox.run(source_of(body), {}, {}))
    assert message == "timeout: `grade` ran longer than 0.5 s and was stopped."
    assert time.monotonic() - started < 5
