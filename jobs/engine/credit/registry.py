"""All advantage estimators by the name that a job's `advantage` field uses."""

from __future__ import annotations

from jobs.engine.credit.base import Estimator, per_group
from jobs.engine.credit.group_std import group_std
from jobs.engine.credit.maxrl import maxrl
from jobs.engine.credit.mean_centred import mean_centred
from jobs.engine.credit.reinforce_pp_baseline import reinforce_pp_baseline
from jobs.engine.credit.rloo import rloo
from jobs.engine.errors import RunFailed

ESTIMATORS: dict[str, Estimator] = {
    "mean_centred": per_group(mean_centred),
    "group_std": per_group(group_std),
    "rloo": per_group(rloo),
    "reinforce_pp_baseline": reinforce_pp_baseline,
    "maxrl": per_group(maxrl),
}


def estimator_named(name: str) -> Estimator:
    if name not in ESTIMATORS:
        known = ", ".join(sorted(ESTIMATORS))
        raise RunFailed("unknown_advantage", f"advantage is “{name}”; this engine knows: {known}")
    return ESTIMATORS[name]
