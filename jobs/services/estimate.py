"""What a job that was not started would take, from what the newest job on its model took."""

from __future__ import annotations

from math import ceil

from hone.accounts.models import Organisation
from jobs.models import RunKind, Usage
from jobs.services.chosen import Inputs
from jobs.services.hyperparameters import Setting, value_of
from jobs.services.request import Estimate
from jobs.workbench.measures import quantile

NEWEST = 100
FEWEST = 3
"""Steps of a job that a pace is read from."""


def job_estimate(
    organisation: Organisation, chosen: Inputs, settings: list[Setting], validation_rows: int
) -> Estimate:
    """Rollouts of training and validation, and the time that they would take here."""
    steps = value_of(settings, "steps")
    evaluations = 1 + ceil(steps / value_of(settings, "eval_interval"))
    rollouts = steps * value_of(settings, "batch_size") * value_of(settings, "group_size")
    rollouts += evaluations * validation_rows * value_of(settings, "eval_samples")
    like, paces = _paces(organisation, chosen)
    if len(paces) < FEWEST:
        return Estimate(steps, rollouts)
    low, middle, high = (rollouts * (quantile(paces, share) or 0.0) for share in (0.25, 0.5, 0.75))
    return Estimate(steps, rollouts, middle, low, high, like)


def _paces(organisation: Organisation, chosen: Inputs) -> tuple[tuple[str, str], list[float]]:
    """Seconds a rollout, step by step, of the newest job on the base model."""
    rows = Usage.objects.filter(
        run__job__organisation=organisation,
        run__job__base_model=chosen.base_model,
        run__kind=RunKind.TRAIN,
        step__gt=0,
        rollouts__gt=0,
    ).order_by("-pk")[:NEWEST]
    found = list(rows.values_list("run__job_id", "run__job__name", "seconds", "rollouts"))
    like = found[0][:2] if found else ("", "")
    return like, [seconds / n for job_id, _, seconds, n in found if job_id == like[0]]
