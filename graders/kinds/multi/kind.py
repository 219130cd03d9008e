"""multi: several graders by name, and a formula over their rewards."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from graders.kinds.base import Grader, Grading, GradingError, Sample, TokenUsage
from graders.kinds.multi.formula import Formula, FormulaError
from graders.kinds.spec import Kind, SpecReader

MOST_GRADERS = 32
_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")


@dataclass(frozen=True)
class MultiGrader:
    """Grades with each child; the parts are the children's rewards, before any weight."""

    graders: Mapping[str, Grader]
    formula: Formula

    def grade(self, sample: Sample, item: Mapping[str, Any]) -> Grading:
        parts: dict[str, float] = {}
        stdout: list[str] = []
        usage: dict[str, TokenUsage] = {}
        reward, wrong = None, None
        for key, grader in self.graders.items():
            grading = grader.grade(sample, item)
            if grading.stdout:
                stdout.append(f"{key}: {grading.stdout}")
            for model, spent in grading.usage.items():
                usage[model] = usage.get(model, TokenUsage()) + spent
            if grading.error is not None or grading.reward is None:
                cause = grading.error or GradingError("unresponsive_reward", "It gave no reward.")
                wrong = msgspec.structs.replace(cause, message=f"{key}: {cause.message}")
                break
            parts[key] = grading.reward
        if wrong is None:
            try:
                reward = self.formula.value(parts)
            except FormulaError as error:
                wrong = GradingError("formula_parse", f"calculate_output: {error}")
        return Grading(
            reward=reward, parts=parts, error=wrong, stdout="\n".join(stdout), usage=usage
        )

    def variables(self) -> frozenset[str]:
        return frozenset().union(*(grader.variables() for grader in self.graders.values()))


def build(spec: SpecReader) -> Grader:
    """A grader for a multi spec."""
    children = spec.children("graders")
    if not 1 <= len(children) <= MOST_GRADERS:
        raise spec.refuse("graders", f"{len(children)} graders; 1 to {MOST_GRADERS} are possible.")
    for key in children:
        if not isinstance(key, str) or not _KEY.fullmatch(key):
            raise spec.refuse(
                "graders",
                f"{str(key)[:80]!r} cannot be a variable of `calculate_output`. Use letters, "
                "digits and underscores.",
            )
    graders = {key: spec.load(child, f"graders.{key}") for key, child in children.items()}
    try:
        formula = Formula(spec.text("calculate_output"), set(graders))
    except FormulaError as error:
        raise spec.refuse("calculate_output", str(error)) from error
    return MultiGrader(graders, formula)


KIND = Kind(
    type="multi",
    title="Several, with a formula",
    required=frozenset({"graders", "calculate_output"}),
    optional=frozenset(),
    build=build,
)
