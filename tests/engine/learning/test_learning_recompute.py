"""Activations that are computed again give the gradient of those that are kept."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from transformers.modeling_layers import GradientCheckpointingLayer

from jobs.engine.learning.recompute import activation_bytes, recomputed
from tests.engine.learning.test_learning_update import gradient, make_learner, members, rollout

torch.set_num_threads(1)


@pytest.fixture
def learner(tiny_model_dir):
    return make_learner(tiny_model_dir)


def siblings():
    """They share a beginning, so that they train as a tree."""
    first, second = (rollout(f"s{i}", 40, (-1.0) ** i) for i in range(2))
    second.ids = first.ids[:30] + second.ids[30:]
    return [first, second]


def layer_calls(learner):
    """How often each forward pass of a layer ran, on the way there and back."""
    calls = []
    for layer in learner.policy.model.modules():
        if isinstance(layer, GradientCheckpointingLayer):
            layer.mlp.register_forward_pre_hook(lambda *_: calls.append(1))
    return calls


@pytest.mark.parametrize("batch", [members, siblings])
def test_the_gradient_is_the_same_to_the_bit(learner, batch):
    learner.room = float("inf")
    kept, report = gradient(learner, batch(), 100_000)
    learner.room = 0.0
    again, other = gradient(learner, batch(), 100_000)
    assert torch.equal(kept, again)
    assert other == report


@pytest.mark.parametrize(("room", "times"), [(float("inf"), 2), (0.0, 4)])
def test_layers_run_twice_only_where_their_activations_do_not_fit(learner, room, times):
    learner.room = room
    calls = layer_calls(learner)
    learner.step([rollout("m", 20, 1.0)])
    assert len(calls) == times


def test_a_model_is_afterwards_as_it_was(learner):
    model = learner.policy.model
    with recomputed(model):
        assert any(module.training for module in model.modules())
    assert not any(module.training for module in model.modules())
    layers = [m for m in model.modules() if isinstance(m, GradientCheckpointingLayer)]
    assert [layer.gradient_checkpointing for layer in layers] == [False, False]


def test_only_layers_themselves_are_in_training_mode(learner):
    with recomputed(learner.policy.model):
        training = [type(m).__name__ for m in learner.policy.model.modules() if m.training]
    assert training == ["Qwen3DecoderLayer"] * 2


def test_four_billion_parameters_and_sixteen_thousand_tokens_need_ninety_gigabytes():
    config = SimpleNamespace(hidden_size=2560, intermediate_size=9728, num_hidden_layers=36)
    assert activation_bytes(config, 16_384, 2) == 16_384 * 36 * (12 * 2560 + 5 * 9728) * 2
    assert activation_bytes(config, 16_384, 2) == pytest.approx(93.6e9, rel=0.01)
