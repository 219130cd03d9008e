"""From a spec to a grader that can run here, with all that an organisation's graders may use."""

from __future__ import annotations

import atexit
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from graders.errors import InvalidSpec
from graders.kinds.base import Grader, GraderSpecError, Grading, GradingError, PythonRunner, Sample
from graders.kinds.registry import load_grader
from graders.models import GraderVersion
from graders.sandbox.client import PythonSandbox
from graders.sandbox.pool import SandboxPool
from graders.services.headers import version_opened
from graders.services.outside import outside_kept
from hone.accounts.models import Organisation

TRY_WALL_S = 10.0
AT_ONCE = 2

_SANDBOXES = SandboxPool(lambda: PythonSandbox(wall_s=TRY_WALL_S, concurrency=AT_ONCE))
"""Those of this process; a server starts with an organisation's first Python grader."""
atexit.register(_SANDBOXES.close)


@dataclass(frozen=True)
class _Pooled:
    """The sandbox of an organisation, for as long as each run takes."""

    organisation_id: str

    def run(self, source: str, sample: Mapping[str, Any], item: Mapping[str, Any]) -> Grading:
        with _SANDBOXES.of(self.organisation_id) as python:
            return python.run(source, sample, item)


def sandbox_of(organisation: Organisation) -> PythonRunner:
    """Runs the Python of this organisation's graders, and of nobody else's in the same server."""
    return _Pooled(organisation.pk)


@contextmanager
def grader_ready(
    spec: Mapping[str, Any], *, organisation: Organisation, within_s: float | None = None
) -> Iterator[Grader]:
    """A grader of `spec` for many samples, from any threads; raises InvalidSpec.

    The spec holds the values of its headers (`headers_fill`). `within_s`: as of `outside_kept`.
    """
    with outside_kept(organisation, spec, within_s=within_s) as outside:
        try:
            grader = load_grader(spec, python=sandbox_of(organisation), outside=outside)
        except GraderSpecError as error:
            raise InvalidSpec(error) from error
        yield grader


@contextmanager
def version_ready(version: GraderVersion, *, within_s: float | None = None) -> Iterator[Grader]:
    """As `grader_ready`, of a stored version."""
    opened = version_opened(version)
    with grader_ready(opened, organisation=version.organisation, within_s=within_s) as grader:
        yield grader


def grade_or_error(grader: Grader, sample: Sample, item: Mapping[str, Any]) -> Grading:
    """One grading of many: whatever goes wrong is an error of this one and ends no other."""
    try:
        return grader.grade(sample, item)
    except Exception as error:  # noqa: BLE001 - no sandbox, or a bug of one grader
        message = f"{type(error).__name__}: {error}"
        return Grading(reward=None, error=GradingError("other", message))
