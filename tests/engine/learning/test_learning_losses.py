"""Each policy loss against numbers computed by hand."""

from __future__ import annotations

import math

import pytest
import torch

from jobs.engine.errors import RunFailed
from jobs.engine.learning.losses.base import LossInputs
from jobs.engine.learning.losses.bounds import ratio_range
from jobs.engine.learning.losses.kl import base_kl
from jobs.engine.learning.losses.registry import LOSSES, loss_named
from jobs.services import options

torch.set_num_threads(1)

# Ratios of policy to rollout: 1, 2, 10, 0.5.
POLICY = [0.5, 0.8, 0.5, 0.2]
ROLLOUT = [0.5, 0.4, 0.05, 0.4]
ADVANTAGES = [1.0, -0.5, 2.0, 1.0]


def terms_and_gradient(name, ratio_max=5.0):
    logprobs = torch.tensor(POLICY, dtype=torch.float64).log().requires_grad_()
    anchor = torch.tensor(ROLLOUT, dtype=torch.float64).log()
    advantages = torch.tensor(ADVANTAGES, dtype=torch.float64)
    return differentiated(name, logprobs, anchor, advantages, ratio_max=ratio_max)


def differentiated(name, logprobs, anchor, advantages, *, owner=None, weight=0.25, ratio_max=5.0):
    owner = torch.zeros(len(logprobs), dtype=torch.long) if owner is None else owner
    terms = LOSSES[name].terms(LossInputs(logprobs, anchor, advantages, owner, ratio_max, weight))
    terms.sum().backward()
    return terms.tolist(), logprobs.grad.tolist()


def of_ratios(name, ratios, advantages, owner=None, **rest):
    """Terms and gradient where the rollout gave each token a probability of 1/20."""
    anchor = torch.full((len(ratios),), 0.05, dtype=torch.float64).log()
    logprobs = (torch.tensor(ratios, dtype=torch.float64).log() + anchor).requires_grad_()
    owner = None if owner is None else torch.tensor(owner)
    advantages = torch.tensor(advantages, dtype=torch.float64)
    return differentiated(name, logprobs, anchor, advantages, owner=owner, **rest)


def test_cispo_weighs_the_log_probability_with_the_clipped_ratio_held_constant():
    terms, gradient = terms_and_gradient("cispo")
    weighted = [1.0, -1.0, 10.0, 0.5]
    assert terms == pytest.approx([-w * math.log(p) for w, p in zip(weighted, POLICY, strict=True)])
    assert gradient == pytest.approx([-1.0, 1.0, -10.0, -0.5])


def test_cispo_clips_at_the_ratio_that_the_job_names():
    assert terms_and_gradient("cispo", ratio_max=3.0)[1] == pytest.approx([-1.0, 1.0, -6.0, -0.5])


def test_ppo_clip_stops_the_gradient_outside_its_bounds():
    terms, gradient = terms_and_gradient("ppo_clip")
    assert terms == pytest.approx([-1.0, 1.0, -2.56, -0.5])
    assert gradient == pytest.approx([-1.0, 1.0, 0.0, -0.5])


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("ratio_max", [1.1, 5.0])
def test_pages_know_between_which_ratios_a_loss_leaves_a_token_as_it_is(name, ratio_max):
    """Of both signs of the advantage: inside, its gradient is that without a clip; beyond, less."""
    taken = ratio_range(name, ratio_max)
    if taken is None:
        assert name in {"importance_sampling", "gspo", "dppo"}
        return
    inside, beyond = [0.999 * taken[1]], [1.001 * taken[1]]
    if taken[0]:
        inside.append(1.001 * taken[0])
        beyond.append(0.999 * taken[0])
    signs = [1.0, -1.0][: len(inside)]
    pulls = [-sign * ratio for sign, ratio in zip(signs, inside, strict=True)]
    assert of_ratios(name, inside, signs, ratio_max=ratio_max)[1] == pytest.approx(pulls)
    _, clipped = of_ratios(name, beyond, signs, ratio_max=ratio_max)
    for pull, ratio in zip(clipped, beyond, strict=True):
        assert abs(pull) < ratio


