"""How much one grading may use: our defaults, and the ceilings that the contract sets."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

MB = 1024 * 1024
SOURCE_BYTES = 256_000
REQUEST_BYTES = 64 * MB
REPLY_BYTES = 64 * 1024
STDOUT_BYTES = 4096

MOST_WALL_S = 120.0
MOST_MEMORY_BYTES = 2048 * MB
MOST_DISK_BYTES = 1024 * MB


@dataclass(frozen=True)
class Limits:
    """Seconds on the wall clock, memory beyond what the libraries take, and temporary files."""

    wall_s: float = 30.0
    memory_bytes: int = 512 * MB
    disk_bytes: int = 64 * MB

    def __post_init__(self) -> None:
        _check("wall_s", self.wall_s, MOST_WALL_S)
        _check("memory_bytes", self.memory_bytes, MOST_MEMORY_BYTES)
        _check("disk_bytes", self.disk_bytes, MOST_DISK_BYTES)


VARIABLES = ("HONE_GRADER_SECONDS", "HONE_GRADER_MEMORY_MB", "HONE_GRADER_DISK_MB")


def from_environment(variables: Mapping[str, str] = os.environ) -> Limits:
    """The limits that the operator set; raises ValueError with the variable's name."""
    seconds, memory, disk = VARIABLES
    default = Limits()
    return Limits(
        _number(variables, seconds, int(default.wall_s), MOST_WALL_S),
        MB * _number(variables, memory, default.memory_bytes // MB, MOST_MEMORY_BYTES / MB),
        MB * _number(variables, disk, default.disk_bytes // MB, MOST_DISK_BYTES / MB),
    )


def _check(name: str, value: float, most: float) -> None:
    if not 0 < value <= most:
        raise ValueError(f"{name} is {value:g}; it has to be above 0 and at most {most:g}.")


def _number(variables: Mapping[str, str], name: str, default: int, most: float) -> int:
    text = variables.get(name) or str(default)
    if not (text.isascii() and text.isdigit() and len(text) < 10 and 0 < int(text) <= most):
        raise ValueError(
            f"{name} is {text[:40]!r}. Set it to a whole number from 1 to {most:g}, or unset it."
        )
    return int(text)
