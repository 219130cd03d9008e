"""`python -m benchmarks.credit`: a table, and as the last line one JSON object.

`--quick` takes two seeds instead of five. Two processes of one thread each.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import nullcontext
from pathlib import Path
from typing import TextIO

from benchmarks.credit.figures import all_figures
from benchmarks.credit.methods import (
    ANCHORED,
    CONTROLS_OFF,
    CONTROLS_ON,
    GRPO,
    TURN_REWARDS,
    UNGATED,
    Method,
)
from benchmarks.credit.table import print_table
from benchmarks.credit.train import Run, quiet, train
from benchmarks.credit.warmup import build_base
from benchmarks.credit.worlds.base import World
from benchmarks.credit.worlds.loops import Loops
from benchmarks.credit.worlds.misleading import Misleading
from benchmarks.credit.worlds.recurring import Recurring

PLAN: tuple[tuple[World, tuple[Method, ...]], ...] = (
    (Recurring(), (GRPO, ANCHORED, TURN_REWARDS)),
    (Misleading(), (GRPO, ANCHORED, UNGATED)),
    (Loops(), (CONTROLS_OFF, CONTROLS_ON)),
)
SEEDS, QUICK_SEEDS = 5, 2
PROCESSES = 2
TINY = {"OMP_NUM_THREADS": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1", "TQDM_DISABLE": "1"}
"""What the processes find in their environment: two threads make a tiny model slower."""


def compare(
    plan: Sequence[tuple[World, tuple[Method, ...]]], seeds: int, log: TextIO | None
) -> list[Run]:
    """Every method on every seed of every world; all seeds of a world start from one base."""
    os.environ.update(TINY)
    context = multiprocessing.get_context("spawn")
    with (
        tempfile.TemporaryDirectory() as folder,
        ProcessPoolExecutor(PROCESSES, mp_context=context, initializer=quiet) as pool,
    ):
        bases = {world.name: Path(folder) / world.name for world, _ in plan}
        list(pool.map(build_base, [world for world, _ in plan], bases.values()))
        waiting = [
            pool.submit(train, world, method, seed, bases[world.name])
            for seed in range(1, seeds + 1)
            for world, methods in plan
            for method in methods
        ]
        runs = []
        for done in as_completed(waiting):
            run = done.result()
            runs.append(run)
            if log is not None:
                print(json.dumps(run.as_dict()), file=log, flush=True)
            _tell(run, f"{len(runs)} of {len(waiting)}")
    order = [(world.name, method.name) for world, methods in plan for method in methods]
    return sorted(runs, key=lambda run: (order.index((run.world, run.method)), run.seed))


def _tell(run: Run, count: str) -> None:
    where = "" if run.reached is None else f", the bar after {run.reached}"
    print(
        f"{count}: {run.world}, {run.method}, seed {run.seed}: {len(run.rewards)} iterations in "
        f"{run.seconds:.0f} s, last reward {run.rewards[-1]:.2f}{where}",
        file=sys.stderr,
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="Compare credit methods on three tiny worlds.")
    parser.add_argument("--quick", action="store_true", help=f"{QUICK_SEEDS} seeds, for trying")
    parser.add_argument("--world", choices=[world.name for world, _ in PLAN], help="one world only")
    parser.add_argument("--runs", type=Path, help="where to write every run as JSON lines")
    options = parser.parse_args()
    started = time.monotonic()
    plan = [pair for pair in PLAN if options.world in (None, pair[0].name)]
    seeds = QUICK_SEEDS if options.quick else SEEDS
    with options.runs.open("w") if options.runs else nullcontext() as log:
        runs = compare(plan, seeds, log)
    figures = all_figures(runs)
    print_table([world for world, _ in plan], runs, figures)
    figures["seeds"] = len({run.seed for run in runs})
    figures["minutes"] = round((time.monotonic() - started) / 60, 1)
    print(f"\n{figures['seeds']} seeds, {figures['minutes']} minutes")
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
