"""The optimiser step: what must not change the gradient does not, and what must, does."""

from __future__ import annotations

import math

import msgspec
import pytest
import torch
from transformers import AutoModelForCausalLM

from jobs.engine.credit.assign import assign_credit
from jobs.engine.credit.groups import Group, training_rewards
from jobs.engine.learning.losses.registry import LOSSES
from jobs.engine.learning.model import load_policy
from jobs.engine.learning.packing import pack
from jobs.engine.learning.update import Learner
from jobs.engine.spec import CreditSpec, DataSpec, JobSpec, LoraSpec, LossSpec
from jobs.engine.types import StopReason, Trajectory
from tests.engine.learning.credits import credited, turns_of

torch.set_num_threads(1)


def make_spec(path, **changes):
    data = DataSpec(path="none.jsonl")
    fields = {"lora": LoraSpec(rank=4), "learning_rate": 1e-2} | changes
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


def rollout(uid, length, advantage):
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
        logprobs=[-5.0 if kind == 1 else 0.0 for kind in kinds],
        entropies=[0.0] * length,
        kinds=kinds,
        reward=1.0,
        stop=StopReason.FINAL_ANSWER,
        advantage=advantage,
        trained=advantage is not None,
    )


def members():
    lengths = [40, 13, 27, 60, 33]
    return [rollout(f"m{i}", n, (-1) ** i * 0.5) for i, n in enumerate(lengths)]


def by_turn():
    """Of 2 to 9 turns, each with a credit of its own."""
    return [
        credited(member, *((-1) ** turn.index * (turn.index + 1) / 8 for turn in turns_of(member)))
        for member in members()
    ]


def gradient(learner, trajectories, budget=100_000):
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


@pytest.mark.parametrize("kl_weight", [0.0, 0.1])
@pytest.mark.parametrize("case", [members, by_turn])
@pytest.mark.parametrize("budget", [1, 64, 130])
def test_splitting_and_padding_change_the_gradient_by_less_than_a_millionth(
    learner, budget, case, kl_weight
):
    learner.spec = msgspec.structs.replace(learner.spec, loss=LossSpec(kl_weight=kl_weight))
    whole, report = gradient(learner, case())
    split, other = gradient(learner, case()[::-1], budget)
    assert (whole - split).norm() <= 1e-6 * whole.norm()
    assert other.loss == pytest.approx(report.loss, rel=1e-5)
    assert other.grad_norm == pytest.approx(report.grad_norm, rel=1e-6)
    assert (other.kl_to_base or 0.0) == pytest.approx(report.kl_to_base or 0.0, rel=1e-5)


GARBAGE = {"ids": [10**6, -1] * 20, "logprobs": [math.nan] * 40, "kinds": [1] * 40}


@pytest.mark.parametrize("kl_weight", [0.0, 0.1])
@pytest.mark.parametrize(
    ("stop", "reward"),
    [
        (StopReason.TOOL_FAULT, 1e9),
        (StopReason.GRADER_FAULT, math.nan),
        (StopReason.FINAL_ANSWER, math.nan),
        (StopReason.FINAL_ANSWER, None),
    ],
)
def test_an_excluded_rollout_leaves_the_gradient_the_same_to_the_last_bit(
    learner, stop, reward, kl_weight
):
    learner.spec = msgspec.structs.replace(learner.spec, loss=LossSpec(kl_weight=kl_weight))
    rewarded = [
        msgspec.structs.replace(member, reward=float(place % 2), turns=turns_of(member))
        for place, member in enumerate(members())
    ]
    wrong = rollout("a", 40, math.nan)
    excluded = msgspec.structs.replace(
        credited(wrong, *[math.nan] * 6), stop=stop, reward=reward, **GARBAGE
    )

    def learned(everybody):
        groups = [Group("0", tuple(everybody))]
        assign_credit(groups, training_rewards(groups, shuffle_seed=None), CreditSpec())
        return gradient(learner, everybody, 100)

    clean, report = learned(rewarded)
    dirty, same = learned([excluded, *rewarded])
    assert clean.norm() > 0
    assert torch.equal(clean, dirty)
    assert same == report


def test_an_untrained_rollout_is_not_looked_at_whatever_its_credit_is(learner):
    clean, _ = gradient(learner, members())
    wrong = credited(rollout("a", 40, math.nan), *[1e9] * 6)
    ignored = msgspec.structs.replace(wrong, trained=False, reward=1e9, **GARBAGE)
    assert torch.equal(clean, gradient(learner, [ignored, *members()])[0])


