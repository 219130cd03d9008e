"""budget: 1 while little is spent, falling to 0 at a limit. One visible part of a reward."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from graders.kinds.base import Grader, Grading, GradingError, Sample
from graders.kinds.spec import Kind, SpecReader

MEASURES = ("completion_tokens", "reasoning_tokens", "tool_calls", "turns")


@dataclass(frozen=True)
class Budget:
    """What was spent up to `free` costs nothing; from there the reward falls in a line."""

    measure: str
    free: float
    limit: float

    def grade(self, sample: Sample, item: Mapping[str, Any]) -> Grading:
        spent = getattr(sample.usage, self.measure, None)
        if spent is None and self.measure == "tool_calls":
            spent = len(sample.output_tools)
        if spent is None:
            message = (
                f"{{{{sample.usage.{self.measure}}}}} is missing: nobody counted it for this "
                "sample. A trajectory of a job has it."
            )
            return Grading(reward=None, error=GradingError("invalid_variable", message))
        over = (spent - self.free) / (self.limit - self.free)
        told = (
            f"{spent} {self.measure.replace('_', ' ')}, free to {self.free:g}, limit {self.limit:g}"
        )
        return Grading(reward=1.0 - min(1.0, max(0.0, over)), stdout=told)

    def variables(self) -> frozenset[str]:
        """A sample that a person typed has its calls, and no other count."""
        counted = self.measure == "tool_calls"
        return frozenset() if counted else frozenset({f"sample.usage.{self.measure}"})


def build(spec: SpecReader) -> Grader:
    """A grader for a budget spec."""
    free, limit = spec.number("free", least=0.0), spec.number("limit", least=0.0)
    if limit <= free:
        raise spec.refuse("limit", f"{limit:g} is not above the {free:g} that are free.")
    return Budget(spec.choice("measure", MEASURES), free, limit)


KIND = Kind(
    type="budget",
    title="Budget",
    required=frozenset({"measure", "limit"}),
    optional=frozenset({"free"}),
    build=build,
)
