"""numeric_match: 1 where the number of the answer is close enough to that of the reference."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from graders.kinds.base import Grader, Grading, GradingError, Sample
from graders.kinds.numeric_match.numbers import Number, numbers
from graders.kinds.numeric_match.units import Unit, UnknownUnit
from graders.kinds.spec import Kind, SpecReader
from graders.kinds.templates import OUTPUT_TEXT, MissingVariable, Template
from graders.kinds.values import storable

LONGEST = 200_000
RELATIVE = 1e-9
"""Where no tolerance is given: numbers that are written differently are still the same."""


MOST_TRIED = 1000
"""Numbers whose units are read until one fits."""
TAKES = ("last", "first", "only")


@dataclass(frozen=True)
class NumericMatch:
    """Compares a number of one rendered template with that of another."""

    input: Template
    reference: Template
    take: str
    absolute: float
    relative: float
    comma: bool
    unit: Unit | None
    unit_required: bool

    def grade(self, sample: Sample, item: Mapping[str, Any]) -> Grading:
        try:
            text, reference = self.input.of(sample, item), self.reference.of(sample, item)
        except MissingVariable as error:
            return error.grading
        if len(text) > LONGEST:
            message = f"The text has {len(text)} characters; at most {LONGEST} are searched."
            return Grading(reward=None, error=GradingError("truncated_observation", message))
        wanted = self._taken(reference[:LONGEST], bare=True)
        if wanted is None:
            message = f"The reference {storable(reference)!r} holds no number that can be taken."
            return Grading(reward=None, error=GradingError("invalid_variable", message))
        found = self._taken(text, bare=not self.unit_required)
        if found is None:
            return Grading(reward=0.0, stdout="The answer holds no number that can be taken.")
        allowed = max(self.absolute, self.relative * abs(wanted))
        told = f"{found:.12g} against {wanted:.12g}"
        return Grading(reward=float(abs(found - wanted) <= allowed), stdout=told)

    def variables(self) -> frozenset[str]:
        return self.input.variables() | self.reference.variables()

    def _taken(self, text: str, *, bare: bool) -> float | None:
        """The number that counts, in the unit that is wanted; others of another kind do not."""
        found = list(numbers(text.translate(_SWAPPED) if self.comma else text))
        if self.take == "last":
            found.reverse()
        values = self._converted(found[:MOST_TRIED], bare=bare)
        taken = next(values, None)
        if self.take == "only" and (len(found) > MOST_TRIED or next(values, None) is not None):
            return None
        return taken

    def _converted(self, found: Iterable[Number], *, bare: bool) -> Iterator[float]:
        for number in found:
            value: float | None = number.value
            if self.unit is not None:
                value = self.unit.converted(number.value, number.words, bare=bare)
            if value is not None:
                yield value


_SWAPPED = str.maketrans(",.", ".,")


def build(spec: SpecReader) -> Grader:
    """A grader for a numeric_match spec."""
    if spec.has("unit_required") and not spec.has("unit"):
        raise spec.refuse("unit_required", "There is no `unit` that could be required. Add it.")
    given = spec.has("absolute_tolerance") or spec.has("relative_tolerance")
    return NumericMatch(
        input=spec.template("input", OUTPUT_TEXT),
        reference=spec.template("reference"),
        take=spec.choice("take", TAKES, "last"),
        absolute=spec.number("absolute_tolerance", default=0.0, least=0.0),
        relative=spec.number("relative_tolerance", default=0.0 if given else RELATIVE, least=0.0),
        comma=spec.choice("decimal_mark", (".", ","), ".") == ",",
        unit=_unit(spec),
        unit_required=spec.flag("unit_required"),
    )


def _unit(spec: SpecReader) -> Unit | None:
    if not spec.has("unit"):
        return None
    try:
        return Unit(spec.text("unit"))
    except UnknownUnit as error:
        raise spec.refuse("unit", str(error)) from error


KIND = Kind(
    type="numeric_match",
    title="Number",
    required=frozenset({"reference"}),
    optional=frozenset(
        {
            "input",
            "absolute_tolerance",
            "relative_tolerance",
            "take",
            "unit",
            "unit_required",
            "decimal_mark",
        }
    ),
    build=build,
)
