"""The nouns of the engine: a trajectory is a token list; text is derived from it. Torch-free."""

from __future__ import annotations

from enum import IntEnum, StrEnum
from typing import Any, Literal

import msgspec


class TokenKind(IntEnum):
    """Who wrote a token. Only SAMPLED tokens are trained."""

    PROMPT = 0
    SAMPLED = 1
    TOOL = 2
    SCAFFOLD = 3
    LOOP = 4


class StopReason(StrEnum):
    """Why a rollout ended. Faults are the world's doing: such a rollout has no reward."""

    FINAL_ANSWER = "final_answer"
    TURN_LIMIT = "turn_limit"
    CALL_LIMIT = "call_limit"
    TURN_TOKEN_LIMIT = "turn_token_limit"
    TOKEN_LIMIT = "token_limit"
    CONTEXT_LIMIT = "context_limit"
    TIME_LIMIT = "time_limit"
    TOKEN_LOOP = "token_loop"
    TOOL_LOOP = "tool_loop"
    TOOL_FAULT = "tool_fault"
    GRADER_FAULT = "grader_fault"


FAULTS = frozenset({StopReason.TIME_LIMIT, StopReason.TOOL_FAULT, StopReason.GRADER_FAULT})
"""Stops that never train. How long a rollout takes is decided by the machine it runs on, by its
neighbours in the batch and by its tools, so the clock is no judge of the model either."""

LIMIT_STOPS = frozenset(StopReason) - FAULTS - {StopReason.FINAL_ANSWER}
"""Stops that are graded and then clamped to at most zero."""


UNKNOWN_TOOL = "unknown tool"
"""How the error of a call begins whose tool does not exist."""


class Task(msgspec.Struct, frozen=True):
    """One dataset row: `item` is the whole row as sent to tools and graders."""

    row: int
    messages: tuple[dict[str, Any], ...]
    tools: tuple[dict[str, Any], ...]
    item: dict[str, Any]


class ToolCall(msgspec.Struct, kw_only=True):
    """One call and what came of it. `arguments` is the JSON string that went over the wire."""

    id: str
    name: str
    arguments: str
    output: str | None = None
    status: Literal["pending", "ok", "tool_error", "malformed", "fault"] = "pending"
    http_status: int | None = None
    attempts: int = 0
    seconds: float = 0.0
    bytes_sent: int = 0
    bytes_received: int = 0
    error: str = ""


class Measured(msgspec.Struct, frozen=True, kw_only=True):
    """What a turn changed: the mean reward of continuations after it minus of those before it.

    `n`: continuations that could be used, of both sides. It is measured whether or not it trains.
    """

    delta: float
    n: int
    interval: tuple[float, float]
    unusable: int = 0


class Turn(msgspec.Struct, kw_only=True):
    """One model output with its calls. `start`..`end`: the sampled tokens, end exclusive."""

    index: int
    start: int
    end: int
    text: str
    reasoning: str = ""
    content: str = ""
    calls: list[ToolCall] = msgspec.field(default_factory=list)
    seconds: float = 0.0
    score: float | None = None
    """What a turn grader, a judge or the gold answer gave it; None: unscored."""
    measured: Measured | None = None

    @property
    def tokens(self) -> int:
        return self.end - self.start

    @property
    def reasoning_tokens(self) -> int:
        """Those of the reasoning, by its share of the turn's characters."""
        return round(self.tokens * len(self.reasoning) / max(1, len(self.text)))


class Attribution(msgspec.Struct, frozen=True, kw_only=True):
    """The credit of one turn (reference 2.3): additive, so `total` is what was trained on.

    `tool_call_id` names the turn's only call; it is None for an answer or several calls, because
    the credit of several calls cannot be told apart.
    """

    turn: int
    tool_call_id: str | None
    episode: float
    step: float = 0.0
    process: float = 0.0
    counterfactual: float = 0.0
    n: int = 0
    """Comparable siblings behind the step term, or continuations behind the counterfactual one."""
    interval: tuple[float, float] | None = None
    own: float | None = None
    """The discounted return of this turn where siblings met its state; None in older records."""
    anchor: float | None = None
    """The mean of such returns over all turns that met the state."""
    actions: int | None = None
    """How many different things were done there; None where it is not kept."""

    @property
    def has_own_evidence(self) -> bool:
        """Whether anything but the whole attempt speaks: a comparison of different actions, a
        score or continuations. Where all did the same, the step term repeats the outcome."""
        compared = self.n >= 2 and (self.actions is None or self.actions >= 2)
        return bool(self.process or self.counterfactual) or compared

    @property
    def total(self) -> float:
        return self.episode + self.step + self.process + self.counterfactual


class Received(msgspec.Struct, frozen=True, kw_only=True):
    """What the optimiser received of a trained rollout, read off the batch that the loss got.

    `row` None: it was in no packed row, as each of its advantages is 0. Rows are counted over the
    whole step, from 0.
    """

    row: int | None = None
    sha256: str = ""
    """The first 16 digits, of the row as it was packed."""
    total: float | None = 0.0
    """Σ of advantage over the trained tokens; None where that is not finite."""
    log_ratios: bytes = b""
    """log(trainer / sampler) before the update, one a trained token in their order, within ±20.

    Little-endian half precision: 2 bytes a token, right to 1 part in 2,048.
    """


class Trajectory(msgspec.Struct, kw_only=True):
    """One attempt at one task.

    Invariant: `ids`, `logprobs`, `entropies` and `kinds` have one entry per token; a token that
    was not sampled has log-probability and entropy 0. The token list is never re-encoded.
    """

    uid: str
    row: int
    group: str
    sample: int
    split: Literal["train", "validation", "preflight", "playground"]
    trace_id: str
    ids: list[int]
    logprobs: list[float]
    entropies: list[float]
    kinds: list[int]
    turns: list[Turn] = msgspec.field(default_factory=list)
    stop: StopReason | None = None
    reward: float | None = None
    """None: ungraded. Never trained, in no mean, in no baseline."""
    parts: dict[str, float] = msgspec.field(default_factory=dict)
    grading: dict[str, Any] = msgspec.field(default_factory=dict)
    advantage: float | None = None
    """The episode term alone, the same for every turn."""
    attribution: list[Attribution] = msgspec.field(default_factory=list)
    """One a turn where the rollout is trained; empty elsewhere. Its totals are trained on."""
    trained: bool = False
    received: Received | None = None
    """None where it is not trained, and in records from before it was kept."""
    cause: str = ""
    seconds: float = 0.0

    @property
    def calls(self) -> list[ToolCall]:
        return [call for turn in self.turns for call in turn.calls]

    @property
    def sampled_tokens(self) -> int:
        return sum(kind in (TokenKind.SAMPLED, TokenKind.LOOP) for kind in self.kinds)

    @property
    def reasoning_tokens(self) -> int:
        return sum(turn.reasoning_tokens for turn in self.turns)

    @property
    def trained_places(self) -> list[int]:
        """Of sampled tokens; but the first has nothing before it to be predicted from."""
        kinds = enumerate(self.kinds)
        return [place for place, kind in kinds if kind == TokenKind.SAMPLED and place]

    @property
    def trained_tokens(self) -> int:
        return len(self.trained_places)

    @property
    def answer(self) -> str:
        """The text the graders see: the content of the last turn."""
        return self.turns[-1].content if self.turns else ""
