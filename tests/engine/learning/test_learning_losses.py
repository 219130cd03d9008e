"""Each policy loss against numbers computed by hand."""

from __future__ import annotations

import math

import pytest
import torch

from jobs.engine.errors import RunFailed
from jobs.engine.learning.losses.registry import LOSSES, loss_named

torch.set_num_threads(1)

# Ratios of policy to rollout: 1, 2, 10, 0.5.
POLICY = [0.5, 0.8, 0.5, 0.2]
ROLLOUT = [0.5, 0.4, 0.05, 0.4]
ADVANTAGES = [1.0, -0.5, 2.0, 1.0]


def terms_and_gradient(name, ratio_max=5.0):
    logprobs = torch.tensor(POLICY, dtype=torch.float64).log().requires_grad_()
    anchor = torch.tensor(ROLLOUT, dtype=torch.float64).log()
    advantages = torch.tensor(ADVANTAGES, dtype=torch.float64)
    terms = LOSSES[name](logprobs, anchor, advantages, ratio_max=ratio_max)
    terms.sum().backward()
    return terms.tolist(), logprobs.grad.tolist()


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


def test_importance_sampling_clips_nothing():
    terms, gradient = terms_and_gradient("importance_sampling")
    assert terms == pytest.approx([-1.0, 1.0, -20.0, -0.5])
    assert gradient == pytest.approx([-1.0, 1.0, -20.0, -0.5])


@pytest.mark.parametrize("name", sorted(LOSSES))
def test_a_log_ratio_beyond_20_stays_finite(name):
    logprobs = torch.tensor([-1.0, -900.0], requires_grad=True)
    anchor = torch.tensor([-900.0, -1.0])
    LOSSES[name](logprobs, anchor, torch.ones(2), ratio_max=5.0).sum().backward()
    assert torch.isfinite(logprobs.grad).all()


def test_an_unknown_loss_is_named_together_with_the_known_ones():
    with pytest.raises(RunFailed, match="“gspo”.*cispo, importance_sampling, ppo_clip"):
        loss_named("gspo")
