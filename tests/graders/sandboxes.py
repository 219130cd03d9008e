"""Sandboxes for tests, in each mode that this machine offers."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator

import pytest

from graders.kinds.base import Grading
from graders.sandbox import probe
from graders.sandbox.client import PythonSandbox

needs_sandbox = pytest.mark.skipif(probe().level == "none", reason=probe().reason)
needs_landlock = pytest.mark.skipif(
    probe().level == "none" or "no landlock" in probe().reason,
    reason="the kernel has no landlock or no seccomp; use Linux 5.13 or later",
)
needs_bubblewrap = pytest.mark.skipif(
    probe().level != "bubblewrap",
    reason="bubblewrap does not work here; install it and allow user namespaces",
)
MODES = [
    pytest.param(True, id="bubblewrap", marks=needs_bubblewrap),
    pytest.param(False, id="lockdown", marks=needs_landlock),
]


def opened(bwrap: bool, *, wall_s: float = 10.0) -> Iterator[PythonSandbox]:
    """A sandbox with short limits in which code may call C: the kernel's limits are on trial."""
    with PythonSandbox(wall_s=wall_s, bwrap=bwrap, foreign_calls=True) as sandbox:
        yield sandbox


def graded(sandbox: PythonSandbox, source: str, **item: object) -> Grading:
    return sandbox.run(textwrap.dedent(source), {"output_text": "answer"}, item)


def failure(grading: Grading) -> str:
    """The message of an error of the grader's own; fails where there is a score."""
    assert grading.reward is None
    assert grading.error is not None
    assert (grading.error.code, grading.error.infra) == ("python_grader_runtime", False)
    return grading.error.message
