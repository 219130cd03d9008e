"""One optimiser step over one batch of rollouts, and what it did.

Shapes: B = rollouts of a micro-batch, T = its longest rollout, N = its trained tokens.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, fields, replace
from typing import Any

import torch
from torch import Tensor

from jobs.engine.learning.logprobs import attention_of, token_logprobs, tree_logprobs
from jobs.engine.learning.losses.base import Loss, LossInputs, importance_ratio
from jobs.engine.learning.losses.kl import base_kl
from jobs.engine.learning.model import Policy, free_memory
from jobs.engine.learning.packing import MicroBatch, pack, scaled_advantages
from jobs.engine.learning.receipts import Ledger, hand_out
from jobs.engine.learning.recompute import ROOM_SHARE, activation_bytes, recomputed
from jobs.engine.learning.tree import TreeBatch, can_use_trees, pack_trees
from jobs.engine.ranks import Alone, Ranks, own_share
from jobs.engine.received import Audit
from jobs.engine.spec import JobSpec
from jobs.engine.types import Trajectory

GRAD_NORM_MAX = 1.0
CPU_BATCH_TOKENS = 4096
"""On a CPU larger micro-batches gain nothing, and pad more: 20 % slower with 16,384 tokens."""
CPU_ROW_TOKENS = 1024
"""Trees share a row up to here: beyond, a CPU gains nothing, and loses where masks are dense."""
BETAS = (0.9, 0.95)


@dataclass(slots=True)
class _Sums:
    """Running totals over micro-batches; `total`: the tokens of the whole step, known before.

    `kl` stays None where the base model is not asked. `ledger`: what each rollout's tokens were.
    """

    total: int
    ledger: Ledger
    kl: float | None = None
    tokens: int = 0
    loss: float = 0.0
    entropy: float = 0.0
    mismatch: float = 0.0
    ratio: float = 0.0
    ratio_squared: float = 0.0
    clipped: int = 0


@dataclass(frozen=True, slots=True)
class LearningReport:
    """What one optimiser step did; None where there was nothing to measure.

    `audit_*`: see `jobs.engine.received`; over all trained rollouts, packed or not.
    """

    updated: bool = False
    tokens_trained: int = 0
    skipped_non_finite: int = 0
    learning_rate: float = 0.0
    loss: float | None = None
    grad_norm: float | None = None
    entropy: float | None = None
    mismatch_kl: float | None = None
    kl_to_base: float | None = None
    effective_sample_size: float | None = None
    ratio_clipped: float | None = None
    audit_by_turn: float | None = None
    audit_by_token: float | None = None
    audit_received: float | None = None
    audited: int = 0
    audit_differing: int = 0

    def as_dict(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__dataclass_fields__}


@dataclass(slots=True)
class Learner:
    """The policy's optimiser. `updates` counts the steps that it has taken."""

    policy: Policy
    spec: JobSpec
    loss: Loss
    ranks: Ranks = field(default_factory=Alone)
    updates: int = 0
    room: float = field(init=False)
    """Bytes that activations may take."""
    optimiser: torch.optim.AdamW = field(init=False)

    def __post_init__(self) -> None:
        self.room = ROOM_SHARE * free_memory(self.policy.device)
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
        """Update on the trained rollouts; `check` runs before each micro-batch and may raise.

        Each trained rollout is told what the optimiser received of it.
        """
        members = [member for member in trajectories if member.trained]
        total = sum(member.trained_tokens for member in members)
        moving = self._moving(members, total) if total else []
        if not moving:
            # With nothing to add up, AdamW's momentum alone would move the weights.
            audited = _audited(hand_out(members, []))
            return LearningReport(learning_rate=self.learning_rate, **audited)
        own = own_share(self.ranks, moving)
        sums = self._gradient(own, total, check)
        audited = _audited(hand_out(members, self.ranks.collect(sums.ledger.received)))
        return replace(self._apply(self._added_up(sums)), **audited)

    def _gradient(
        self, members: Sequence[Trajectory], total: int, check: Callable[[], None]
    ) -> _Sums:
        """Leaves the gradient of these rollouts, all of them moving, on the parameters."""
        self.optimiser.zero_grad(set_to_none=True)
        sums = _Sums(total, Ledger(self.ranks), kl=0.0 if self.spec.loss.kl_weight else None)
        for batch in self._batches(members, total):
            check()
            self._accumulate(batch.to(self.policy.device), sums)
        return sums

    def _added_up(self, sums: _Sums) -> _Sums:
        """Gradients and sums of all ranks; what is divided by the whole step's tokens just adds."""
        if self.ranks.count == 1:
            return sums
        gradients = []
        for _, parameter in self.policy.trainable:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
            gradients.append(parameter.grad)
        self.ranks.add_up(gradients)
        added = [part.name for part in fields(sums) if part.name not in {"total", "ledger"}]
        if sums.kl is None:
            added.remove("kl")
        numbers = torch.tensor([getattr(sums, name) for name in added], dtype=torch.float64)
        self.ranks.add_up([numbers])
        return replace(sums, **dict(zip(added, numbers.tolist(), strict=True)))

    def _batches(
        self, members: Sequence[Trajectory], total: int
    ) -> Sequence[MicroBatch | TreeBatch]:
        budget = row = self.spec.micro_batch_tokens
        if self.policy.device.type == "cpu":
            budget, row = min(budget, CPU_BATCH_TOKENS), min(budget, CPU_ROW_TOKENS)
        if not can_use_trees(self.policy.model.config):
            return pack(members, token_budget=budget, total=total)
        return pack_trees(members, token_budget=budget, row_tokens=row, total=total)

    def _moving(self, members: Sequence[Trajectory], total: int) -> list[Trajectory]:
        """A rollout whose tokens have no advantage has no gradient, unless something pulls it.

        It counts, and is not computed.
        """
        if self.loss.pulls or self.spec.loss.kl_weight:
            return [member for member in members if member.trained_tokens]
        return [member for member in members if scaled_advantages(member, total).any()]

    def _logprobs(self, batch: MicroBatch | TreeBatch) -> tuple[Tensor, Tensor]:
        model, temperature = self.policy.model, self.spec.temperature
        if isinstance(batch, TreeBatch):
            return tree_logprobs(model, batch, temperature=temperature)
        return token_logprobs(model, batch.ids_BT, batch.mask_BT, temperature=temperature)

    def _base_logprobs(self, batch: MicroBatch | TreeBatch) -> Tensor | None:
        """[N], of the model as it was before any training; None where nothing pulls towards it."""
        if not self.spec.loss.kl_weight:
            return None
        with torch.no_grad(), self.policy.model.disable_adapter():
            return self._logprobs(batch)[0]

    def _accumulate(self, batch: MicroBatch | TreeBatch, sums: _Sums) -> None:
        with attention_of(self.policy.model, batch), self._within_memory(batch):
            self._there_and_back(batch, sums)

    def _there_and_back(self, batch: MicroBatch | TreeBatch, sums: _Sums) -> None:
        base_N = self._base_logprobs(batch)
        logprobs_N, entropy_N = self._logprobs(batch)
        inputs = LossInputs(
            logprobs_N=logprobs_N,
            anchor_N=batch.anchor_N,
            advantages_N=batch.advantages_N,
            owner_N=batch.owner_N,
            ratio_max=self.spec.loss.ratio_max,
            weight=1 / sums.total,
        )
        loss = self.loss.terms(inputs).sum()
        if base_N is not None:
            kl_N = base_kl(logprobs_N, base_N)
            loss = loss + (self.spec.loss.kl_weight * inputs.weight * kl_N).sum()
            sums.kl = (sums.kl or 0.0) + float(kl_N.detach().sum())
        loss.backward()  # type: ignore[no-untyped-call]
        _note(sums, inputs, loss.detach(), entropy_N)
        sums.ledger.note(batch, inputs, sums.total)

    def _within_memory(self, batch: MicroBatch | TreeBatch) -> AbstractContextManager[None]:
        ids = batch.ids_T if isinstance(batch, TreeBatch) else batch.ids_BT
        config, width = self.policy.model.config, self.policy.dtype.itemsize
        if activation_bytes(config, ids.numel(), width) > self.room:
            return recomputed(self.policy.model)
        return nullcontext()

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
            kl_to_base=None if sums.kl is None else _finite(sums.kl / measured),
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


