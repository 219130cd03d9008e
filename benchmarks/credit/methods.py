"""The methods under comparison: what a job would have in its spec, and two that no job can have."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from unittest.mock import patch

from jobs.engine.credit import assign
from jobs.engine.credit.anchored import anchored_credit
from jobs.engine.rollout import episode, loops
from jobs.engine.spec import CreditSpec, LengthSpec, TurnRewardSpec

_NEVER = 10**9


@dataclass(frozen=True)
class Method:
    """`gated` off and `long_tail` off cannot be asked for by a job: they show what these are for.

    Where credit alone is compared, `long_tail` is off for all: a rollout that is stopped because it
    tried one key four times would add a credit of its own.
    """

    name: str
    credit: CreditSpec = field(default_factory=CreditSpec)
    gated: bool = True
    long_tail: bool = False

    @contextmanager
    def in_force(self) -> Iterator[None]:
        """The engine with what this method leaves out taken out."""
        with ExitStack() as stack:
            if not self.gated:
                ungated = partial(anchored_credit, min_share=0.0, min_evidence=-math.inf)
                stack.enter_context(patch.object(assign, "anchored_credit", ungated))
            if not self.long_tail:
                stack.enter_context(patch.object(episode, "WARN_AT", _NEVER))
                stack.enter_context(patch.object(loops, "MIN_LOOP_TOKENS", _NEVER))
            yield


GRPO = Method("grpo")
ANCHORED = Method("anchored", CreditSpec(anchored_weight=1.0))
UNGATED = Method("ungated", CreditSpec(anchored_weight=1.0), gated=False)
TURN_REWARDS = Method("turn_rewards", CreditSpec(turn_rewards=TurnRewardSpec(grader={})))
CONTROLS_ON = Method(
    "controls_on",
    CreditSpec(length=LengthSpec(call_penalty=0.2, call_budget=2)),
    long_tail=True,
)
CONTROLS_OFF = Method("controls_off")
