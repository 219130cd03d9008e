"""What was found, for people and for programs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from benchmarks.engine import compare, world
from benchmarks.engine.compare import Found, Pair
from benchmarks.engine.runs import ToTarget, Work
from benchmarks.engine.search import TRY_LIMIT_S

MIB = 1024 * 1024
ROW = "{:46s}{:>14s}{:>14s}{:>9s}"


def lines(found: Found) -> Iterator[str]:
    yield f"Same on both sides: the demo's model, template, tasks and grader; {world.GROUPS} groups"
    yield f"of {world.GROUP_SIZE}; LoRA r{world.LORA.rank} alpha {world.LORA.alpha} on all linear"
    yield f"layers; temperature {world.TEMPERATURE:g}; {world.TURN_TOKENS} tokens a turn; at most"
    yield f"{world.TOOL_ROUNDS} rounds of tools; fp32. Rollout times include grading."
    yield ""
    yield f"TRL's configuration: {found.way}. Tried, in seconds a step:"
    for trial in found.trials:
        took = f"over {TRY_LIMIT_S:.0f}" if trial.step_s is None else f"{trial.step_s:.2f}"
        peak = f"{trial.peak_bytes / MIB:6.0f} MiB" if trial.peak_bytes else ""
        yield f"  {trial.latency_ms:3d} ms tools, {trial.way!s:44s}{took:>9s}  {peak}"
    yield ""
    yield ROW.format("", "TRL 1.16.0", "Hone", "ratio")
    for pair in found.pairs:
        yield from _pair(pair)
    yield from _memory(found)
    yield ""
    yield from _trees(found)
    yield ""
    yield from _target(found)
    parity = found.parity
    yield ""
    yield f"largest |recorded - recomputed| log-probability: {parity.difference:.2e} over"
    yield f"{parity.tokens} tokens of {parity.rollouts} rollouts with {parity.calls} tool calls"


def _pair(pair: Pair) -> Iterator[str]:
    trl, ours = pair.trl, pair.ours
    name = f"{pair.latency_ms} ms tools: "
    yield ROW.format(
        name + "a trajectory",
        f"{trl.rollout_ms:.1f} ms",
        f"{ours.rollout_ms:.1f} ms",
        f"{trl.rollout_ms / ours.rollout_ms:.2f}",
    )
    yield ROW.format(
        name + "a training step",
        f"{trl.step_s:.2f} s",
        f"{ours.step_s:.2f} s",
        f"{trl.step_s / ours.step_s:.2f}",
    )
    yield ROW.format(
        name + "tool calls a trajectory", f"{trl.tool_calls:.2f}", f"{ours.tool_calls:.2f}", ""
    )
    yield ROW.format(
        name + "sampled tokens a trajectory",
        f"{trl.sampled_tokens:.1f}",
        f"{ours.sampled_tokens:.1f}",
        "",
    )
    yield ROW.format(name + "mean reward", f"{trl.reward:.3f}", f"{ours.reward:.3f}", "")


def _memory(found: Found) -> Iterator[str]:
    trl, ours = _at(found, 50)
    yield ROW.format(
        "peak memory of the process, 50 ms tools",
        f"{trl.peak_bytes / MIB:.0f} MiB",
        f"{ours.peak_bytes / MIB:.0f} MiB",
        f"{ours.peak_bytes / trl.peak_bytes:.2f}",
    )


def _trees(found: Found) -> Iterator[str]:
    yield ROW.format("learner, forward and backward of a group", "padded", "trees", "ratio")
    for row in found.trees:
        yield ROW.format(
            f"{row.siblings} of {row.prompt} + {row.after:.0f} tokens, {row.turns:.1f} turns",
            f"{row.padded_s:.3f} s",
            f"{row.tree_s:.3f} s",
            f"{row.ratio:.2f}",
        )
    yield "(what follows the prompt was sampled on the ledger desk; its mean length is given)"


def _target(found: Found) -> Iterator[str]:
    trl, ours = found.trl_target, found.ours_target
    yield ROW.format(
        f"to a validation reward of {compare.TARGET_REWARD}, {compare.TARGET_LATENCY_MS} ms tools",
        f"{trl.seconds:.0f} s",
        f"{ours.seconds:.0f} s",
        f"{ours.seconds / trl.seconds:.2f}",
    )
    yield "(evaluations are not counted)"
    for name, side in (("TRL", trl), ("Hone", ours)):
        yield f"  {name}: {_how(side)}"


def _how(side: ToTarget) -> str:
    if side.reached:
        return f"reached at step {side.step}"
    return (
        f"NOT reached within {side.seconds:.0f} s, which count instead; "
        f"{side.best:.2f} at most, by step {side.step}"
    )


def _at(found: Found, latency_ms: int) -> tuple[Work, Work]:
    pair = next(pair for pair in found.pairs if pair.latency_ms == latency_ms)
    return pair.trl, pair.ours


def summary(found: Found) -> dict[str, Any]:
    """The one JSON object."""
    trl, ours = _at(found, 50)
    figures = {
        f"rollout_speedup_{pair.latency_ms}ms": pair.trl.rollout_ms / pair.ours.rollout_ms
        for pair in found.pairs
    }
    figures["step_speedup"] = trl.step_s / ours.step_s
    figures |= {f"tree_speedup_{row.prompt}": row.ratio for row in found.trees}
    figures["wallclock_ratio_to_target"] = found.ours_target.seconds / found.trl_target.seconds
    figures |= {
        f"rollout_speedup_{pair.latency_ms}ms_per_token": pair.trl.rollout_ms
        / pair.trl.sampled_tokens
        / (pair.ours.rollout_ms / pair.ours.sampled_tokens)
        for pair in found.pairs
    }
    peaks = [trial.peak_bytes for trial in found.trials if trial.peak_bytes]
    figures["peak_memory_ratio_to_leanest_trl"] = ours.peak_bytes / min(peaks)
    figures["peak_memory_ratio"] = ours.peak_bytes / trl.peak_bytes
    return {
        **{name: round(figure, 3) for name, figure in figures.items()},
        "logprob_max_abs_diff": found.parity.difference,
        "trl_reached_target": found.trl_target.reached,
        "hone_reached_target": found.ours_target.reached,
        "trl_configuration": str(found.way),
    }
