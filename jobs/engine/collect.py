"""Draws tasks, rolls them out, has them graded; an outage pauses the run."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from jobs.engine.credit.base import is_graded
from jobs.engine.credit.groups import Group, Signal, group_signal
from jobs.engine.errors import PauseReason, RunFailed, RunPaused
from jobs.engine.ranks import Alone, Ending, Ranks, as_ending, own_share
from jobs.engine.reporting import EventWriter, Phase
from jobs.engine.rollout.grading import HeldOutScore
from jobs.engine.rollout.identity import RolloutRequest
from jobs.engine.spec import JobSpec
from jobs.engine.tasks import TaskFile, TaskOrder
from jobs.engine.types import FAULTS, StopReason, Task, Trajectory

FAULT_SHARE_MAX = 0.5
TRIES = 3
SHOWN_ANSWER = 200
REMEDIES: dict[PauseReason, str] = {
    "tool_unavailable": "It goes on by itself when the tool answers again.",
    "grader_unavailable": "It goes on by itself when the grader answers again.",
    "too_slow": (
        "Resume it when the machine has less to do, or clone it with more seconds a trajectory "
        "or fewer tasks a step."
    ),
}
GRADER_REMEDY = "Nothing of this step was trained. Mend the grader and clone the job."

RECORDING_REMEDY = (
    "A recording misses the same calls every time, so nothing is waited for. Record these calls "
    "too, or clone the job without the recording."
)


class Runner(Protocol):
    """Rolls out many requests at once, and answers in their order."""

    async def run(
        self,
        requests: Sequence[RolloutRequest],
        on_done: Callable[[Trajectory], None] | None = None,
    ) -> list[Trajectory]: ...


class Grades(Protocol):
    """Fills in the reward of one rollout, or says why it has none."""

    async def grade(self, trajectory: Trajectory, task: Task) -> None: ...


@dataclass(slots=True)
class Batch:
    """What a step collected. `position`: where the next draw of tasks goes on."""

    groups: list[Group] = field(default_factory=list)
    position: int = 0
    rollout_seconds: float = 0.0
    grading_seconds: float = 0.0

    @property
    def trajectories(self) -> list[Trajectory]:
        return [member for group in self.groups for member in group.members]

    @property
    def with_signal(self) -> int:
        """Groups that can teach something."""
        return sum(
            group_signal([float(m.reward or 0.0) for m in group.graded]) is Signal.WITH_SIGNAL
            for group in self.groups
        )

    def outage(self) -> tuple[PauseReason, str] | None:
        """Set where more than half of the rollouts are lost to one part of the world."""
        members = self.trajectories
        tool = [m for m in members if m.stop is StopReason.TOOL_FAULT]
        late = [m for m in members if m.stop is StopReason.TIME_LIMIT]
        grader = [m for m in members if m.stop is StopReason.GRADER_FAULT]
        if grader:
            grader += self._grader_errors()
        reason: PauseReason
        for reason, what, lost in (
            ("tool_unavailable", "a tool fault", tool),
            ("grader_unavailable", "a grader fault", grader),
            ("too_slow", "the clock", late),
        ):
            if len(lost) > FAULT_SHARE_MAX * len(members):
                cause, _ = _commonest_cause(lost)
                return reason, (
                    f"{len(lost)} of {len(members)} rollouts were lost to {what}, most often: "
                    f"{cause.rstrip('.')} (for example row {_example(lost, cause).row + 1})"
                )
        return None

    def grader_failure(self) -> str | None:
        """Set where the grader itself gives more than half of the rollouts no reward.

        Its own errors come back with every try, so waiting for it would be waiting for ever.
        """
        lost, total = self._grader_errors(), len(self.trajectories)
        if len(lost) <= FAULT_SHARE_MAX * total:
            return None
        cause, times = _commonest_cause(lost)
        example = _example(lost, cause)
        cause = cause.removeprefix("grader: ").rstrip(".")
        others = f", and {len(lost)} of {total} have no reward" if times < len(lost) else ""
        return (
            f"{cause} in {times} of {total} rollouts{others}; for example in row "
            f"{example.row + 1} with the answer {_shortened(example.answer)!r}."
        )

    def _grader_errors(self) -> list[Trajectory]:
        return [m for m in self.trajectories if m.stop not in FAULTS and not is_graded(m)]


def _example(lost: Sequence[Trajectory], cause: str) -> Trajectory:
    """One of those that were lost for this cause; no trajectory of a lost step is kept."""
    return next((member for member in lost if member.cause == cause), lost[0])


def _shortened(answer: str) -> str:
    return answer if len(answer) <= SHOWN_ANSWER else f"{answer[:SHOWN_ANSWER]}…"


def _commonest_cause(lost: Sequence[Trajectory]) -> tuple[str, int]:
    cause, times = Counter(member.cause for member in lost).most_common(1)[0]
    return cause or "no cause given", times


class Collector:
    """The rollouts of one run."""

    def __init__(
        self,
        spec: JobSpec,
        runner: Runner,
        grader: Grades,
        writer: EventWriter,
        *,
        held_out: HeldOutScore | None = None,
        ranks: Ranks | None = None,
        recording_name: str = "",
        retry_wait_s: float = 5.0,
    ) -> None:
        self._recording_name = recording_name
        self._held_out = held_out
        self._ranks = ranks or Alone()
        self._spec = spec
        self._runner = runner
        self._grader = grader
        self._writer = writer
        self._retry_wait_s = retry_wait_s
        self._train = TaskFile(spec.train)
        self._validation = TaskFile(spec.validation)
        self._order = TaskOrder(len(self._train), spec.seed)

    def task_of(self, trajectory: Trajectory) -> Task:
        """What a training rollout was an attempt at."""
        return self._train.of_row(trajectory.row)

    async def training(self, step: int, position: int) -> Batch:
        """Groups for one step, with refills for those that teach nothing."""
        return await self._without_outage(lambda: self._draw(step, position))

    async def validation(self, step: int) -> Batch:
        """Every validation task, as often as the job says."""
        return await self._without_outage(lambda: self._draw_validation(step))

    async def attempts(self, step: int, rows: Sequence[int], attempts: int) -> Batch:
        """Some tasks of training, `attempts` times each; what is lost is told, not tried again."""
        batch = Batch()
        requests = [
            RolloutRequest(
                task=task, group=str(task.row), sample=sample, split="preflight", step=step
            )
            for task in map(self._train.of_row, rows)
            for sample in range(attempts)
        ]
        members = await self._roll_out_everywhere(batch, requests, "rollout")
        for place, row in enumerate(rows):
            own = members[place * attempts : (place + 1) * attempts]
            batch.groups.append(Group(str(row), tuple(own)))
        return batch

    async def _without_outage(self, draw: Callable[[], Awaitable[Batch]]) -> Batch:
        for attempt in range(1, TRIES + 1):
            batch = await draw()
            failure = batch.grader_failure()
            if failure is not None:
                raise RunFailed("grader_failed", f"{failure} {GRADER_REMEDY}")
            outage = batch.outage()
            if outage is None:
                return batch
            reason, text = outage
            if reason == "tool_unavailable" and self._recording_name:
                raise RunFailed("recording_incomplete", f"{text}. {RECORDING_REMEDY}")
            # A slow machine is as slow at once again, and each try costs the whole limit.
            last = 1 if reason == "too_slow" else TRIES
            if attempt == last:
                raise RunPaused(
                    reason,
                    f"{text}. This was try {last} of {last}, so the job is paused; nothing of "
                    f"this step was trained. {REMEDIES[reason]}",
                )
            self._writer.warn(reason, f"{text}. Try {attempt} of {TRIES}; trying again.")
            await asyncio.sleep(self._retry_wait_s * attempt)
        raise AssertionError("the last try returns or raises")

    async def _draw(self, step: int, position: int) -> Batch:
        batch = Batch(position=position)
        for refill in range(self._spec.max_refills + 1):
            wanted = self._spec.groups_per_step - batch.with_signal
            if wanted == 0:
                break
            await self._add_round(batch, step, wanted, refill)
            if batch.outage() or batch.grader_failure():
                break
        return batch

    async def _add_round(self, batch: Batch, step: int, wanted: int, refill: int) -> None:
        drawn: list[tuple[str, Task]] = []
        for _ in range(wanted):
            drawn.append((str(batch.position), self._train[self._order.index(batch.position)]))
            batch.position += 1
        requests = [
            RolloutRequest(task=task, group=name, sample=sample, split="train", step=step)
            for name, task in drawn
            for sample in range(self._spec.group_size)
        ]
        members = await self._roll_out_everywhere(batch, requests, "rollout")
        size = self._spec.group_size
        for place, (name, _) in enumerate(drawn):
            group = tuple(members[place * size : (place + 1) * size])
            batch.groups.append(Group(name, group, refill))

    async def _draw_validation(self, step: int) -> Batch:
        batch = Batch()
        tasks = [self._validation[index] for index in range(len(self._validation))]
        requests = [
            RolloutRequest(
                task=task, group=str(task.row), sample=sample, split="validation", step=step
            )
            for task in tasks
            for sample in range(self._spec.eval_samples)
        ]
        members = await self._roll_out_everywhere(batch, requests, "evaluation")
        batch.groups.append(Group("validation", tuple(members)))
        return batch

    async def _grade(self, trajectory: Trajectory, task: Task) -> None:
        await self._grader.grade(trajectory, task)
        if self._held_out is not None and trajectory.split == "validation":
            await self._held_out.score(trajectory, task)

    async def _roll_out_everywhere(
        self, batch: Batch, requests: Sequence[RolloutRequest], phase: Phase
    ) -> list[Trajectory]:
        """Each rank rolls out whole groups; all get all of them, in the order of the requests."""
        ranks = self._ranks
        own = own_share(ranks, requests)
        found: list[Trajectory] = []
        failure: Ending | None = None
        try:
            if own:
                found = await self._roll_out(batch, own, phase)
        except Exception as error:
            if not ranks.index:
                raise
            failure = as_ending(error)
        members = {member.uid: member for member in await ranks.gather(found, failure)}
        return [members[request.uid] for request in requests]

    async def _roll_out(
        self, batch: Batch, requests: Sequence[RolloutRequest], phase: Phase
    ) -> list[Trajectory]:
        """Each rollout is graded as soon as it ends, while others still run."""
        started = time.monotonic()
        tasks = {request.uid: request.task for request in requests}
        grading: list[asyncio.Task[None]] = []
        step, total = requests[0].step, len(requests)

        def on_done(trajectory: Trajectory) -> None:
            grade = self._grade(trajectory, tasks[trajectory.uid])
            grading.append(asyncio.ensure_future(grade))
            if len(grading) % max(1, total // 20) == 0:
                self._writer.progress(step, phase, len(grading), total)

        try:
            members = await self._runner.run(requests, on_done)
            rolled = time.monotonic()
            await asyncio.gather(*grading)
        finally:
            for task in grading:
                task.cancel()
        batch.rollout_seconds += rolled - started
        batch.grading_seconds += time.monotonic() - rolled
        return members
