"""Says plainly when a step, or several in a row, had nothing to learn from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from jobs.engine.credit.base import is_graded
from jobs.engine.events import Message
from jobs.engine.types import Trajectory

SILENT_STEPS_TOLD = 3


def signal_messages(
    trajectories: Sequence[Trajectory], metrics: Mapping[str, Mapping[str, Any]], silent: int
) -> tuple[Message, ...]:
    """`silent`: steps in a row without an update, this one included."""
    learning, groups = metrics["learning"], metrics["groups"]
    if learning["skipped_non_finite"]:
        text = "The loss or its gradient was not finite, so this step changed nothing."
        return (Message(level="warn", code="non_finite", text=text),)
    if learning["updated"]:
        return ()
    rewards = [float(t.reward or 0.0) for t in trajectories if is_graded(t)]
    text = (
        f"No learning signal: none of {groups['total']} groups had different rewards "
        f"({groups['all_solved']} all solved, {groups['all_failed']} all failed, "
        f"{groups['too_small']} with fewer than two graded rollouts). No update was made."
    )
    messages = [Message(level="warn", code="no_signal", text=text, data={"silent_steps": silent})]
    if silent % SILENT_STEPS_TOLD == 0 and rewards:
        messages.append(Message(level="warn", code="no_signal", text=_verdict(rewards, silent)))
    return tuple(messages)


def _verdict(rewards: Sequence[float], silent: int) -> str:
    low, high = min(rewards), max(rewards)
    if high - low < 0.0005:
        seen = f"All {len(rewards)} rewards of this step are {low:.3f}"
    else:
        seen = f"The {len(rewards)} rewards of this step differ between tasks, never within one"
    advice = (
        "use harder tasks or a stricter grader"
        if low > 0.5
        else "use easier tasks, a stronger base model, or a grader that gives partial credit"
    )
    return f"{seen}, so there is nothing to learn from, for {silent} steps in a row: {advice}."
