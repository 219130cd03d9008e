"""The demo job's settings, found by trial on two cores."""

from __future__ import annotations

from typing import Any


def demo_hyperparameters() -> dict[str, Any]:
    """What the demo asks for instead of "auto"."""
    return {
        "steps": 60,
        "batch_size": 8,
        "group_size": 8,
        "learning_rate": 5e-4,
        "eval_interval": 20,
        "eval_samples": 1,
        "max_tool_calls": 10,
        "max_turn_tokens": 64,
    }
