"""Names and random seeds of a rollout, all derived by hashing: a resumed run gets the same ones."""

from __future__ import annotations

import hashlib
import uuid
from dataclasses import dataclass
from typing import Literal

from jobs.engine.types import Task


@dataclass(frozen=True, slots=True)
class RolloutRequest:
    """One attempt at one task. `group` is unique within its step and split."""

    task: Task
    group: str
    sample: int
    split: Literal["train", "validation"]
    step: int

    @property
    def uid(self) -> str:
        """Unique in a job."""
        letter = "t" if self.split == "train" else "v"
        return f"{letter}-{self.step}-{self.group}-{self.sample}"


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