def _audited(audits: Sequence[Audit]) -> dict[str, Any]:
    """The fields of a report."""
    return {
        "audit_by_turn": _finite(sum(audit.by_turn for audit in audits)),
        "audit_by_token": _finite(sum(audit.by_token for audit in audits)),
        "audit_received": _finite(sum(audit.received for audit in audits)),
        "audited": len(audits),
        "audit_differing": sum(not audit.agrees for audit in audits),
    }


@torch.no_grad()
def _note(sums: _Sums, inputs: LossInputs, loss: Tensor, entropy_N: Tensor) -> None:
    ratio_N = importance_ratio(inputs.logprobs_N, inputs.anchor_N)
    sums.tokens += len(ratio_N)
    sums.loss += float(loss)
    sums.entropy += float(entropy_N.sum())
    # The k3 estimate of KL(rollout, policy): never negative and of low variance.
    sums.mismatch += float((ratio_N - 1 - ratio_N.log()).sum())
    sums.ratio += float(ratio_N.sum())
    sums.ratio_squared += float(ratio_N.square().sum())
    sums.clipped += int((ratio_N > inputs.ratio_max).sum())


def _effective(sums: _Sums) -> float | None:
    """Kish's effective sample size over the number of tokens: 1 where all weights are equal."""
    if not sums.tokens or not sums.ratio_squared:
        return None
    return _finite(sums.ratio**2 / sums.ratio_squared / sums.tokens)


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
