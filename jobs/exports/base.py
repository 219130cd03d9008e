"""What an exporter is, what it is given, and how its library is found. No Django in here."""

from __future__ import annotations

import importlib
import importlib.metadata
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from types import ModuleType
from typing import Protocol

from hone.core.errors import UserError

PROJECT = "hone"


@dataclass(frozen=True)
class ExportedStep:
    """One step: when it was committed, and its numbers by flat name."""

    step: int
    at: datetime
    metrics: Mapping[str, float]


@dataclass(frozen=True)
class ExportedJob:
    """A job as other trackers know it: a run with a configuration. `steps` is read once."""

    job_id: str
    name: str
    config: Mapping[str, str]
    steps: Iterable[ExportedStep]


class Exporter(Protocol):
    """One library. Writing again replaces what it wrote of the job, as far as it can."""

    name: str
    distribution: str

    def write(self, job: ExportedJob, folder: Path) -> str:
        """Write the job below `folder`, or where the library's own variables say.

        Returns where it is, in words. Raises UserError where the library is not installed.
        """
        ...


def library(module: str, distribution: str) -> ModuleType:
    """The library, imported now; UserError says how to install it."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        missing = (error.name or "").partition(".")[0]
        if missing not in {module.partition(".")[0], ""}:
            raise
        raise not_installed(distribution) from error


def version(distribution: str) -> str:
    """The installed version; empty where there is none."""
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return ""


def install_words(distribution: str) -> str:
    """The command that installs it."""
    extra = distribution.removesuffix("-skinny")
    return f"pip install -c constraints.txt -e '.[{extra}]'"


def not_installed(distribution: str) -> UserError:
    return UserError(
        f"{distribution} is not installed: {install_words(distribution)}", code="export_library"
    )


@contextmanager
def variables(**values: str) -> Iterator[None]:
    """Environment variables for the time of a write; what the operator set is kept."""
    missing = {name: value for name, value in values.items() if name not in os.environ}
    os.environ.update(missing)
    try:
        yield
    finally:
        for name in missing:
            os.environ.pop(name, None)
