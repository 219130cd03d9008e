"""json_schema_match: 1 where the answer is JSON that a schema allows, else 0 or a share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from graders.kinds.base import Grader, Grading, GradingError, Sample
from graders.kinds.json_schema_match.schema import BadSchema, Breach, Schema, TooSlow
from graders.kinds.spec import Kind, SpecReader
from graders.kinds.templates import OUTPUT_TEXT, MissingVariable, Template
from graders.kinds.values import NotJson, read_json, storable

MOST_SHOWN = 10


@dataclass(frozen=True)
class JsonSchemaMatch:
    """Reads a rendered template as JSON. Text that is no JSON is the model's doing: it earns 0."""

    input: Template
    schema: Schema
    partial: bool

    def grade(self, sample: Sample, item: Mapping[str, Any]) -> Grading:
        try:
            value = read_json(self.input.of(sample, item))
            breaches = self.schema.breaches(value)
        except MissingVariable as error:
            return error.grading
        except NotJson as error:
            return Grading(reward=0.0, stdout=f"This is no JSON: {storable(str(error))}")
        except TooSlow as error:
            return Grading(reward=None, error=GradingError("other", str(error)))
        share = self.schema.share(value, breaches) if self.partial else float(not breaches)
        return Grading(reward=share, stdout=_told(breaches))

    def variables(self) -> frozenset[str]:
        return self.input.variables()


def _told(breaches: list[Breach]) -> str:
    lines = [f"{'.'.join(map(str, each.path)) or 'It'}: {each.message}" for each in breaches]
    more = len(lines) - MOST_SHOWN
    shown = lines[:MOST_SHOWN] + ([f"and {more} more"] if more > 0 else [])
    return "\n".join(storable(line) for line in shown)


def build(spec: SpecReader) -> Grader:
    """A grader for a json_schema_match spec."""
    try:
        schema = Schema(spec.mapping("schema"))
    except BadSchema as error:
        raise spec.refuse("schema", str(error)) from error
    return JsonSchemaMatch(spec.template("input", OUTPUT_TEXT), schema, spec.flag("partial"))


KIND = Kind(
    type="json_schema_match",
    title="JSON schema",
    required=frozenset({"schema"}),
    optional=frozenset({"input", "partial"}),
    build=build,
)