def test_the_same_credit_for_every_turn_is_the_advantage_of_the_rollout_to_the_last_bit(learner):
    whole = [msgspec.structs.replace(member, turns=turns_of(member)) for member in members()]
    plain, report = gradient(learner, whole, 100)
    spread = [
        credited(member, *(member.advantage for _ in turns_of(member))) for member in members()
    ]
    found, same = gradient(learner, spread, 100)
    assert torch.equal(plain, found)
    assert same == report


def test_each_token_has_the_credit_of_its_turn_over_the_tokens_of_the_step():
    """What the model did not sample has none, inside a turn or outside."""
    kinds = [0, 0, 1, 1, 2, 1, 4, 1, 2]
    one = msgspec.structs.replace(rollout("m", 9, 7.0), kinds=kinds, logprobs=[-1.0] * 9)
    (plain,) = pack([one], token_budget=100, total=4)
    assert plain.advantages_BT.tolist() == [[0, 0, 1.75, 1.75, 0, 1.75, 0, 1.75]]
    spans = msgspec.structs.replace(one, kinds=[0, 0, 1, 1, 2, 1, 1, 1, 2])
    turns = msgspec.structs.replace(credited(spans, 1.0, -0.5), kinds=kinds)
    (batch,) = pack([turns], token_budget=100, total=4)
    assert batch.advantages_BT.tolist() == [[0, 0, 0.25, 0.25, 0, -0.125, 0, -0.125]]


def test_an_advantage_is_divided_in_double_precision_and_rounded_once():
    (batch,) = pack([rollout("m", 5, 0.3)], token_budget=100, total=5)
    exact = torch.tensor([0.06], dtype=torch.float32)
    assert torch.equal(batch.advantages_N, exact)
    assert not torch.equal(torch.tensor([0.3]) / 5, exact)


def test_the_gradient_is_the_sum_of_those_of_the_single_turns(learner):
    one = rollout("m", 21, 1.0)
    credits = ((0.04, 0.0, 0.0), (0.0, -0.03, 0.0), (0.0, 0.0, 0.02), (0.04, -0.03, 0.02))
    *single, both = (gradient(learner, [credited(one, *each)])[0] for each in credits)
    norms = [each.norm().item() for each in [*single, both]]
    # Above 1 they would be clipped, and not add up.
    assert min(norms) > 0.01
    assert max(norms) < 1
    assert (both - sum(single)).norm() <= 1e-6 * both.norm()


def test_a_turn_s_gradient_is_that_of_plain_autograd_on_its_tokens_alone(learner):
    one = rollout("m", 21, 1.0)
    found, report = gradient(learner, [credited(one, 0.0, -0.75, 0.0)])
    assert [(turn.start, turn.end) for turn in turns_of(one)] == [(4, 5), (7, 12), (14, 19)]
    assert report.tokens_trained == 11
    logprobs_N = plain_logprobs(learner.policy.model, one, range(7, 12))
    ratio_N = (logprobs_N.detach() + 5.0).exp().clamp(max=5.0)
    expected = differentiated(learner, (0.75 * ratio_N * logprobs_N).sum() / 11)
    assert (found - expected).norm() <= 1e-5 * expected.norm()


def plain_logprobs(model, member, places):
    logits_TV = model(input_ids=torch.tensor([member.ids])).logits[0]
    logprobs_TV = torch.log_softmax(logits_TV, -1)
    return torch.stack([logprobs_TV[place - 1, member.ids[place]] for place in places])


def differentiated(learner, loss):
    """Clipped as a step's gradient is."""
    names, parameters = zip(*learner.policy.trainable, strict=True)
    found = torch.autograd.grad(loss, parameters)
    flat = torch.cat([part.flatten() for _, part in sorted(zip(names, found, strict=True))])
    return flat / max(1.0, float(flat.norm()))


def test_a_rollout_at_the_mean_counts_as_tokens_and_has_no_gradient(learner):
    _, alone = gradient(learner, members(), 100)
    _, more = gradient(learner, [*members(), rollout("z", 50, 0.0)], 100)
    assert more.tokens_trained > alone.tokens_trained
    # Measured on what is computed alone.
    assert more.entropy == alone.entropy
    assert more.loss * more.tokens_trained == pytest.approx(alone.loss * alone.tokens_trained)


def test_a_turn_s_credit_trains_a_rollout_at_the_mean(learner):
    still = learner.step([credited(rollout("z", 13, 1.0), 0.0, 0.0)])
    assert (still.updated, still.grad_norm, still.tokens_trained) == (False, None, 0)
    assert learner.step([credited(rollout("z", 13, 0.0), 0.5, -0.25)]).grad_norm > 0


def test_dppo_pulls_back_a_rollout_at_the_mean(learner):
    learner.loss = LOSSES["dppo"]
    one = rollout("z", 13, 0.0)
    found, report = gradient(learner, [one])
    logprobs_N = plain_logprobs(learner.policy.model, one, (4, 7, 8, 9, 10, 11))
    loss = 1e-3 * (logprobs_N + 5.0).square().mean()
    expected = differentiated(learner, loss)
    assert report.loss == pytest.approx(loss.item(), rel=1e-5)
    assert (found - expected).norm() <= 1e-5 * expected.norm()


