"""On a CUDA device in bf16: sampler and trainer agree, a step trains, and the export is proven."""

from __future__ import annotations

import asyncio
import math

import msgspec
import pytest
import torch

from jobs.engine.control import ControlReader
from jobs.engine.export import export_adapter
from jobs.engine.learning.logprobs import token_logprobs
from jobs.engine.learning.losses.registry import loss_named
from jobs.engine.learning.model import load_policy
from jobs.engine.learning.packing import pack
from jobs.engine.learning.update import Learner
from jobs.engine.reporting import write_bodies
from jobs.engine.sampling.base import SampleRequest
from jobs.engine.sampling.local import LocalSampler
from jobs.engine.saving import Saver
from jobs.engine.spec import DataSpec, Handshake, JobSpec, LoraSpec

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(
        not torch.cuda.is_available(),
        reason="needs an NVIDIA GPU and a PyTorch with CUDA; run `pytest -m cuda` where both are",
    ),
]
PARITY_MAX = 0.1
"""Nats. bf16 keeps eight bits of a number, so sums in another order differ by so much."""
PARITY_MEAN = 0.02
PROOF_MAX = 5e-2
TURN_TOKENS = 24


@pytest.fixture
def learner(tiny_model_dir):
    """A policy on the GPU whose adapter does something already."""
    data = DataSpec(path="tasks.jsonl")
    spec = JobSpec(
        run_id="r",
        model_path=str(tiny_model_dir),
        model_name="tiny",
        device="cuda",
        train=data,
        validation=data,
        grader={},
        lora=LoraSpec(rank=4),
        learning_rate=1e-3,
    )
    policy = load_policy(spec)
    generator = torch.Generator().manual_seed(3)
    for name, parameter in policy.trainable:
        if "lora_B" in name:
            drawn = torch.randn(parameter.shape, generator=generator) * 0.05
            parameter.data = drawn.to(parameter)
    return Learner(policy, spec, loss_named("cispo"))


@pytest.fixture
def rollouts(learner, make_trajectory):
    """Eight turns that the sampler made on the GPU, with advantages of both signs."""
    policy = learner.policy
    sampler = LocalSampler(
        policy.model, policy.tokenizer, device=policy.device, lock_step=False, capacity=128
    )
    prompts = [list(range(40 + place, 60 + 2 * place)) for place in range(8)]

    async def sample():
        return await asyncio.gather(
            *(
                sampler.generate(SampleRequest(ids, TURN_TOKENS, 1.0, seed=place, order=place))
                for place, ids in enumerate(prompts)
            )
        )

    made = []
    for place, (ids, turn) in enumerate(zip(prompts, asyncio.run(sample()), strict=True)):
        before = [0.0] * len(ids)
        made.append(
            make_trajectory(
                f"v-0-{place}-0",
                split="validation",
                tokens=len(turn.ids),
                ids=[*ids, *turn.ids],
                logprobs=[*before, *turn.logprobs],
                entropies=[*before, *turn.entropies],
                kinds=[0] * len(ids) + [1] * len(turn.ids),
                advantage=(-1.0) ** place,
                trained=True,
            )
        )
    return made


def test_sampler_and_trainer_agree_within_the_precision(learner, rollouts):
    differences = []
    for member in rollouts:
        (batch,) = pack([member], token_budget=len(member.ids))
        batch = batch.to(learner.policy.device)
        with torch.no_grad():
            logprobs_N, _ = token_logprobs(
                learner.policy.model, batch.ids_BT, batch.mask_BT, temperature=1.0
            )
        differences.append((logprobs_N - batch.anchor_BT[batch.mask_BT]).abs())
    apart = torch.cat(differences)
    assert len(apart) >= len(rollouts)
    assert apart.max().item() <= PARITY_MAX
    assert apart.mean().item() <= PARITY_MEAN


def test_a_step_in_bf16_trains_the_adapter_and_nothing_else(learner, rollouts):
    policy = learner.policy
    assert (policy.device.type, policy.dtype) == ("cuda", torch.bfloat16)
    before = {name: value.detach().clone() for name, value in policy.model.named_parameters()}
    report = learner.step(rollouts)
    assert (report.updated, report.skipped_non_finite) == (True, 0)
    assert report.tokens_trained == sum(member.sampled_tokens for member in rollouts)
    assert math.isfinite(report.loss)
    assert report.grad_norm > 0
    assert abs(report.mismatch_kl) <= PARITY_MAX**2
    after = dict(policy.model.named_parameters())
    changed = {name for name, value in after.items() if not torch.equal(value, before[name])}
    assert changed == {name for name, _ in policy.trainable}
    assert all(bool(value.isfinite().all()) for value in after.values())


def test_the_trained_adapter_is_exported_with_its_proof(learner, rollouts, tmp_path):
    assert learner.step(rollouts).updated
    handshake = Handshake(spec=learner.spec, run_dir=str(tmp_path))
    saver = Saver(handshake, learner, ControlReader(None), print)
    state = msgspec.structs.replace(saver.begin(), step=0, evaluations={"0": 0.5})
    write_bodies(tmp_path, 0, 1, rollouts)
    saver.save(state, 0.5)
    adapter = asyncio.run(export_adapter(handshake, state, saver, learner.policy))
    assert adapter.proof_tokens == sum(member.sampled_tokens for member in rollouts)
    assert adapter.proof_max_abs_logprob_diff <= PROOF_MAX
