"""The sampler protocol: token ids in, token ids with log-probabilities out. Torch-free."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable


@dataclass(frozen=True, slots=True)
class SampleRequest:
    """One turn to sample. `temperature` 0 means the likeliest token, each time.

    `order` is the canonical place of the request among those of one lock-step batch.
    """

    ids: Sequence[int]
    max_tokens: int
    temperature: float
    seed: int
    order: int = 0


@dataclass(frozen=True, slots=True)
class Sampled:
    """What was sampled; the stop token itself is the last of `ids`.

    `logprobs` and `entropies` (nats) are those of the distribution that was sampled from, that is
    of `logits / temperature` (of the plain logits where the temperature is 0). `loop_start` is
    the index in `ids` from which a detected loop is no longer worth training on.
    """

    ids: list[int]
    logprobs: list[float]
    entropies: list[float]
    finish: Literal["stop", "length", "loop"]
    loop_start: int | None = None


class Sampler(Protocol):
    """Samples turns for many rollouts at once."""

    @property
    def name(self) -> str: ...

    async def generate(self, request: SampleRequest) -> Sampled: ...

    def weights_changed(self) -> None:
        """Forget everything computed with the old weights. Never called during `generate`."""
        ...


@runtime_checkable
class CountsRollouts(Protocol):
    """A sampler that needs to know how many rollouts run, as lock-step sampling does."""

    def enter(self, rollouts: int) -> None:
        """So many rollouts begin; each will call `generate` or leave."""
        ...

    def leave(self) -> None:
        """One rollout has ended."""
        ...