def test_importance_sampling_clips_nothing():
    terms, gradient = terms_and_gradient("importance_sampling")
    assert terms == pytest.approx([-1.0, 1.0, -20.0, -0.5])
    assert gradient == pytest.approx([-1.0, 1.0, -20.0, -0.5])


def test_dual_clip_bounds_what_a_bad_token_costs_at_three_times_its_advantage():
    terms, gradient = of_ratios("dual_clip", [2.0, 4.0, 10.0], [-0.5, -0.5, -0.5])
    assert terms == pytest.approx([1.0, 1.5, 1.5])
    assert gradient == pytest.approx([1.0, 0.0, 0.0])


def test_dual_clip_is_ppo_clip_elsewhere():
    assert terms_and_gradient("dual_clip") == terms_and_gradient("ppo_clip")


def test_gspo_gives_every_token_the_geometric_mean_of_its_rollout_s_ratios():
    # sqrt(2 * 8) = 4 is clipped; 4 * 1/4 = 1 is within the bounds, whatever its tokens are.
    terms, gradient = of_ratios(
        "gspo", [2.0, 4.0, 8.0, 0.25], [1.0, 1.0, 1.0, 3.0], owner=[7, -3, 7, -3]
    )
    assert terms == pytest.approx([-1.0004, -1.0, -1.0004, -3.0])
    assert gradient == pytest.approx([0.0, -1.0, 0.0, -3.0])


def test_gspo_clips_a_bad_rollout_from_below_alone():
    terms, gradient = of_ratios(
        "gspo", [0.25, 0.25, 2.0, 8.0], [-1.0, -1.0, -1.0, -1.0], owner=[0, 0, 1, 1]
    )
    assert terms == pytest.approx([0.9997, 0.9997, 4.0, 4.0])
    assert gradient == pytest.approx([0.0, 0.0, 4.0, 4.0])


def test_gspo_holds_the_log_of_its_ratio_at_10():
    terms, gradient = of_ratios("gspo", [math.exp(12.0)], [-1.0])
    assert terms == pytest.approx([math.exp(10.0)])
    assert gradient == [0.0]


def test_dppo_drops_tokens_whose_probability_has_moved_too_far_the_wrong_way():
    # Moved by 0, 0.4, 0.45 and -0.2 + a rounding: only the third goes the way of its advantage.
    terms, gradient = terms_and_gradient("dppo")
    ratios, kept = [1.0, 2.0, 10.0, 0.5], [-1.0, 1.0, 0.0, -0.5]
    pull = [0.25e-3 * math.log(ratio) ** 2 for ratio in ratios]
    slope = [0.5e-3 * math.log(ratio) for ratio in ratios]
    assert terms == pytest.approx([k + p for k, p in zip(kept, pull, strict=True)])
    assert gradient == pytest.approx([k + s for k, s in zip(kept, slope, strict=True)])


def test_dppo_drops_by_difference_and_not_by_ratio():
    # 0.05 to 0.2 is four times as likely and moved by 0.15; 0.05 to 0.3 moved by 0.25.
    _, gradient = of_ratios("dppo", [4.0, 6.0], [1.0, 1.0], weight=0.0)
    assert gradient == pytest.approx([-4.0, 0.0])


def test_dppo_drops_a_bad_token_that_has_fallen_too_far():
    logprobs = torch.tensor([0.5, 0.7], dtype=torch.float64).log().requires_grad_()
    anchor = torch.tensor([0.8, 0.8], dtype=torch.float64).log()
    advantages = torch.tensor([-1.0, -1.0], dtype=torch.float64)
    terms, gradient = differentiated("dppo", logprobs, anchor, advantages, weight=0.0)
    assert terms == pytest.approx([0.0, 0.875])
    assert gradient == pytest.approx([0.0, 0.875])


@pytest.mark.parametrize("name", ["gspo", "dppo"])
def test_whole_rollouts_in_other_micro_batches_leave_the_sums_as_they_are(name):
    ratios, advantages = [1.001, 0.9991, 3.0, 0.5, 1.2], [0.2, 0.2, -0.1, -0.1, -0.1]
    terms, gradient = of_ratios(name, ratios, advantages, [0, 0, 1, 1, 1], weight=0.2)
    first = of_ratios(name, ratios[:2], advantages[:2], [0, 0], weight=0.2)
    second = of_ratios(name, ratios[2:], advantages[2:], [0, 0, 0], weight=0.2)
    assert sum(terms) == pytest.approx(sum(first[0]) + sum(second[0]), rel=1e-12)
    assert gradient == pytest.approx(first[1] + second[1], rel=1e-12)


