"""score_model: a judge gives a number, which is clamped to a range."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import Any

from graders.kinds.base import Grader
from graders.kinds.judging.chat import UnusableReply
from graders.kinds.judging.grader import JudgeGrader, read_model, read_question
from graders.kinds.judging.sampling import read_sampling
from graders.kinds.spec import Kind, SpecReader
from hone.core.net.line import shown


@dataclass(frozen=True)
class Range:
    """The least and the greatest reward."""

    low: float = 0.0
    high: float = 1.0

    def reward_of(self, result: Any) -> float:
        """Clamped; a boolean, a text or what is not finite is no number."""
        if type(result) not in {int, float}:
            text = shown(json.dumps(result))[:80]
            raise UnusableReply(f"the judge's result is no number: {text}")
        if isinstance(result, float) and not math.isfinite(result):
            raise UnusableReply(f"the judge's result is not finite: {result}")
        return float(min(max(result, self.low), self.high))


def build(spec: SpecReader) -> Grader:
    """A grader for a score_model spec."""
    return JudgeGrader(
        model=read_model(spec),
        messages=read_question(spec),
        name="score",
        result={"type": "number"},
        sampling=read_sampling(spec),
        judges=spec.hooks.outside.judges,
        reward_of=_range(spec).reward_of,
    )


def _range(spec: SpecReader) -> Range:
    if not spec.has("range"):
        return Range()
    given = spec.value("range")
    pair = isinstance(given, list) and len(given) == 2
    if not pair or not all(type(n) in {int, float} and abs(n) <= 1e300 for n in given):
        raise spec.refuse("range", "It is no list of two numbers. Write [0, 1], say.")
    low, high = map(float, given)
    if not low < high:
        raise spec.refuse("range", f"{low:g} is not below {high:g}. Write the lesser first.")
    return Range(low, high)


KIND = Kind(
    type="score_model",
    title="Judge: a score",
    required=frozenset({"model", "input"}),
    optional=frozenset({"range", "sampling_params"}),
    build=build,
)
