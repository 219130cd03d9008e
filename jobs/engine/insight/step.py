"""All that is kept of a step beyond its plain metrics. Bounded, whatever the model does."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from jobs.engine.credit.assign import CreditReport
from jobs.engine.credit.groups import Group
from jobs.engine.insight.credit import credit_insight
from jobs.engine.insight.graders import grader_insight
from jobs.engine.insight.loops import loop_insight
from jobs.engine.insight.sums import short
from jobs.engine.types import Trajectory


def step_insight(
    groups: Sequence[Group], report: CreditReport, tools: Collection[str]
) -> dict[str, Any]:
    """Of a training step: `credit` and `train`."""
    members = [member for group in groups for member in group.members]
    credit = short(credit_insight(groups, report, tools))
    return {"credit": credit, "train": split_insight(members)}


def split_insight(trajectories: Sequence[Trajectory]) -> dict[str, Any]:
    """Of training and of validation rollouts alike."""
    told = {"loops": loop_insight(trajectories), "graders": grader_insight(trajectories)}
    return {name: short(each) for name, each in told.items()}
