"""Sampling with the adapter folded in: the same figures, and a model that is as it was."""

from __future__ import annotations

import asyncio

import pytest
import torch
from peft.tuners.lora import Linear as LoraLinear

from jobs.engine.sampling import merged
from jobs.engine.sampling.base import SampleRequest
from jobs.engine.sampling.local import LocalSampler
from jobs.engine.sampling.merged import MergedAdapter
from tests.engine.learning.test_learning_update import make_learner

torch.set_num_threads(1)
IDS = [9, 8, 7, 50, 60]


@pytest.fixture
def policy(tiny_model_dir):
    """With an adapter that is not zero."""
    return make_learner(tiny_model_dir).policy


def layers(policy):
    return [module for module in policy.model.modules() if isinstance(module, LoraLinear)]


def sample(policy, sampler=None, tokens=40):
    sampler = sampler or LocalSampler(
        policy.model, policy.tokenizer, device="cpu", lock_step=True, capacity=128
    )
    sampler.enter(1)
    turn = asyncio.run(sampler.generate(SampleRequest(IDS, tokens, 1.0, seed=3)))
    sampler.leave()
    return turn


@torch.no_grad()
def recomputed(policy, turn):
    ids = torch.tensor([[*IDS, *turn.ids]])
    spread = policy.model(ids).logits[0, len(IDS) - 1 : -1].log_softmax(-1)
    return spread.gather(-1, torch.tensor(turn.ids)[:, None]).flatten()


def test_what_is_recorded_is_what_the_trainer_finds(policy):
    turn = sample(policy)
    worst = (recomputed(policy, turn) - torch.tensor(turn.logprobs)).abs().max()
    assert float(worst) <= 1e-5


def test_the_adapter_takes_part(policy):
    turn = sample(policy)
    with policy.model.disable_adapter():
        base = recomputed(policy, turn)
    assert float((base - torch.tensor(turn.logprobs)).abs().max()) > 1e-2


def test_new_weights_are_sampled_after_they_were_told(policy):
    sampler = LocalSampler(
        policy.model, policy.tokenizer, device="cpu", lock_step=True, capacity=128
    )
    before = sample(policy, sampler)
    for layer in layers(policy):
        layer.lora_B["default"].weight.data *= -2
    sampler.weights_changed()
    after = sample(policy, sampler)
    worst = (recomputed(policy, after) - torch.tensor(after.logprobs)).abs().max()
    assert float(worst) <= 1e-5
    assert before.logprobs != after.logprobs


def test_the_model_is_afterwards_as_it_was(policy):
    weights = [layer.get_base_layer().weight.clone() for layer in layers(policy)]
    sample(policy)
    assert not any("forward" in vars(layer) for layer in layers(policy))
    found = [layer.get_base_layer().weight for layer in layers(policy)]
    assert all(map(torch.equal, weights, found))


def test_a_large_model_is_not_copied(policy, monkeypatch):
    monkeypatch.setattr(merged, "COPY_MAX", 1000)
    with MergedAdapter(policy.model).in_force():
        assert not any("forward" in vars(layer) for layer in layers(policy))


def test_half_precision_is_not_merged(policy):
    policy.model.to(torch.bfloat16)
    with MergedAdapter(policy.model).in_force():
        assert not any("forward" in vars(layer) for layer in layers(policy))
