"""The contract of a grader kind: a spec in the wire format, a sample and an item in, a grading out.

A kind is a folder under `graders/kinds/` whose `kind.py` defines one `Kind`. No Django, no torch.
An error is never a score: a grading either has a finite reward or an error with a sentence.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import Any, Literal, Protocol

import msgspec

ErrorCode = Literal[
    "invalid_variable",
    "sample_parse",
    "formula_parse",
    "python_grader_runtime",
    "python_grader_server",
    "other",
]


class GraderSpecError(ValueError):
    """The spec cannot work. `param` is the dotted place in it, as `graders.accuracy.input`."""

    def __init__(self, param: str, message: str) -> None:
        super().__init__(f"{param}: {message}" if param else message)
        self.param = param
        self.message = message


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """` Did you mean `x`?`, or nothing."""
    close = difflib.get_close_matches(word, sorted(known), n=1)
    return f" Did you mean `{close[0]}`?" if close else ""


class GradingError(msgspec.Struct, frozen=True):
    """Why a sample could not be graded. `infra`: the world's fault, worth trying again."""

    code: ErrorCode
    message: str
    infra: bool = False


class Grading(msgspec.Struct, frozen=True, kw_only=True):
    """The result for one sample: `reward` is None exactly when `error` is set."""

    reward: float | None
    parts: dict[str, float] = msgspec.field(default_factory=dict)
    error: GradingError | None = None
    stdout: str = ""
    seconds: float = 0.0


class Sample(msgspec.Struct, frozen=True, kw_only=True):
    """What the model did, in the shape that templates and `grade(sample, item)` read."""

    output_text: str
    output_tools: list[dict[str, Any]] = msgspec.field(default_factory=list)
    output_json: Any = None
    has_output_json: bool = False
    choices: list[dict[str, Any]] = msgspec.field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """The mapping graders see; `output_json` is a key only where the output is JSON."""
        shown: dict[str, Any] = {
            "output_text": self.output_text,
            "output_tools": self.output_tools,
            "choices": self.choices,
        }
        if self.has_output_json:
            shown["output_json"] = self.output_json
        return shown


class PythonRunner(Protocol):
    """Runs user Python out of reach; the sandbox implements it."""

    def run(self, source: str, sample: Mapping[str, Any], item: Mapping[str, Any]) -> Grading: ...


class Grader(Protocol):
    """A grader that is ready to use; safe to call from several threads."""

    def grade(self, sample: Sample, item: Mapping[str, Any]) -> Grading: ...

    def variables(self) -> frozenset[str]:
        """Template paths that it reads, as `item.ground_truth`."""
        ...
