"""The kinds of grader, and the way from a spec to a grader that is ready to use."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from graders.kinds.base import (
    Grader,
    GraderSpecError,
    Grading,
    GradingError,
    PythonRunner,
    Sample,
    did_you_mean,
)
from graders.kinds.budget.kind import KIND as BUDGET
from graders.kinds.endpoint.kind import KIND as ENDPOINT
from graders.kinds.json_schema_match.kind import KIND as JSON_SCHEMA_MATCH
from graders.kinds.label_model.kind import KIND as LABEL_MODEL
from graders.kinds.multi.kind import KIND as MULTI
from graders.kinds.numeric_match.kind import KIND as NUMERIC_MATCH
from graders.kinds.outside import Outside
from graders.kinds.python.kind import KIND as PYTHON
from graders.kinds.score_model.kind import KIND as SCORE_MODEL
from graders.kinds.spec import Hooks, Kind, SpecReader
from graders.kinds.string_check.kind import KIND as STRING_CHECK
from graders.kinds.text_similarity.kind import KIND as TEXT_SIMILARITY
from graders.kinds.tool_trace.kind import KIND as TOOL_TRACE

KINDS: dict[str, Kind] = {
    kind.type: kind
    for kind in (
        STRING_CHECK,
        TEXT_SIMILARITY,
        NUMERIC_MATCH,
        JSON_SCHEMA_MATCH,
        TOOL_TRACE,
        BUDGET,
        SCORE_MODEL,
        LABEL_MODEL,
        PYTHON,
        ENDPOINT,
        MULTI,
    )
}


def load_grader(
    spec: Mapping[str, Any],
    *,
    python: PythonRunner | None = None,
    outside: Outside | None = None,
) -> Grader:
    """A grader for `spec`; raises GraderSpecError.

    `python` runs the source of `python` graders; without it each grading of one is an error.
    `outside` is whom judges' graders, endpoint graders and `cosine` call; without it each grading
    of one is an error.
    """
    hooks = Hooks(python or _NoPython(), outside or Outside())
    return _load(spec, hooks, param="", inside=None)


def validate_spec(spec: Mapping[str, Any]) -> None:
    """Raises GraderSpecError, naming the place, where no grader can be made of `spec`."""
    load_grader(spec)


def _load(spec: Any, hooks: Hooks, *, param: str, inside: str | None) -> Grader:
    if not isinstance(spec, Mapping):
        raise GraderSpecError(param, "A grader is an object with a `type`.")
    place = f"{param}.type" if param else "type"
    name = spec.get("type")
    if not isinstance(name, str) or name not in KINDS:
        raise GraderSpecError(
            place,
            f"{str(name)[:60]!r} is no kind of grader. There are {', '.join(KINDS)}."
            f"{did_you_mean(str(name), KINDS)}",
        )
    if inside == name == MULTI.type:
        raise GraderSpecError(
            place, "A multi grader inside a multi grader is not possible. Put its parts here."
        )

    def load_child(child: Any, child_param: str, parent: str | None) -> Grader:
        return _load(child, hooks, param=child_param, inside=parent)

    kind = KINDS[name]
    reader = SpecReader(spec, kind, param=param, hooks=hooks, load=load_child)
    return _Checked(kind.build(reader))


@dataclass(frozen=True)
class _Checked:
    """Around every grader: takes the time, and lets no reward out that is not a finite float."""

    inner: Grader

    def grade(self, sample: Sample, item: Mapping[str, Any]) -> Grading:
        started = time.perf_counter()
        grading = self.inner.grade(sample, item)
        seconds = time.perf_counter() - started
        if grading.error is None and not _finite(grading.reward):
            message = f"The grader gave {grading.reward!r}, which is no finite number."
            wrong = GradingError("unresponsive_reward", message)
            grading = msgspec.structs.replace(grading, reward=None, error=wrong)
        return msgspec.structs.replace(grading, seconds=seconds)

    def variables(self) -> frozenset[str]:
        return self.inner.variables()


def _finite(reward: float | None) -> bool:
    return type(reward) is float and math.isfinite(reward)


class _NoPython:
    """Stands where no sandbox was given."""

    def run(self, source: str, sample: Mapping[str, Any], item: Mapping[str, Any]) -> Grading:
        message = "This place was given no sandbox, so it runs no Python graders."
        return Grading(reward=None, error=GradingError("python_grader_server", message, infra=True))
