"""One optimiser step over one batch of rollouts, and what it did.

Shapes: B = rollouts of a micro-batch, T = its longest rollout, N = its trained tokens.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from jobs.engine.learning.logprobs import token_logprobs, tree_logprobs
from jobs.engine.learning.losses.base import PolicyLoss, importance_ratio
from jobs.engine.learning.model import Policy
from jobs.engine.learning.packing import MicroBatch, pack
from jobs.engine.learning.tree import TreeBatch, can_use_trees, pack_trees
from jobs.engine.spec import JobSpec
from jobs.engine.types import Trajectory

GRAD_NORM_MAX = 1.0
CPU_BATCH_TOKENS = 4096
"""On a CPU larger micro-batches gain nothing, and pad more: 20 % slower with 16,384 tokens."""
CPU_ROW_TOKENS = 1024
"""Trees share a row up to here: beyond, their dense mask costs a CPU more than it saves."""
BETAS = (0.9, 0.95)


@dataclass(slots=True)
class _Sums:
    """Running totals over micro-batches; `total`: the tokens of the whole step, known before."""

    total: int
    tokens: int = 0
    loss: float = 0.0
    entropy: float = 0.0
    mismatch: float = 0.0
    ratio: float = 0.0
    ratio_squared: float = 0.0
    clipped: int = 0


@dataclass(frozen=True, slots=True)
class LearningReport:
    """What one optimiser step did; None where there was nothing to measure."""

    updated: bool = False
    tokens_trained: int = 0
    skipped_non_finite: int = 0
    learning_rate: float = 0.0
    loss: float | None = None
    grad_norm: float | None = None
    entropy: float | None = None
    mismatch_kl: float | None = None
    effective_sample_size: float | None = None
    ratio_clipped: float | None = None

    def as_dict(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__dataclass_fields__}


@dataclass(slots=True)
class Learner:
    """The policy's optimiser. `updates` counts the steps that it has taken."""

    policy: Policy
    spec: JobSpec
    loss: PolicyLoss
    updates: int = 0
    optimiser: torch.optim.AdamW = field(init=False)

    def __post_init__(self) -> None:
        parameters = [parameter for _, parameter in self.policy.trainable]
        self.optimiser = torch.optim.AdamW(
            parameters, lr=self.spec.learning_rate, betas=BETAS, weight_decay=0.0
        )

    @property
    def learning_rate(self) -> float:
        """Linear up to the constant rate over the warm-up, by updates taken."""
        warmup = self.spec.warmup_steps
        share = min(1.0, (self.updates + 1) / warmup) if warmup else 1.0
        return self.spec.learning_rate * share

    def step(
        self, trajectories: Sequence[Trajectory], check: Callable[[], None] = lambda: None
    ) -> LearningReport:
        """Update on the trained rollouts; `check` runs before each micro-batch and may raise."""
        members = [member for member in trajectories if member.trained]
        total = sum(member.trained_tokens for member in members)
        if total == 0:
            return LearningReport(learning_rate=self.learning_rate)
        self.optimiser.zero_grad(set_to_none=True)
        sums = _Sums(total)
        for batch in self._batches(members, total):
            check()
            self._accumulate(batch.to(self.policy.device), sums)
        return self._apply(sums)

    def _batches(
        self, members: Sequence[Trajectory], total: int
    ) -> Sequence[MicroBatch | TreeBatch]:
        """A rollout at exactly its group's mean has no gradient: it counts, and is not computed."""
        moving = [m for m in members if m.advantage and m.trained_tokens]
        scaled = [float(m.advantage or 0.0) / total for m in moving]
        budget = row = self.spec.micro_batch_tokens
        if self.policy.device.type == "cpu":
            budget, row = min(budget, CPU_BATCH_TOKENS), min(budget, CPU_ROW_TOKENS)
        if not can_use_trees(self.policy.model.config):
            return pack(moving, scaled, token_budget=budget)
        return pack_trees(moving, scaled, token_budget=budget, row_tokens=row)

    def _logprobs(self, batch: MicroBatch | TreeBatch) -> tuple[Tensor, Tensor]:
        model, temperature = self.policy.model, self.spec.temperature
        if isinstance(batch, TreeBatch):
            return tree_logprobs(model, batch, temperature=temperature)
        return token_logprobs(model, batch.ids_BT, batch.mask_BT, temperature=temperature)

    def _accumulate(self, batch: MicroBatch | TreeBatch, sums: _Sums) -> None:
        logprobs_N, entropy_N = self._logprobs(batch)
        anchor_N, advantages_N = batch.anchor_N, batch.advantages_N
        terms_N = self.loss(
            logprobs_N,
            anchor_N,
            advantages_N,
            ratio_max=self.spec.ratio_max,
            owner_N=batch.owner_N,
            weight=1 / sums.total,
        )
        loss = terms_N.sum()
        loss.backward()  # type: ignore[no-untyped-call]
        _note(sums, loss.detach(), logprobs_N.detach(), anchor_N, entropy_N, self.spec.ratio_max)

    def _apply(self, sums: _Sums) -> LearningReport:
        parameters = [parameter for _, parameter in self.policy.trainable]
        norm = float(torch.nn.utils.clip_grad_norm_(parameters, GRAD_NORM_MAX))
        rate = self.learning_rate
        finite = math.isfinite(norm) and math.isfinite(sums.loss)
        if finite:
            for group in self.optimiser.param_groups:
                group["lr"] = rate
            self.optimiser.step()
            self.updates += 1
        self.optimiser.zero_grad(set_to_none=True)
        measured = max(1, sums.tokens)
        return LearningReport(
            updated=finite,
            tokens_trained=sums.total,
            skipped_non_finite=int(not finite),
            learning_rate=rate,
            loss=_finite(sums.loss),
            grad_norm=_finite(norm),
            entropy=_finite(sums.entropy / measured),
            mismatch_kl=_finite(sums.mismatch / measured),
            effective_sample_size=_effective(sums),
            ratio_clipped=sums.clipped / measured,
        )

    def optimiser_tensors(self) -> dict[str, Tensor]:
        """The state of AdamW as flat named tensors, without pickle."""
        flat: dict[str, Tensor] = {}
        for name, parameter in self.policy.trainable:
            for key, value in sorted(self.optimiser.state.get(parameter, {}).items()):
                flat[f"{name}/{key}"] = torch.as_tensor(value).detach().cpu().clone()
        return flat

    def optimiser_load(self, flat: dict[str, Tensor]) -> None:
        self.optimiser.state.clear()
        for name, parameter in self.policy.trainable:
            prefix = f"{name}/"
            state = {
                key.removeprefix(prefix): value
                for key, value in flat.items()
                if key.startswith(prefix)
            }
            if state:
                self.optimiser.state[parameter] = {
                    # AdamW keeps its step counts on the CPU.
                    key: value if key == "step" else value.to(parameter.device)
                    for key, value in state.items()
                }


def _note(
    sums: _Sums, loss: Tensor, logprobs_N: Tensor, anchor_N: Tensor, entropy_N: Tensor, top: float
) -> None:
    ratio_N = importance_ratio(logprobs_N, anchor_N)
    sums.tokens += len(logprobs_N)
    sums.loss += float(loss)
    sums.entropy += float(entropy_N.sum())
    # The k3 estimate of KL(rollout, policy): never negative and of low variance.
    sums.mismatch += float((ratio_N - 1 - ratio_N.log()).sum())
    sums.ratio += float(ratio_N.sum())
    sums.ratio_squared += float(ratio_N.square().sum())
    sums.clipped += int((ratio_N > top).sum())


def _effective(sums: _Sums) -> float | None:
    """Kish's effective sample size over the number of tokens: 1 where all weights are equal."""
    if not sums.tokens or not sums.ratio_squared:
        return None
    return _finite(sums.ratio**2 / sums.ratio_squared / sums.tokens)


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
