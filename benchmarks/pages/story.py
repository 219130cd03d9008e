"""The long job's past and future, step by step, in the shapes that the engine reports.

The same plan tells the same story, so that a database made once can be used again.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from msgspec import structs

from benchmarks.pages.attempts import attempts, long_attempt
from benchmarks.pages.plan import Plan
from jobs.engine.credit.assign import assign_credit
from jobs.engine.credit.groups import Group, training_rewards
from jobs.engine.events import CheckpointRef, Message, StepDone, TrajectoryRow
from jobs.engine.insight.step import split_insight, step_insight
from jobs.engine.learning.checkpoint import folder_name
from jobs.engine.learning.update import LearningReport
from jobs.engine.metrics import credit_stats, group_stats, rollout_stats
from jobs.engine.reporting import trajectory_row, write_bodies
from jobs.engine.spec import CreditSpec
from jobs.engine.types import Trajectory

TRAINING_TASKS = 400
VALIDATION_TASKS = 200
KEPT = 3
FRAME_BYTES = 2_000
LEVELS, MANY, FEW = 80, 25, 3
"""How many different steps there are: at each level of skill, with and without an evaluation."""
EPOCH = 1
TOOLS = frozenset({"search", "read", "calculate"})
CREDIT = CreditSpec(anchored_weight=1.0)
SLOW = Message(level="warn", code="slow_tool", text="read: 2 of 3 attempts timed out")
"""Told every 97 steps."""


Metrics = dict[str, dict[str, Any]]


@dataclass
class Story:
    """`best` holds the best evaluated steps so far, as (reward, step).

    What the engine computes of a step is computed for some hundred steps only; all others are like
    one of these, under names of their own.
    """

    plan: Plan
    total_steps: int
    seed: int = 0
    best: list[tuple[float, int]] = field(default_factory=list)
    _known: dict[tuple[int, ...], tuple[Metrics, list[TrajectoryRow]]] = field(default_factory=dict)

    def step(self, step: int, *, bodies: Path | None = None, long: bool = False) -> StepDone:
        """One step. With `bodies`, a run folder, its trajectories are written and can be opened;
        `long` adds the long one to them."""
        rng = Random(f"{self.seed}:{step}")
        if bodies is not None:
            metrics, made = self._made(step, rng, long=long)
            name, rows = write_bodies(bodies, step, EPOCH, made)
        else:
            metrics, rows = self._alike(step, rng)
            name = f"trajectories/{folder_name(step)}.e{EPOCH}.zst"
        metrics = {**metrics, "seconds": _seconds(rng, evaluated="validation" in metrics)}
        reward = metrics.get("validation", {}).get("reward_mean")
        if reward is not None:
            self.best = sorted([*self.best, (reward, step)], reverse=True)[:KEPT]
        return StepDone(
            step=step,
            total_steps=self.total_steps,
            metrics=metrics,
            trajectories=rows,
            bodies=name,
            checkpoint=CheckpointRef(
                step=step,
                path=f"checkpoints/{folder_name(step)}",
                manifest_sha256=f"{rng.getrandbits(256):064x}",
                bytes=18_400_000,
                validation_reward=reward,
            ),
            kept=tuple(step for _, step in self.best),
            messages=(SLOW,) if step % 97 == 96 else (),
        )

    def _alike(self, step: int, rng: Random) -> tuple[Metrics, tuple[TrajectoryRow, ...]]:
        """A step that is like one that was made before, or that others will be like."""
        evaluated = step % self.plan.eval_every == 0
        level = LEVELS * step // self.total_steps
        key = (level, int(step > 0), int(evaluated), rng.randrange(FEW if evaluated else MANY))
        if key not in self._known:
            metrics, made = self._made(step, rng)
            rows = [
                trajectory_row(each, at * FRAME_BYTES, FRAME_BYTES) for at, each in enumerate(made)
            ]
            self._known[key] = metrics, rows
        metrics, rows = self._known[key]
        if step:
            tokens = metrics["learning"]["tokens_trained"]
            metrics = {**metrics, "learning": _learning(rng, step, tokens)}
        return metrics, tuple(self._renamed(step, at, row) for at, row in enumerate(rows))

    def _renamed(self, step: int, at: int, row: TrajectoryRow) -> TrajectoryRow:
        task = row.row
        if row.split == "train":
            task = self._task(step, at // self.plan.group_size)
        return structs.replace(
            row,
            uid=f"{row.split[0]}{step}-r{task}-{row.sample}",
            row=task,
            group=f"{row.split}-{step}-{task}",
        )

    def _made(
        self, step: int, rng: Random, *, long: bool = False
    ) -> tuple[Metrics, list[Trajectory]]:
        """The step as the engine makes it, after the attempts, and what `jobs.engine.loop` reports
        of it."""
        skill = 0.25 + 0.5 * (1 - math.exp(-4 * step / self.total_steps))
        metrics: Metrics = {}
        trained: list[Trajectory] = []
        if step:
            groups = self._groups(rng, step, skill)
            if long:
                made = long_attempt(step, 0)
                groups.append(Group(made.group, (made,)))
            trained = [member for group in groups for member in group.members]
            credit = assign_credit(groups, training_rewards(groups, shuffle_seed=None), CREDIT)
            tokens = sum(member.trained_tokens for member in trained if member.trained)
            metrics["train"] = rollout_stats(trained, TOOLS)
            metrics["groups"] = group_stats(groups, credit.counts)
            metrics["learning"] = _learning(rng, step, tokens)
            metrics["credit"] = credit_stats(credit)
            metrics["insight"] = step_insight(groups, credit, TOOLS)
        tried: list[Trajectory] = []
        if step % self.plan.eval_every == 0:
            tried = self._evaluation(rng, step, skill)
            metrics["validation"] = rollout_stats(tried, TOOLS)
            metrics.setdefault("insight", {})["validation"] = split_insight(tried)
        return metrics, [*trained, *tried]

    def _groups(self, rng: Random, step: int, skill: float) -> list[Group]:
        found = []
        for number in range(self.plan.groups):
            row = self._task(step, number)
            name = f"train-{step}-{row}"
            members = attempts(rng, step, "train", row, name, self.plan.group_size, skill)
            found.append(Group(name, tuple(members)))
        return found

    def _task(self, step: int, group: int) -> int:
        return (step * self.plan.groups + group) % TRAINING_TASKS

    def _evaluation(self, rng: Random, step: int, skill: float) -> list[Trajectory]:
        return [
            attempts(rng, step, "validation", row, f"validation-{step}-{row}", 1, skill)[0]
            for row in range(min(self.plan.eval_tasks, VALIDATION_TASKS))
        ]


def _seconds(rng: Random, *, evaluated: bool) -> dict[str, float]:
    rollout, learning = 1.4 + rng.random(), 0.8 + 0.4 * rng.random()
    evaluation = 2.0 + rng.random() if evaluated else 0.0
    return {
        "rollout": rollout,
        "grading": 0.2 * rng.random(),
        "evidence": 0.01,
        "learning": learning,
        "evaluation": evaluation,
        "checkpoint": 0.1,
        "total": rollout + learning + evaluation + 0.3,
    }


def _learning(rng: Random, step: int, tokens: int) -> dict[str, Any]:
    return LearningReport(
        updated=bool(tokens),
        tokens_trained=tokens,
        learning_rate=5e-4,
        loss=rng.gauss(0.0, 0.1),
        grad_norm=0.3 + 0.2 * rng.random(),
        entropy=0.9 / (1 + step / 20_000) + 0.05 * rng.random(),
        mismatch_kl=1e-4 * rng.random(),
        effective_sample_size=0.9 + 0.1 * rng.random(),
        ratio_clipped=0.01 * rng.random(),
    ).as_dict()
