"""Length pressure, scaled by the group's pass rate. Torch-free."""

from __future__ import annotations

from collections.abc import Sequence


def shaped_rewards(
    rewards: Sequence[float],
    reasoning_tokens: Sequence[int],
    tool_calls: Sequence[int],
    *,
    reasoning_weight: float,
    call_weight: float,
    call_budget: int,
    token_scale: float,
) -> list[float]:
    """The rewards of one group's graded members, less what their length costs.

    R_i - p * (reasoning_weight * min(1, reasoning_i / token_scale)
               + call_weight * min(1, max(0, calls_i - call_budget) / call_budget)),
    where p, the pass rate, is the mean of the rewards clamped to 0..1. Brevity is asked for as far
    as the task is solved: an all-failed group is unchanged, so that it never learns to give up
    sooner.

    Whether a group carries signal is decided on the unshaped rewards: shaping spreads equal
    rewards apart, and an all-solved group would otherwise train on length alone.
    """
    if call_budget < 1 or token_scale <= 0:
        raise ValueError("call_budget and token_scale must be positive")
    if not rewards:
        return []
    pass_rate = sum(min(1.0, max(0.0, reward)) for reward in rewards) / len(rewards)
    return [
        reward
        - pass_rate
        * (
            reasoning_weight * min(1.0, tokens / token_scale)
            + call_weight * min(1.0, max(0, calls - call_budget) / call_budget)
        )
        for reward, tokens, calls in zip(rewards, reasoning_tokens, tool_calls, strict=True)
    ]
