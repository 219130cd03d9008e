"""The database rows of a committed step, as `jobs.services.commit.step_commit` writes them.

A test holds these against what that service writes of the same step.
"""

from __future__ import annotations

from typing import Any

from msgspec import to_builtins

from jobs.engine.events import StepDone
from jobs.models.trajectory import packed


def step_row(run_id: str, done: StepDone) -> dict[str, Any]:
    return {
        "run_id": run_id,
        "step": done.step,
        "epoch": 1,
        "metrics": done.metrics,
        "bodies": done.bodies or "",
    }


def trajectory_rows(run_id: str, done: StepDone) -> list[dict[str, Any]]:
    return [
        {
            "run_id": run_id,
            "step": done.step,
            "uid": row.uid,
            "split": row.split,
            "row": row.row,
            "group": row.group,
            "sample": row.sample,
            "reward": row.reward,
            "parts": row.parts,
            "advantage": row.advantage,
            "trained": row.trained,
            "turns": row.turns,
            "tool_calls": row.tool_calls,
            "tokens": row.tokens,
            "total_tokens": row.total_tokens,
            "stop": row.stop,
            "packed_flags": packed(row.flags),
            "packed_tools": packed(row.tools),
            "credit": row.credit and to_builtins(row.credit),
            "cause": row.cause,
            "excerpt": row.excerpt,
            "seconds": row.seconds,
            "bodies": done.bodies or "",
            "offset": row.offset,
            "length": row.length,
        }
        for row in done.trajectories
    ]


def usage_row(run_id: str, done: StepDone) -> dict[str, Any]:
    rows = done.trajectories
    return {
        "run_id": run_id,
        "step": done.step,
        "rollouts": len(rows),
        "sampled_tokens": sum(row.tokens for row in rows),
        "total_tokens": sum(row.total_tokens for row in rows),
        "trained_tokens": done.metrics.get("learning", {}).get("tokens_trained", 0),
        "tool_calls": sum(row.tool_calls for row in rows),
        "seconds": done.metrics["seconds"]["total"],
    }


def event_rows(job_id: str, run_id: str, done: StepDone) -> list[dict[str, Any]]:
    told = [(each.level, each.code, each.text) for each in done.messages]
    told.append(("info", "step", _step_text(done)))
    return [
        {
            "job_id": job_id,
            "run_id": run_id,
            "level": level,
            "code": code,
            "text": text,
            "step": done.step,
        }
        for level, code, text in told
    ]


def checkpoint_row(run_id: str, done: StepDone) -> dict[str, Any]:
    """As the checkpoint was when it was new; see `kept_now` for later."""
    made = done.checkpoint
    assert made is not None
    return {
        "run_id": run_id,
        "step": made.step,
        "epoch": 1,
        "path": made.path,
        "manifest_sha256": made.manifest_sha256,
        "bytes": made.bytes,
        "validation_reward": made.validation_reward,
    }


def kept_now(step: int, last: StepDone) -> dict[str, bool]:
    """Which checkpoints are left after `last`: the best ones and the two newest."""
    kept = step in last.kept
    return {"kept": kept, "available": kept or step > last.step - 2}


def _step_text(done: StepDone) -> str:
    parts = [f"Step {done.step} of {done.total_steps}"]
    for split in ("train", "validation"):
        mean = done.metrics.get(split, {}).get("reward_mean")
        if mean is not None:
            parts.append(f"{split} reward {mean:.3f}")
    return ", ".join(parts) + "."
