"""The optimiser step: what must not change the gradient does not, and what must, does."""

from __future__ import annotations

import math

import msgspec
import pytest
import torch

from jobs.engine.learning.losses.registry import LOSSES
from jobs.engine.learning.model import load_policy
from jobs.engine.learning.packing import pack
from jobs.engine.learning.update import Learner
from jobs.engine.spec import DataSpec, JobSpec
from jobs.engine.types import StopReason, Trajectory

torch.set_num_threads(1)


def make_spec(path, **changes):
    data = DataSpec(path="none.jsonl")
    fields = {"lora_rank": 4, "learning_rate": 1e-2} | changes
    return JobSpec(
        run_id="run",
        model_path=str(path),
        device="cpu",
        train=data,
        validation=data,
        grader={},
        **fields,
    )


def make_learner(path, **changes):
    policy = load_policy(make_spec(path, **changes))
    generator = torch.Generator().manual_seed(3)
    for name, parameter in policy.trainable:
        if "lora_B" in name:
            parameter.data = torch.randn(parameter.shape, generator=generator) * 0.05
    return Learner(policy, make_spec(path, **changes), LOSSES["cispo"])


def rollout(uid, length, advantage, *, garbage=False):
    generator = torch.Generator().manual_seed(length)
    ids = torch.randint(0, 256, (length,), generator=generator).tolist()
    kinds = [0] * 4 + [1 if place % 7 < 5 else 2 for place in range(4, length)]
    return Trajectory(
        uid=uid,
        row=0,
        group="0",
        sample=0,
        split="train",
        trace_id="t",
        ids=ids,
        logprobs=[math.nan if garbage else (-5.0 if kind == 1 else 0.0) for kind in kinds],
        entropies=[0.0] * length,
        kinds=kinds,
        reward=1e9 if garbage else 1.0,
        stop=StopReason.TOOL_FAULT if garbage else StopReason.FINAL_ANSWER,
        advantage=advantage,
        trained=advantage is not None,
    )


def members():
    lengths = [40, 13, 27, 60, 33]
    return [rollout(f"m{i}", n, (-1) ** i * 0.5) for i, n in enumerate(lengths)]


def gradient(learner, trajectories, budget):
    learner.spec = msgspec.structs.replace(learner.spec, micro_batch_tokens=budget)
    kept = {}
    learner.optimiser.step = lambda: kept.update(
        (name, parameter.grad.clone()) for name, parameter in learner.policy.trainable
    )
    report = learner.step(trajectories)
    return torch.cat([kept[name].flatten() for name in sorted(kept)]), report


@pytest.fixture
def learner(tiny_model_dir):
    return make_learner(tiny_model_dir)


@pytest.mark.parametrize("budget", [1, 64, 130])
def test_splitting_and_padding_change_the_gradient_by_less_than_a_millionth(learner, budget):
    whole, report = gradient(learner, members(), 100_000)
    split, other = gradient(learner, members()[::-1], budget)
    assert (whole - split).norm() <= 1e-6 * whole.norm()
    assert other.loss == pytest.approx(report.loss, rel=1e-5)


@pytest.mark.parametrize("length", [9, 200])
def test_an_excluded_rollout_leaves_the_gradient_the_same_to_the_last_bit(learner, length):
    clean, _ = gradient(learner, members(), 100)
    excluded = rollout("a", length, None, garbage=True)
    dirty, _ = gradient(learner, [excluded, *members()], 100)
    assert torch.equal(clean, dirty)


def test_a_rollout_at_the_mean_counts_as_tokens_and_has_no_gradient(learner):
    _, alone = gradient(learner, members(), 100)
    _, more = gradient(learner, [*members(), rollout("z", 50, 0.0)], 100)
    assert more.tokens_trained > alone.tokens_trained
    assert more.loss * more.tokens_trained == pytest.approx(alone.loss * alone.tokens_trained)


def test_the_gradient_is_the_token_mean_over_the_whole_step(learner):
    """One rollout, on policy: the loss is the mean of -advantage * logprob over its tokens."""
    one = rollout("m", 30, 2.0)
    (batch,) = pack([one], [1.0], token_budget=100)
    with torch.no_grad():
        logits = learner.policy.model(input_ids=batch.ids_BT).logits[0]
    logprobs = torch.log_softmax(logits, -1)
    places = batch.mask_BT[0].nonzero().flatten()
    exact = logprobs[places - 1, batch.ids_BT[0, places]]
    for place, value in zip(places.tolist(), exact.tolist(), strict=True):
        one.logprobs[place] = value
    _, report = gradient(learner, [one], 100)
    assert report.tokens_trained == len(places)
    assert report.loss == pytest.approx(-2.0 * exact.mean().item(), rel=1e-5)
    assert report.mismatch_kl == pytest.approx(0.0, abs=1e-6)
    assert report.effective_sample_size == pytest.approx(1.0, abs=1e-5)


def test_a_step_without_trained_rollouts_updates_nothing(learner):
    before = learner.policy.adapter_tensors()
    report = learner.step([rollout("a", 20, None)])
    assert (report.updated, report.tokens_trained, learner.updates) == (False, 0, 0)
    assert all(torch.equal(before[n], t) for n, t in learner.policy.adapter_tensors().items())


def test_a_gradient_that_is_not_finite_is_skipped_and_counted(learner):
    before = learner.policy.adapter_tensors()
    bad = [rollout("a", 20, math.inf), rollout("b", 20, -1.0)]
    report = learner.step(bad)
    assert (report.updated, report.skipped_non_finite, learner.updates) == (False, 1, 0)
    assert all(torch.equal(before[n], t) for n, t in learner.policy.adapter_tensors().items())
    assert learner.step(members()).updated is True


def test_the_rate_rises_over_the_warm_up_and_then_stays(tiny_model_dir):
    learner = make_learner(tiny_model_dir, warmup_steps=4, learning_rate=1e-3)
    rates = [learner.step(members()).learning_rate for _ in range(6)]
    assert rates == pytest.approx([2.5e-4, 5e-4, 7.5e-4, 1e-3, 1e-3, 1e-3])


def test_the_optimiser_goes_on_exactly_from_its_tensors(tiny_model_dir):
    one, two = make_learner(tiny_model_dir), make_learner(tiny_model_dir)
    one.step(members())
    two.policy.adapter_load(one.policy.adapter_tensors())
    two.optimiser_load(one.optimiser_tensors())
    two.updates = one.updates
    one.step(members())
    two.step(members())
    left, right = one.policy.adapter_tensors(), two.policy.adapter_tensors()
    assert all(torch.equal(left[name], right[name]) for name in left)


def test_temperature_and_chunks_give_the_log_probabilities_of_the_plain_model(learner, monkeypatch):
    monkeypatch.setattr("jobs.engine.learning.logprobs.LOGITS_MAX", 263 * 10)
    module = __import__("jobs.engine.learning.logprobs", fromlist=["token_logprobs"])
    (batch,) = pack([rollout("m", 60, 1.0)], [1.0], token_budget=100)
    found, entropy = module.token_logprobs(
        learner.policy.model, batch.ids_BT, batch.mask_BT, temperature=0.7
    )
    logits = learner.policy.model(input_ids=batch.ids_BT).logits[0] / 0.7
    logprobs = torch.log_softmax(logits, -1)
    places = batch.mask_BT[0].nonzero().flatten()
    torch.testing.assert_close(found, logprobs[places - 1, batch.ids_BT[0, places]])
    expected = -(logprobs.exp() * logprobs).sum(-1)[places - 1]
    torch.testing.assert_close(entropy, expected.detach())
