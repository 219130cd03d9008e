"""The training loop: roll out, grade, assign credit, learn, evaluate, save, report."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import msgspec

from graders.kinds.judging.judges import Judges
from jobs.engine.alarms import raise_alarms
from jobs.engine.collect import Batch, Collector
from jobs.engine.control import ControlReader
from jobs.engine.credit.assign import assign_credit
from jobs.engine.credit.groups import training_rewards
from jobs.engine.events import Message, StepDone
from jobs.engine.evidence import Evidence
from jobs.engine.insight.step import split_insight, step_insight
from jobs.engine.judge_costs import judge_stats
from jobs.engine.learning.checkpoint import TrainingState
from jobs.engine.learning.update import Learner
from jobs.engine.metrics import credit_stats, duplicate_stats, group_stats, rollout_stats
from jobs.engine.ranks import Alone, Ranks
from jobs.engine.reporting import EventWriter, write_bodies
from jobs.engine.saving import Saver
from jobs.engine.signal_messages import signal_messages
from jobs.engine.spec import Handshake


@dataclass(slots=True)
class StepRecord:
    """What a step gathers until it is reported."""

    step: int
    train: Batch = field(default_factory=Batch)
    validation: Batch | None = None
    metrics: dict[str, dict[str, Any]] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    messages: tuple[Message, ...] = ()
    started: float = field(default_factory=time.monotonic)


@dataclass(slots=True)
class TrainingLoop:
    """One run, from its last committed step to its last step."""

    handshake: Handshake
    collector: Collector
    evidence: Evidence
    learner: Learner
    saver: Saver
    writer: EventWriter
    control: ControlReader
    weights_changed: Callable[[], None]
    judges: Judges
    ranks: Ranks = field(default_factory=Alone)

    @property
    def _tools(self) -> frozenset[str]:
        return frozenset(tool.name for tool in self.handshake.spec.tools)

    async def run(self, state: TrainingState) -> TrainingState:
        spec = self.handshake.spec
        if state.step < 0:
            state = await self._baseline(state)
        last = spec.steps if spec.kind == "train" else 0
        while state.step < last:
            state = await self._train_step(state, state.step + 1)
        return state

    async def _baseline(self, state: TrainingState) -> TrainingState:
        record = StepRecord(step=0)
        await self._evaluate(record)
        return self._finish(record, msgspec.structs.replace(state, step=0))

    async def _train_step(self, state: TrainingState, step: int) -> TrainingState:
        spec = self.handshake.spec
        record = StepRecord(step=step)
        record.train = await self.collector.training(step, state.position)
        started = time.monotonic()
        evidence = await self.evidence.gather(record.train.groups, step)
        record.seconds["evidence"] = time.monotonic() - started
        gate = self._learn(record, evidence, state.gate)
        silent = 0 if record.metrics["learning"]["updated"] else state.silent_steps + 1
        if step % spec.eval_interval == 0 or step == spec.steps:
            await self._evaluate(record)
        alarms, raised = raise_alarms(state.alarms, step, record.metrics)
        signals = signal_messages(record.train.trajectories, record.metrics, silent)
        record.messages = (*signals, *raised)
        return self._finish(
            record,
            msgspec.structs.replace(
                state,
                step=step,
                position=record.train.position,
                updates=self.learner.updates,
                silent_steps=silent,
                alarms=alarms,
                gate=gate,
            ),
        )

    def _learn(self, record: StepRecord, evidence: dict[str, Any], gate: float) -> float:
        """Credit and the update; returns what the gate of the step term remembers from now on."""
        spec, groups, members = self.handshake.spec, record.train.groups, record.train.trajectories
        self.writer.progress(record.step, "learning", 0, len(members))
        started = time.monotonic()
        shuffle = f"shuffle:{spec.seed}:{record.step}" if spec.shuffle_rewards else None
        rewards = training_rewards(groups, shuffle_seed=shuffle)
        credit = assign_credit(groups, rewards, spec.credit, evidence=gate)
        report = self.learner.step(members, self.control.check)
        if report.updated:
            self.weights_changed()
        record.metrics["train"] = rollout_stats(members, self._tools)
        record.metrics["groups"] = group_stats(groups, credit.counts)
        record.metrics["duplicates"] = duplicate_stats(groups)
        record.metrics["learning"] = report.as_dict()
        record.metrics["credit"] = credit_stats(credit) | evidence
        record.metrics["insight"] = step_insight(groups, credit, self._tools)
        record.seconds["learning"] = time.monotonic() - started
        return credit.coverage.evidence if credit.coverage else gate

    async def _evaluate(self, record: StepRecord) -> None:
        started = time.monotonic()
        record.validation = await self.collector.validation(record.step)
        evaluated = record.validation.trajectories
        record.metrics["validation"] = rollout_stats(evaluated, self._tools)
        record.metrics.setdefault("insight", {})["validation"] = split_insight(evaluated)
        record.seconds["evaluation"] = time.monotonic() - started

    def _finish(self, record: StepRecord, state: TrainingState) -> TrainingState:
        """Save everything of the step, then say so: the event is the last thing of a step."""
        reward = record.metrics.get("validation", {}).get("reward_mean")
        if reward is not None:
            evaluations = {**state.evaluations, str(state.step): reward}
            state = msgspec.structs.replace(state, evaluations=evaluations)
        judged = judge_stats(self.judges, self.ranks)
        if judged:
            record.metrics["judges"] = judged
        if self.ranks.index:
            return state
        self.control.check()
        started = time.monotonic()
        members = record.train.trajectories
        members += record.validation.trajectories if record.validation else []
        bodies, rows = write_bodies(self.saver.run_dir, record.step, self.handshake.epoch, members)
        checkpoint = self.saver.save(state, reward)
        now = time.monotonic()
        record.metrics["seconds"] = {
            "rollout": record.train.rollout_seconds,
            "grading": record.train.grading_seconds,
            "evidence": record.seconds.get("evidence", 0.0),
            "learning": record.seconds.get("learning", 0.0),
            "evaluation": record.seconds.get("evaluation", 0.0),
            "checkpoint": now - started,
            "total": now - record.started,
        }
        self.writer.emit(
            StepDone(
                step=record.step,
                total_steps=self.handshake.spec.steps,
                metrics=record.metrics,
                trajectories=rows,
                bodies=bodies,
                checkpoint=checkpoint,
                kept=self.saver.kept(state),
                messages=record.messages,
            )
        )
        self.saver.tidy(state)
        return state
