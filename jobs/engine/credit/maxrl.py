"""Mean-centred rewards over the group's mean (MaxRL): a task weighs about 1 / its pass rate.

The divisor is at least 1 / the group's size, the least pass rate above 0: so rewards that are not
0 or 1 weigh no more than a lone success, however small their mean is.
"""

from __future__ import annotations

from collections.abc import Sequence


def maxrl(rewards: Sequence[float]) -> list[float]:
    mean = sum(rewards) / len(rewards)
    if mean <= 0:
        # No pass rate to divide by; a negative one would turn the signs around.
        return [0.0] * len(rewards)
    divisor = max(mean, 1 / len(rewards))
    return [(reward - mean) / divisor for reward in rewards]
