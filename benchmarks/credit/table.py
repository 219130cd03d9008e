"""The printed table: what each method took, with the interval over seeds."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

from benchmarks.credit.figures import (
    LAST,
    final_loop_rate,
    final_reward,
    final_tokens,
    gate_share,
    grouped,
    mean_interval,
)
from benchmarks.credit.methods import ANCHORED, GRPO
from benchmarks.credit.train import GROUP_SIZE, GROUPS, SMOOTHED, Run
from benchmarks.credit.worlds.base import World


def print_table(worlds: Sequence[World], runs: Sequence[Run], figures: dict[str, Any]) -> None:
    rollouts = GROUP_SIZE * GROUPS
    print(f"{rollouts} rollouts an iteration in groups of {GROUP_SIZE}; means over seeds [95 %]")
    for world in worlds:
        own = grouped([run for run in runs if run.world == world.name])
        print(f"\n{world.name}: {world.shows}")
        if world.bar is None:
            _print_loops(world, own)
        else:
            _print_speed(world, own, figures[world.name])


def _print_speed(world: World, own: dict[str, list[Run]], figures: dict[str, Any]) -> None:
    print(
        f"iterations until the {world.bar_on} over {SMOOTHED} iterations is {world.bar} "
        f"(at most {world.cap}; a run that never gets there counts as {world.cap})"
    )
    for name, found in own.items():
        values = [float(run.iterations) for run in found]
        line = f"  {name:14s}{_mean(values)}"
        if name != GRPO.name:
            place = "interval" if name == ANCHORED.name else f"{name}_interval"
            low, high = figures[place]
            line += f"   over GRPO {figures[f'{name}_over_grpo']:.2f} [{low:.2f}, {high:.2f}]"
        if found[0].gate_open:
            line += f"   gate open in {gate_share(found):.0%} of iterations"
        never = sum(run.reached is None for run in found)
        print(line + (f"   {never} of {len(found)} never got there" if never else ""))


def _print_loops(world: World, own: dict[str, list[Run]]) -> None:
    print(f"{world.cap} iterations; the last {LAST} of them")
    for name, found in own.items():
        loops = [100 * final_loop_rate(run) for run in found]
        print(
            f"  {name:14s}loops {_mean(loops, 2)} %   tokens p95"
            f"{_mean([final_tokens(run) for run in found])}"
            f"   reward {statistics.fmean(final_reward(run) for run in found):.2f}"
        )


def _mean(values: Sequence[float], digits: int = 1) -> str:
    low, high = mean_interval(values)
    return f"{statistics.fmean(values):7.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"
