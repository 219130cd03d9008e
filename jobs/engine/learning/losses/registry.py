"""All policy losses by the name that a job's `loss` field uses."""

from __future__ import annotations

from jobs.engine.errors import RunFailed
from jobs.engine.learning.losses.base import Loss
from jobs.engine.learning.losses.cispo import cispo
from jobs.engine.learning.losses.dppo import dppo
from jobs.engine.learning.losses.dual_clip import dual_clip
from jobs.engine.learning.losses.gspo import gspo
from jobs.engine.learning.losses.importance import importance_sampling
from jobs.engine.learning.losses.ppo_clip import ppo_clip

LOSSES: dict[str, Loss] = {
    "cispo": Loss(cispo),
    "ppo_clip": Loss(ppo_clip),
    "importance_sampling": Loss(importance_sampling),
    "dual_clip": Loss(dual_clip),
    "gspo": Loss(gspo),
    "dppo": Loss(dppo, pulls=True),
}


def loss_named(name: str) -> Loss:
    if name not in LOSSES:
        known = ", ".join(sorted(LOSSES))
        raise RunFailed("unknown_loss", f"loss is “{name}”; this engine knows: {known}")
    return LOSSES[name]
