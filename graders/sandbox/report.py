"""What the sandbox of this machine can do, found by starting one: for `manage.py doctor`."""

from __future__ import annotations

import time
from dataclasses import dataclass

from graders.sandbox import cgroup, libraries
from graders.sandbox.client import PythonSandbox
from graders.sandbox.isolation import Level, SandboxUnavailable, probe


@dataclass(frozen=True)
class Report:
    """`level` and what it stands for; `start_ms` and `has_scratch` of the one that was started."""

    level: Level
    reason: str
    controls: str = ""
    start_ms: float = 0.0
    has_scratch: bool = False

    def __str__(self) -> str:
        if self.level == "none":
            return self.reason
        files = "a tmpfs for each grading" if self.has_scratch else "none"
        return (
            f"{self.level}: {self.reason}; {self.controls}; temporary files: {files}; "
            f"started and tested in {self.start_ms:.0f} ms"
        )


def examine() -> Report:
    """Starts a sandbox, which tests itself, and ends it."""
    isolation = probe()
    if isolation.level == "none":
        return Report(isolation.level, isolation.reason)
    started = time.perf_counter()
    try:
        with PythonSandbox() as sandbox:
            has_scratch = sandbox.start().has_scratch
            start_ms = (time.perf_counter() - started) * 1000
    except (SandboxUnavailable, OSError) as error:
        return Report("none", str(error))
    return Report(isolation.level, isolation.reason, str(cgroup.home()), start_ms, has_scratch)


def library_words() -> tuple[str, str]:
    """The libraries that graders may import here, with versions, and those that are missing."""
    found = libraries.find()
    there = ", ".join(f"{name} {version}" for name, version in sorted(found.installed.items()))
    return there, ", ".join(found.missing)
