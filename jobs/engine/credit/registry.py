"""All advantage estimators by the name that a job's `advantage` field uses."""

from __future__ import annotations

from jobs.engine.credit.base import Estimator
from jobs.engine.credit.group_std import group_std
from jobs.engine.credit.mean_centred import mean_centred
from jobs.engine.credit.rloo import rloo
from jobs.engine.errors import RunFailed

ESTIMATORS: dict[str, Estimator] = {
    "mean_centred": mean_centred,
    "group_std": group_std,
    "rloo": rloo,
}


def estimator_named(name: str) -> Estimator:
    if name not in ESTIMATORS:
        known = ", ".join(sorted(ESTIMATORS))
        raise RunFailed("unknown_advantage", f"advantage is “{name}”; this engine knows: {known}")
    return ESTIMATORS[name]
