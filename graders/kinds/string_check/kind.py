"""string_check: 1 where two texts compare as wanted, else 0."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from graders.kinds.base import Grader, Grading, Sample
from graders.kinds.spec import Kind, SpecReader
from graders.kinds.templates import MissingVariable, Template

OPERATIONS: dict[str, Callable[[str, str], bool]] = {
    "eq": lambda text, reference: text == reference,
    "ne": lambda text, reference: text != reference,
    "neq": lambda text, reference: text != reference,
    "like": lambda text, reference: reference in text,
    "ilike": lambda text, reference: reference.casefold() in text.casefold(),
}


@dataclass(frozen=True)
class StringCheck:
    """Compares two rendered templates."""

    input: Template
    reference: Template
    holds: Callable[[str, str], bool]

    def grade(self, sample: Sample, item: Mapping[str, Any]) -> Grading:
        try:
            text, reference = self.input.of(sample, item), self.reference.of(sample, item)
        except MissingVariable as error:
            return error.grading
        return Grading(reward=1.0 if self.holds(text, reference) else 0.0)

    def variables(self) -> frozenset[str]:
        return self.input.variables() | self.reference.variables()


def build(spec: SpecReader) -> Grader:
    """A grader for a string_check spec."""
    operation = spec.choice("operation", OPERATIONS)
    return StringCheck(spec.template("input"), spec.template("reference"), OPERATIONS[operation])


KIND = Kind(
    type="string_check",
    title="Text check",
    required=frozenset({"input", "reference", "operation"}),
    optional=frozenset(),
    build=build,
)
