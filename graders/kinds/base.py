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
    "formula_parse",
    "sample_parse",
    "truncated_observation",
    "unresponsive_reward",
    "invalid_variable",
    "other",
    "python_grader_server",
    "python_grader_runtime",
    "model_grader_server",
    "model_grader_refusal",
    "model_grader_parse",
]
"""The contract's error fields, less `_error`: `truncated_observation` is a sample too long to be
graded whole, `unresponsive_reward` a grader that gave no finite number."""


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
    type: str = ""
    """The class of a server's fault, as `timeout`, where it is known."""


class TokenUsage(msgspec.Struct, frozen=True, kw_only=True):
    """Tokens that a model spent on grading, in the contract's words."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    total_tokens: int = 0
    cached_tokens: int = 0

    def __add__(self, other: TokenUsage) -> TokenUsage:
        return TokenUsage(
            prompt_tokens=self.prompt_tokens + other.prompt_tokens,
            completion_tokens=self.completion_tokens + other.completion_tokens,
            total_tokens=self.total_tokens + other.total_tokens,
            cached_tokens=self.cached_tokens + other.cached_tokens,
        )


class Grading(msgspec.Struct, frozen=True, kw_only=True):
    """The result for one sample: `reward` is None exactly when `error` is set."""

    reward: float | None
    parts: dict[str, float] = msgspec.field(default_factory=dict)
    error: GradingError | None = None
    stdout: str = ""
    seconds: float = 0.0
    usage: dict[str, TokenUsage] = msgspec.field(default_factory=dict)
    """By model; what a failed grading spent counts too."""
    sampled_model: str | None = None
    """The model that was asked, by the name it answered with; None where none was, or several."""


class Spent(msgspec.Struct, frozen=True, kw_only=True):
    """What the model spent on a sample: on a turn sample, on that turn alone."""

    completion_tokens: int
    tool_calls: int
    turns: int
    reasoning_tokens: int | None = None
    """None where they cannot be told from the others."""


class Sample(msgspec.Struct, frozen=True, kw_only=True):
    """What the model did, in the shape that templates and `grade(sample, item)` read."""

    output_text: str
    output_tools: list[dict[str, Any]] = msgspec.field(default_factory=list)
    output_json: Any = None
    has_output_json: bool = False
    choices: list[dict[str, Any]] = msgspec.field(default_factory=list)
    turn: dict[str, Any] | None = None
    """Where one turn is graded: its `index`, the `count` of turns, and the `earlier` ones."""
    trace_id: str = ""
    """The rollout's, as its tools were told; endpoint graders are told it, too."""
    usage: Spent | None = None
    """None where nobody counted, as for a sample that a person typed."""

    def as_dict(self) -> dict[str, Any]:
        """The mapping graders see; `output_json` is a key only where the output is JSON."""
        shown: dict[str, Any] = {
            "output_text": self.output_text,
            "output_tools": self.output_tools,
            "choices": self.choices,
        }
        if self.has_output_json:
            shown["output_json"] = self.output_json
        if self.turn is not None:
            shown["turn"] = self.turn
        if self.usage is not None:
            shown["usage"] = msgspec.to_builtins(self.usage)
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