def test_the_pull_to_the_base_is_that_of_plain_autograd_on_all_trained_tokens(
    learner, tiny_model_dir
):
    """Also on the rollout at the mean; the base is loaded anew, and knows of no adapter."""
    learner.spec = msgspec.structs.replace(learner.spec, loss=LossSpec(kl_weight=0.25))
    one, still = rollout("m", 13, 1.0), rollout("z", 11, 0.0)
    found, report = gradient(learner, [one, still])
    base = AutoModelForCausalLM.from_pretrained(tiny_model_dir)
    kl, places = [], {"m": (4, 7, 8, 9, 10, 11), "z": (4, 7, 8, 9, 10)}
    for member in (one, still):
        logprobs_N = plain_logprobs(learner.policy.model, member, places[member.uid])
        base_N = plain_logprobs(base, member, places[member.uid]).detach()
        kl.append((base_N - logprobs_N).exp() - (base_N - logprobs_N) - 1)
        if member is one:
            ratio_N = (logprobs_N.detach() + 5.0).exp().clamp(max=5.0)
            gain = (ratio_N * logprobs_N).sum()
    kl_N = torch.cat(kl)
    assert report.tokens_trained == len(kl_N) == 11
    assert report.kl_to_base == pytest.approx(kl_N.mean().item(), rel=1e-4)
    loss = 0.25 * kl_N.mean() - gain / 11
    assert report.loss == pytest.approx(loss.item(), rel=1e-5)
    expected = differentiated(learner, loss)
    assert (found - expected).norm() <= 1e-5 * expected.norm()


def test_a_pull_to_the_base_is_the_same_to_the_last_bit_and_leaves_the_adapter_on(learner):
    learner.spec = msgspec.structs.replace(learner.spec, loss=LossSpec(kl_weight=0.25))
    before = plain_logprobs(learner.policy.model, members()[0], range(4, 9))
    names = [name for name, _ in learner.policy.trainable]
    first, report = gradient(learner, by_turn(), 100)
    second, same = gradient(learner, by_turn(), 100)
    assert torch.equal(first, second)
    assert same == report
    assert [name for name, _ in learner.policy.trainable] == names
    assert torch.equal(plain_logprobs(learner.policy.model, members()[0], range(4, 9)), before)


@pytest.mark.parametrize(("kl_weight", "passes"), [(0.0, 1), (0.25, 2)])
def test_the_base_is_asked_only_where_something_pulls_to_it(learner, kl_weight, passes):
    learner.spec = msgspec.structs.replace(learner.spec, loss=LossSpec(kl_weight=kl_weight))
    seen = []
    decoder = learner.policy.model.get_base_model().get_decoder()
    hook = decoder.register_forward_pre_hook(lambda *_: seen.append(1))
    _, report = gradient(learner, members())
    hook.remove()
    assert len(seen) == passes
    assert (report.kl_to_base is not None) == (passes == 2)


def test_a_fresh_adapter_is_its_base_exactly(tiny_model_dir):
    spec = make_spec(tiny_model_dir, loss=LossSpec(kl_weight=0.25))
    learner = Learner(load_policy(spec), spec, LOSSES["cispo"])
    assert learner.step(members()).kl_to_base == 0.0
    assert learner.step(members()).kl_to_base > 0.0


def test_the_gradient_is_the_token_mean_over_the_whole_step(learner):
    """One rollout, on policy: the loss is the mean of -advantage * logprob over its tokens."""
    one = rollout("m", 30, 2.0)
    (batch,) = pack([one], token_budget=100)
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


def test_a_gradient_longer_than_1_is_shortened_to_it(learner):
    found, report = gradient(learner, [rollout("m", 30, 8.0)])
    assert report.grad_norm > 2
    assert found.norm().item() == pytest.approx(1.0, rel=1e-5)


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
    (batch,) = pack([rollout("m", 60, 1.0)], token_budget=100)
    found, entropy = module.token_logprobs(
        learner.policy.model, batch.ids_BT, batch.mask_BT, temperature=0.7
    )
    logits = learner.policy.model(input_ids=batch.ids_BT).logits[0] / 0.7
    logprobs = torch.log_softmax(logits, -1)
    places = batch.mask_BT[0].nonzero().flatten()
    torch.testing.assert_close(found, logprobs[places - 1, batch.ids_BT[0, places]])
    expected = -(logprobs.exp() * logprobs).sum(-1)[places - 1]
    torch.testing.assert_close(entropy, expected.detach())
