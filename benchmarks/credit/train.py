"""One run: a method learns a world, by the engine's own sampler, episodes, credit and learner."""

from __future__ import annotations

import asyncio
import statistics
import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from itertools import groupby
from pathlib import Path
from time import monotonic
from typing import Any

import torch

from benchmarks.credit.methods import Method
from benchmarks.credit.tools import WorldTools
from benchmarks.credit.worlds.base import World
from graders.kinds.base import Grading
from jobs.engine.credit.assign import assign_credit
from jobs.engine.credit.groups import Group, training_rewards
from jobs.engine.learning.losses.registry import loss_named
from jobs.engine.learning.model import load_policy
from jobs.engine.learning.update import Learner
from jobs.engine.rollout.episode import EpisodeSettings
from jobs.engine.rollout.grading import apply_grading
from jobs.engine.rollout.identity import RolloutRequest
from jobs.engine.rollout.loops import MIN_LOOP_TOKENS, WARN_AT, ToolLoopDetector
from jobs.engine.rollout.render import ChatRenderer
from jobs.engine.rollout.runner import RolloutRunner
from jobs.engine.sampling.local import LocalSampler
from jobs.engine.spec import DataSpec, JobSpec, LoraSpec
from jobs.engine.types import Trajectory

GROUP_SIZE = 8
GROUPS = 4
"""Of an iteration: all tasks of the world, equally often."""
LEARNING_RATE = 2e-3
LORA = LoraSpec(rank=8, alpha=16)
SMOOTHED = 3
"""The bar is on the mean of so many iterations: 96 rollouts, each drawn before it is trained on."""


@dataclass
class Run:
    """What happened, an entry an iteration."""

    world: str
    method: str
    seed: int
    cap: int
    rewards: list[float] = field(default_factory=list)
    attained: list[float] = field(default_factory=list)
    """What the bar is on."""
    loop_rates: list[float] = field(default_factory=list)
    tokens: list[list[int]] = field(default_factory=list)
    """Sampled tokens of each rollout."""
    gate_open: list[bool] = field(default_factory=list)
    explained: list[float] = field(default_factory=list)
    reached: int | None = None
    seconds: float = 0.0

    @property
    def iterations(self) -> int:
        """To the bar; a run that never gets there counts as the cap."""
        return self.cap if self.reached is None else self.reached

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


class Trainer:
    """The parts of one run, wired as the engine wires them."""

    def __init__(self, world: World, method: Method, seed: int, base: Path) -> None:
        self.world, self.method = world, method
        spec = JobSpec(
            run_id=f"{world.name}-{seed}",
            seed=seed,
            model_path=str(base),
            device="cpu",
            train=DataSpec(""),
            validation=DataSpec(""),
            grader={},
            budgets=world.budgets,
            groups_per_step=GROUPS,
            group_size=GROUP_SIZE,
            learning_rate=LEARNING_RATE,
            lora=LORA,
            credit=method.credit,
        )
        policy = load_policy(spec)
        self.sampler = LocalSampler(
            policy.model,
            policy.tokenizer,
            device=policy.device,
            lock_step=True,
            capacity=world.budgets.max_total_tokens,
        )
        self.tools = WorldTools(world)
        settings = EpisodeSettings(
            budgets=world.budgets,
            seed=seed,
            temperature=spec.temperature,
            run_id=spec.run_id,
            context_length=policy.context_length,
        )
        self.runner = RolloutRunner(
            self.sampler, ChatRenderer(policy.tokenizer), self.tools, settings
        )
        self.learner = Learner(policy, spec, loss_named(spec.loss.name))
        self.gate = 0.0
        self.run = Run(world.name, method.name, seed, world.cap)

    async def iterate(self, step: int) -> None:
        """Roll out, grade, note, assign credit, learn."""
        requests = [
            RolloutRequest(task, f"{task.row}-{time}", sample, "train", step)
            for task in self.world.task_list()
            for time in range(GROUPS // len(self.world.tasks))
            for sample in range(GROUP_SIZE)
        ]
        members = await self.runner.run(requests)
        for member in members:
            # assign_credit reads the scores of single turns from the turns.
            for turn, score in zip(member.turns, self._grade(member), strict=True):
                turn.score = score
        groups = [
            Group(name, tuple(own)) for name, own in groupby(members, lambda member: member.group)
        ]
        self._note(members)
        rewards = training_rewards(groups, shuffle_seed=None)
        report = assign_credit(groups, rewards, self.method.credit, evidence=self.gate)
        if report.coverage is not None:
            self.gate = report.coverage.evidence
            self.run.gate_open.append(report.coverage.weight > 0)
            self.run.explained.append(report.coverage.explained)
        if self.learner.step(members).updated:
            self.sampler.weights_changed()
        self.tools.forget()

    def _grade(self, member: Trajectory) -> list[float | None]:
        """Fill in the reward, clamped at a limit where the controls are on; returns turn scores."""
        state = self.tools.state(member.trace_id, self.world.tasks[member.row])
        member.reward = self.world.reward(state)
        if self.method.long_tail:
            apply_grading(member, Grading(reward=member.reward))
        scores: list[float | None] = [*(state.scores or [])]
        missing = [None] * (len(member.turns) - len(scores))
        return (scores + missing)[: len(member.turns)]

    def _note(self, members: Sequence[Trajectory]) -> None:
        run = self.run
        run.rewards.append(statistics.fmean(float(member.reward or 0.0) for member in members))
        run.loop_rates.append(statistics.fmean(looped(member) for member in members))
        run.tokens.append([member.sampled_tokens for member in members])
        states = [self.tools.state(m.trace_id, self.world.tasks[m.row]) for m in members]
        run.attained.append(statistics.fmean(self.world.attains(state) for state in states))
        recent = run.attained[-SMOOTHED:]
        bar = self.world.bar
        if bar is not None and len(recent) == SMOOTHED and statistics.fmean(recent) >= bar:
            run.reached = len(run.rewards)


def looped(member: Trajectory) -> bool:
    """The engine's own measure, taken afterwards, so that it counts with the controls off too."""
    calls = ToolLoopDetector()
    if any(calls.note(c.name, c.arguments, c.output or "") > WARN_AT for c in member.calls):
        return True
    return any(
        sum(1 for _ in repeats) >= MIN_LOOP_TOKENS
        for turn in member.turns
        for _, repeats in groupby(member.ids[turn.start : turn.end])
    )


def train(world: World, method: Method, seed: int, base: Path) -> Run:
    """From the world's base to the bar, or to the cap."""
    torch.set_num_threads(1)
    started = monotonic()
    trainer = Trainer(world, method, seed, base)

    async def learn() -> None:
        for step in range(1, world.cap + 1):
            await trainer.iterate(step)
            if trainer.run.reached is not None:
                break

    with method.in_force():
        asyncio.run(learn())
    trainer.run.seconds = monotonic() - started
    return trainer.run


def quiet() -> None:
    """How each process of the comparison begins: its warnings would stand in the table."""
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore")
