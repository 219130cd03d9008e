"""Which ratios of a token a loss takes as they are. Torch-free, so that pages can tell."""

from __future__ import annotations

CLIP_LOW = 0.2
CLIP_HIGH = 0.28
"""PPO's, with the asymmetric bounds of DAPO."""


def ratio_range(loss: str, ratio_max: float) -> tuple[float, float] | None:
    """None where a loss clips no token by its ratio: not at all, or by something else."""
    if loss == "cispo":
        return 0.0, ratio_max
    if loss in {"ppo_clip", "dual_clip"}:
        return 1 - CLIP_LOW, min(1 + CLIP_HIGH, ratio_max)
    return None
