"""From runs to figures: means over seeds with intervals, and ratios on the same seeds."""

from __future__ import annotations

import random
import statistics
from collections.abc import Callable, Sequence
from typing import Any

from benchmarks.credit.methods import ANCHORED, CONTROLS_OFF, CONTROLS_ON, GRPO
from benchmarks.credit.train import Run

DRAWS = 10_000
LAST = 10
"""Iterations at the end of a run that count as its end."""
Interval = tuple[float, float]


def bootstrap(seeds: int, figure: Callable[[Sequence[int]], float]) -> Interval:
    """95 % of the figure over draws of seeds with replacement; the draws are always the same."""
    dice = random.Random(0)
    values = sorted(figure(dice.choices(range(seeds), k=seeds)) for _ in range(DRAWS))
    return values[int(0.025 * DRAWS)], values[int(0.975 * DRAWS) - 1]


def mean_interval(values: Sequence[float]) -> Interval:
    return bootstrap(len(values), lambda drawn: statistics.fmean(values[i] for i in drawn))


def ratio(over: Sequence[float], under: Sequence[float]) -> tuple[float, Interval]:
    """Of the means, with its interval; both lists are by seed, and seeds are drawn in pairs."""

    def of(drawn: Sequence[int]) -> float:
        return sum(over[i] for i in drawn) / max(1e-9, sum(under[i] for i in drawn))

    return of(range(len(over))), bootstrap(len(over), of)


def percentile_95(values: Sequence[int]) -> float:
    ordered = sorted(values)
    return float(ordered[min(len(ordered) - 1, int(0.95 * len(ordered)))])


def final_tokens(run: Run) -> float:
    """The 95th percentile of sampled tokens of the rollouts at the run's end."""
    return percentile_95([tokens for step in run.tokens[-LAST:] for tokens in step])


def final_loop_rate(run: Run) -> float:
    return statistics.fmean(run.loop_rates[-LAST:])


def final_reward(run: Run) -> float:
    return statistics.fmean(run.rewards[-LAST:])


def gate_share(runs: Sequence[Run]) -> float:
    """How often the gate let the anchored term through."""
    return statistics.fmean(float(o) for run in runs for o in run.gate_open)


def speed_figures(runs: dict[str, list[Run]]) -> dict[str, Any]:
    """Of a world with a bar: each method's iterations to it over plain GRPO's."""
    figures: dict[str, Any] = {}
    plain = [float(run.iterations) for run in runs[GRPO.name]]
    for name, own in runs.items():
        iterations = [float(run.iterations) for run in own]
        figures[f"{name}_iterations"] = statistics.fmean(iterations)
        figures[f"{name}_never"] = sum(run.reached is None for run in own)
        if name == GRPO.name:
            continue
        value, interval = ratio(iterations, plain)
        figures[f"{name}_over_grpo"] = value
        figures["interval" if name == ANCHORED.name else f"{name}_interval"] = list(interval)
        if own[0].gate_open:
            figures[f"{name}_gate_open"] = gate_share(own)
    return figures


def loop_figures(runs: dict[str, list[Run]]) -> dict[str, Any]:
    """Long-tail controls on and off: loops and the tail of the tokens, at the end of training."""
    on, off = runs[CONTROLS_ON.name], runs[CONTROLS_OFF.name]
    value, interval = ratio([final_tokens(run) for run in on], [final_tokens(run) for run in off])
    rates = [final_loop_rate(run) for run in on]
    return {
        "final_loop_rate": statistics.fmean(rates),
        "final_loop_rate_interval": list(mean_interval(rates)),
        "final_loop_rate_without": statistics.fmean(final_loop_rate(run) for run in off),
        "first_loop_rate": statistics.fmean(run.loop_rates[0] for run in on),
        "tokens_p95_ratio": value,
        "interval": list(interval),
        "tokens_p95": statistics.fmean(final_tokens(run) for run in on),
        "tokens_p95_without": statistics.fmean(final_tokens(run) for run in off),
    }


def all_figures(runs: Sequence[Run]) -> dict[str, Any]:
    """The whole comparison; `worst_method_over_grpo` is of the methods that pass a gate."""
    figures: dict[str, Any] = {}
    for world in dict.fromkeys(run.world for run in runs):
        by_method = grouped([run for run in runs if run.world == world])
        compare = speed_figures if GRPO.name in by_method else loop_figures
        figures[world] = compare(by_method)
    offered = [
        (value, f"{name.removesuffix('_over_grpo')} on {world}")
        for world, own in figures.items()
        for name, value in own.items()
        if name == f"{ANCHORED.name}_over_grpo"
    ]
    worst, where = max(offered, default=(None, None))
    return {**figures, "worst_method_over_grpo": worst, "worst_method": where}


def grouped(runs: Sequence[Run]) -> dict[str, list[Run]]:
    """By method, each list in the order of its seeds."""
    found: dict[str, list[Run]] = {}
    for run in sorted(runs, key=lambda run: run.seed):
        found.setdefault(run.method, []).append(run)
    return found
