"""Names and random seeds of a rollout, all derived by hashing: a resumed run gets the same ones."""

from __future__ import annotations

import hashlib
import uuid
from dataclasses import dataclass
from typing import Literal

import msgspec

from jobs.engine.rollout.replay import Record
from jobs.engine.types import Task, TokenKind, Trajectory, Turn


@dataclass(frozen=True, slots=True)
class Prefix:
    """How a continuation begins: with all of `parent` that was there before its turn `turn`.

    That is after the tool results of the turn before. `k` tells continuations of one place apart;
    `record` answers the calls that must not be made again.
    """

    parent: Trajectory
    turn: int
    k: int
    record: Record

    @property
    def uid(self) -> str:
        return continuation_uid(self.parent.uid, self.turn, self.k)

    @property
    def ids(self) -> list[int]:
        return self.parent.ids[: self._end]

    @property
    def kinds(self) -> list[int]:
        """Nothing of it was sampled by the continuation, so nothing of it may train again."""
        return [
            int(TokenKind.PROMPT) if kind == TokenKind.SAMPLED else kind
            for kind in self.parent.kinds[: self._end]
        ]

    @property
    def turns(self) -> list[Turn]:
        """Copies, without what was found out about the parent's turns."""
        return [
            msgspec.structs.replace(turn, calls=list(turn.calls), score=None, measured=None)
            for turn in self.parent.turns[: self.turn]
        ]

    @property
    def sampled_tokens(self) -> int:
        """What the parent had used of its budget by then."""
        return sum(kind == TokenKind.SAMPLED for kind in self.parent.kinds[: self._end])

    @property
    def _end(self) -> int:
        return self.parent.turns[self.turn].start


@dataclass(frozen=True, slots=True)
class RolloutRequest:
    """One attempt at one task. `group` is unique within its step and split."""

    task: Task
    group: str
    sample: int
    split: Literal["train", "validation", "preflight", "playground"]
    step: int
    prefix: Prefix | None = None

    @property
    def uid(self) -> str:
        """Unique in a job."""
        if self.prefix is not None:
            return self.prefix.uid
        return f"{self.split[0]}-{self.step}-{self.group}-{self.sample}"


def continuation_uid(parent: str, turn: int, k: int) -> str:
    """Unique in a job, as its seeds, ids and trace are derived from it."""
    return f"{parent}-c{turn}-{k}"


def _digest(*parts: object, size: int) -> bytes:
    # Each part is prefixed with its length, so that no two lists of parts read the same.
    joined = "".join(f"{len(str(part))}:{part}" for part in parts)
    return hashlib.blake2b(joined.encode("utf-8", "replace"), digest_size=size).digest()


def turn_seed(seed: int, request: RolloutRequest, turn: int) -> int:
    """The seed of one turn's random numbers, 64 bits."""
    return int.from_bytes(_digest("turn", seed, request.uid, turn, size=8), "big")


def trace_id(run_id: str, request: RolloutRequest) -> str:
    """The id that all tool calls of a rollout and its grader call share."""
    return "trace_" + uuid.UUID(bytes=_digest("trace", run_id, request.uid, size=16), version=4).hex


def call_id(run_id: str, request: RolloutRequest, turn: int, call: int) -> str:
    """The id of one call."""
    return "call_" + _digest("call", run_id, request.uid, turn, call, size=12).hex()


def idempotency_key(run_id: str, request: RolloutRequest, turn: int, call: int) -> str:
    """Stable across retries and resumes, and different for every call."""
    return _digest("key", run_id, request.uid, turn, call, size=16).hex()
