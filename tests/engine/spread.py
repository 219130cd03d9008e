"""A learner spread over the ranks of torchrun; a program of its own, and what it learns alone."""

from __future__ import annotations

import sys
from pathlib import Path

import msgspec
import torch
from torch import Tensor

from jobs.engine.learning.losses.registry import loss_named
from jobs.engine.learning.model import load_policy
from jobs.engine.learning.update import Learner, LearningReport
from jobs.engine.ranks import Alone, Ranks, TorchRanks
from jobs.engine.spec import JobSpec
from jobs.engine.types import Trajectory


class Asked(msgspec.Struct):
    """What to learn from."""

    spec: JobSpec
    trajectories: list[Trajectory]


def learnt(asked: Asked, ranks: Ranks | None = None) -> tuple[Tensor, LearningReport]:
    """The gradient of one step, flat, and the report."""
    spec = asked.spec
    learner = Learner(load_policy(spec), spec, loss_named(spec.loss.name), ranks or Alone())
    kept: list[Tensor] = []
    learner.optimiser.step = lambda: kept.extend(  # type: ignore[method-assign,assignment]
        parameter.grad.flatten().clone()
        for _, parameter in learner.policy.trainable
        if parameter.grad is not None
    )
    report = learner.step(asked.trajectories)
    return torch.cat(kept), report


def main() -> None:
    folder = Path(sys.argv[1])
    torch.set_num_threads(1)
    asked = msgspec.json.decode((folder / "asked.json").read_bytes(), type=Asked)
    ranks = TorchRanks()
    gradient, report = learnt(asked, ranks)
    received = msgspec.json.encode([member.received for member in asked.trajectories])
    found = {"gradient": gradient, "report": report.as_dict(), "received": received}
    torch.save(found, folder / f"rank{ranks.index}.pt")


if __name__ == "__main__":
    main()