@pytest.mark.parametrize("name", sorted(LOSSES))
def test_a_log_ratio_beyond_20_stays_finite(name):
    logprobs = torch.tensor([-1.0, -900.0], requires_grad=True)
    anchor = torch.tensor([-900.0, -1.0])
    terms, gradient = differentiated(name, logprobs, anchor, torch.ones(2))
    assert all(map(math.isfinite, terms + gradient))


@pytest.mark.parametrize("name", sorted(LOSSES))
def test_no_tokens_are_no_terms(name):
    none = torch.zeros(0)
    assert differentiated(name, none.clone().requires_grad_(), none, none) == ([], [])


@pytest.mark.parametrize("name", sorted(LOSSES))
def test_a_token_without_advantage_has_a_gradient_exactly_where_its_loss_pulls(name):
    _, gradient = of_ratios(name, [0.9, 1.1], [0.0, 0.0])
    assert any(gradient) == LOSSES[name].pulls


def kl_terms_and_gradient(policy, base):
    policy.requires_grad_()
    terms = base_kl(policy, base)
    terms.sum().backward()
    return terms.tolist(), policy.grad.tolist()


def test_kl_is_the_k3_estimate_and_pulls_towards_the_base():
    # Ratios of base to policy: 1, 2 and 1/4.
    policy = torch.tensor([0.5, 0.2, 0.4], dtype=torch.float64).log()
    base = torch.tensor([0.5, 0.4, 0.1], dtype=torch.float64).log()
    terms, gradient = kl_terms_and_gradient(policy, base)
    assert terms == pytest.approx([0.0, 1 - math.log(2), 2 * math.log(2) - 0.75], abs=1e-15)
    assert gradient == pytest.approx([0.0, -1.0, 0.75], abs=1e-15)


def test_kl_holds_its_log_ratio_within_20_where_it_no_longer_pulls():
    policy = torch.tensor([-900.0, -1.0], dtype=torch.float64)
    terms, gradient = kl_terms_and_gradient(policy, policy.detach().flip(0))
    assert terms == pytest.approx([math.exp(20) - 21, 19 + math.exp(-20)], rel=1e-12)
    assert gradient == [0.0, 0.0]


def test_kl_over_all_tokens_of_the_policy_is_the_exact_one_and_its_gradient_the_reverse_one_s():
    generator = torch.Generator().manual_seed(1)
    scores, others = torch.randn(2, 9, dtype=torch.float64, generator=generator)
    scores.requires_grad_()
    policy, base = torch.log_softmax(scores, -1), torch.log_softmax(others, -1)
    weighted = policy.detach().exp() * base_kl(policy, base)
    exact = (policy.exp() * (policy - base)).sum()
    assert weighted.sum().item() == pytest.approx(exact.item(), rel=1e-12)
    (found,) = torch.autograd.grad(weighted.sum(), scores, retain_graph=True)
    (reverse,) = torch.autograd.grad((base.exp() * (base - policy)).sum(), scores)
    torch.testing.assert_close(found, reverse, rtol=1e-12, atol=1e-12)


def test_kl_of_close_log_probabilities_is_small_and_not_negative():
    policy = torch.linspace(-12.0, -1e-3, 1000)
    terms = base_kl(policy, policy + torch.linspace(-1e-3, 1e-3, 1000))
    assert terms.min() >= 0
    assert terms.max() <= 1e-6


def test_an_unknown_loss_is_named_together_with_the_known_ones():
    with pytest.raises(
        RunFailed, match="“magic”.*cispo, dppo, dual_clip, gspo, importance_sampling"
    ):
        loss_named("magic")


def test_the_engine_knows_exactly_the_losses_that_may_be_chosen():
    assert sorted(LOSSES) == sorted(options.LOSSES)
