"""`python -m benchmarks.workbench`: a table, and as the last line one JSON object.

Each part runs in a process of its own, one after the other, so that none finds what another left.
A part is a module beside this file with a function `measure() -> dict[str, float]`.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from dataclasses import dataclass

PARTS = ("sandbox", "datasets")
MEASURE = (
    "import json, sys; from benchmarks.workbench.{part} import measure; "
    "print(json.dumps(measure()))"
)


@dataclass(frozen=True)
class Wanted:
    """What a figure is called in the table, and what it should at least or at most be."""

    name: str
    bound: float | None = None
    least: bool = True

    def verdict(self, value: float) -> str:
        if self.bound is None:
            return ""
        held = value >= self.bound if self.least else value <= self.bound
        sign = "≥" if self.least else "≤"
        return f"{sign} {self.bound:g} wanted: {'held' if held else 'NOT held'}"


FIGURES = {
    "sandbox_per_s": Wanted("gradings a second, one forked child each", 200),
    "sandbox_start_ms_p95": Wanted("start of a sandbox in ms, 95th percentile", 300, least=False),
    "dataset_mb_per_s": Wanted("dataset validated and indexed, MB a second", 200),
    "dataset_rss_growth_mb": Wanted("memory that it takes beyond the start, MB", 64, least=False),
    "upload_mb_per_s": Wanted("upload through the web server, MB a second"),
}


def measured(part: str) -> tuple[dict[str, float], str]:
    """The figures of one part, and how busy the machine was before and after."""
    before = load()
    ran = subprocess.run(
        [sys.executable, "-c", MEASURE.format(part=part)],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    figures: dict[str, float] = json.loads(ran.stdout.splitlines()[-1])
    return figures, f"{before} → {load()}"


def load() -> str:
    return f"{os.getloadavg()[0]:.1f}"


def main() -> None:
    figures: dict[str, float] = {}
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}")
    print(f"{'figure':<52}{'value':>10}  {'load':<12}")
    for part in PARTS:
        found, busy = measured(part)
        for key, value in found.items():
            wanted = FIGURES.get(key, Wanted(key))
            print(f"{wanted.name:<52}{value:>10.1f}  {busy:<12}{wanted.verdict(value)}")
        figures |= found
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
