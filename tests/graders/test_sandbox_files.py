"""Temporary files of a grading: where there are any, how many, and that nothing of them is left."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sandboxes import failure, graded, needs_bubblewrap, needs_landlock

from graders.sandbox.client import PythonSandbox, words_of
from graders.sandbox.limits import MB, Limits

WRITES = """
import os, tempfile
def grade(sample, item):
    seen = os.listdir("/tmp")
    with tempfile.NamedTemporaryFile("w+", delete=False) as file:
        file.write(item["text"])
    os.mkdir("/tmp/folder")
    os.rename(file.name, "/tmp/folder/left-behind")
    with open("/tmp/folder/left-behind") as file:
        return float(file.read() == item["text"] and not seen)
"""


@pytest.fixture(scope="module")
def sandbox() -> Iterator[PythonSandbox]:
    with PythonSandbox(limits=Limits(disk_bytes=8 * MB)) as opened:
        yield opened


@needs_bubblewrap
def test_each_grading_has_an_empty_place_of_its_own(sandbox: PythonSandbox) -> None:
    with ThreadPoolExecutor(8) as threads:
        texts = [f"text {number}" for number in range(40)]
        rewards = [
            one.reward for one in threads.map(lambda t: graded(sandbox, WRITES, text=t), texts)
        ]
    assert rewards == [1.0] * 40
    assert not Path("/tmp/folder").exists()


@needs_bubblewrap
def test_a_database_in_a_file_works(sandbox: PythonSandbox) -> None:
    source = """
    import sqlite3, tempfile
    def grade(sample, item):
        with tempfile.TemporaryDirectory() as folder:
            for statement in ("create table t (a)", "insert into t values (3)"):
                with sqlite3.connect(f"{folder}/x.db") as database:
                    database.execute(statement)
            return database.execute("select a from t").fetchone()[0]
    """
    assert graded(sandbox, source).reward == 3.0


@needs_bubblewrap
@pytest.mark.parametrize(("megabytes", "fits"), [(7, True), (9, False)])
def test_its_size_is_limited(sandbox: PythonSandbox, megabytes: int, fits: bool) -> None:
    source = f"""
    def grade(sample, item):
        for number in range({megabytes}):
            with open(f"/tmp/{{number}}", "wb") as file:
                file.write(bytes(1 << 20))
        return 1.0
    """
    grading = graded(sandbox, source)
    assert grading.reward == (1.0 if fits else None)
    assert fits or "No space left on device" in failure(grading)


@needs_bubblewrap
def test_who_says_nothing_of_files_can_write_none(sandbox: PythonSandbox) -> None:
    source = """
    import os
    def grade(sample, item):
        return os.open("/t" + "mp/x", os.O_CREAT | os.O_WRONLY)
    """
    assert "PermissionError: [Errno 1]" in failure(graded(sandbox, source))


@needs_landlock
def test_without_bubblewrap_there_are_none_and_nothing_is_written() -> None:
    with PythonSandbox(bwrap=False) as lockdown:
        assert not lockdown.start().has_scratch
        message = failure(graded(lockdown, "def grade(s, i): return open('/tmp/left-behind', 'w')"))
    assert "PermissionError: [Errno 1]" in message
    assert not Path("/tmp/left-behind").exists()


@pytest.mark.parametrize(
    ("source", "modules", "writes"),
    [
        ("def grade(sample, item): return 1", (), False),
        ("import tempfile", (), True),
        ("open('/tmp/x')", (), True),
        ("temporary = tmps = 1", (), False),
        ("import pandas as pd\nfrom sklearn.metrics import f1_score", ("pandas", "sklearn"), False),
        ("importlib.import_module('scipy.stats')", ("scipy",), False),
        ("os.system('true')", (), False),
    ],
)
def test_a_sources_words_say_what_it_needs(
    source: str, modules: tuple[str, ...], writes: bool
) -> None:
    words = words_of(source)
    assert (words.modules, words.writes) == (modules, writes)
