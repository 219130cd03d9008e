"""Grades what a comparison asks for, a few samples at a time, in a worker that may die.

A worker holds the comparison by a lease and an epoch, as runs are held: whoever's epoch is over
writes nothing. It gives the comparison back after some seconds, so that uploads and trials on
the same worker get their turn. Where a judge is away, nobody holds it for a while, and longer
each time.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import ExitStack
from typing import Any

import msgspec
from django.db import Error as DatabaseError
from django.db import transaction
from django.db.models import F, Q
from django.db.models.functions import Now

from graders.kinds.base import Grader, Grading, Sample
from graders.models import GraderVersion
from graders.services import grade_or_error, grader_ready, version_ready
from hone.core.errors import UserError
from jobs.engine import types
from jobs.engine.rollout.grading import clamped, make_sample
from jobs.models import (
    OPEN_COMPARISON,
    ComparedScore,
    Comparison,
    ComparisonStatus,
    Trajectory,
)
from jobs.models.clock import seconds_from_now
from jobs.selectors import trajectory_body
from jobs.selectors.tasks import OWN_PLACE, task_item
from jobs.services.bell import send
from jobs.services.plain import plain, plain_text
from jobs.workbench.mutations import WORDS, mutated
from jobs.workbench.plan import AS_IS, Unit, donors, units
from jobs.workbench.services import COMPARE
from jobs.workbench.upkeep import upkeep_measure

log = logging.getLogger(__name__)

LEASE_S = 300.0
LOOK_S = 5.0
"""How often a worker that waits for gradings renews its lease and sees whether its turn is over."""
TURN_S = 20.0
BATCH = 8
AT_ONCE = 4
LONGEST, MESSAGE = 100_000, 1_000
STILL_S = 30.0
FIRST_WAIT_S, LONGEST_WAIT_S = 60.0, 3600.0
MOST_WAITS = 12
"""Over seven hours for the same samples. Then their errors stand, and the others are graded."""

_FREE = Q(lease_until__isnull=True) | Q(lease_until__lt=Now())

Scored = tuple[float | None, dict[str, Any]]


def comparison_work(
    comparison_id: str, *, turn_s: float = TURN_S, stopping: Callable[[], bool] = lambda: False
) -> None:
    """Take the comparison, grade for a while, and give it back; ends at once where it is held."""
    comparison = _claim(comparison_id)
    if comparison is None:
        return
    end = time.monotonic() + turn_s

    def going() -> bool:
        return time.monotonic() < end and not stopping()

    try:
        with ExitStack() as open_, ThreadPoolExecutor(AT_ONCE, "compare") as threads:
            bench = _Bench(comparison, open_)
            while bench.remaining and going():
                if not _batch(comparison, bench, threads, going):
                    return
    except DatabaseError:
        # The sweeper rings again when the lease is over.
        raise
    except UserError as error:
        _end(comparison, ComparisonStatus.FAILED, error.message)
        return
    except Exception as error:
        # One comparison's bug must not make its worker take it for ever.
        log.exception("%s broke off", comparison_id)
        _end(comparison, ComparisonStatus.FAILED, f"{type(error).__name__}: {error}")
        return
    if bench.remaining:
        _give_back(comparison)
    else:
        _end(comparison, ComparisonStatus.DONE, upkeep=upkeep_measure(comparison))


def comparisons_ring() -> int:
    """Ring for comparisons that stand still: their worker is gone, or was never told of them."""
    quiet = Q(rung_at__isnull=True) | Q(rung_at__lt=seconds_from_now(-STILL_S))
    still = Comparison.objects.filter(_FREE, quiet, status__in=OPEN_COMPARISON)
    rung = 0
    for comparison_id in list(still.values_list("pk", flat=True)):
        # Of several sweepers, the one that moves the time rings.
        if still.filter(pk=comparison_id).update(rung_at=Now()):
            rung += send(COMPARE, comparison_id)
    return rung


class _Bench:
    """The samples of one comparison in order, from where it stands, and both graders."""

    def __init__(self, comparison: Comparison, open_: ExitStack) -> None:
        self._comparison = comparison
        self._job = comparison.job
        self._graders = (
            self._ready(comparison.version_a, comparison.spec_a, open_),
            self._ready(comparison.version_b, comparison.spec_b, open_),
        )
        chosen: list[int] = comparison.chosen
        plan = units(chosen, repeats=comparison.repeats, mutations=comparison.mutations)
        self.remaining = plan[comparison.done :]
        self._others: list[_Read] | None = None

    def _ready(self, version: GraderVersion | None, spec: Any, open_: ExitStack) -> Grader | None:
        """The spec alone where nothing is saved of it; None for the stored rewards."""
        if version is not None:
            return open_.enter_context(version_ready(version))
        if not spec:
            return None
        return open_.enter_context(grader_ready(spec, organisation=self._job.organisation))

    def batch(
        self, threads: ThreadPoolExecutor, going: Callable[[], bool]
    ) -> tuple[int, list[ComparedScore]]:
        """How many units it was, and their scores. `going` is asked every few seconds; those that
        were not begun when it says no stay for later."""
        taken = self.remaining[:BATCH]
        rows = Trajectory.objects.in_bulk({unit.trajectory for unit in taken})
        read = {pk: _Read(self._job, row) for pk, row in rows.items()}
        begun: list[Future[ComparedScore | None]] = []
        for unit in taken:
            # One that is deleted meanwhile is passed over.
            sample = self._sample(unit, read[unit.trajectory]) if unit.trajectory in read else None
            begun.append(threads.submit(self._score, *sample) if sample else _nothing())
        while wait(begun, timeout=LOOK_S).not_done:
            if not going():
                # From the end, so that what is graded is the beginning.
                for future in reversed(begun):
                    future.cancel()
        done = next((at for at, one in enumerate(begun) if one.cancelled()), len(begun))
        self.remaining = self.remaining[done:]
        return done, [row for one in begun[:done] if (row := one.result()) is not None]

    def _sample(
        self, unit: Unit, read: _Read
    ) -> tuple[ComparedScore, _Read, types.Trajectory | None] | None:
        """None for a change that cannot be made."""
        row = ComparedScore(
            comparison=self._comparison,
            trajectory=read.row,
            case=unit.case,
            attempt=unit.attempt,
        )
        if unit.case not in WORDS:
            return row, read, read.body
        if read.body is None:
            return None
        others = [other.answer for other in self._donors() if other.differs_from(read)]
        body = mutated(read.body, read.item, others).get(unit.case)
        if body is None:
            return None
        row.answer = plain_text(body.answer[:LONGEST])
        return row, read, body

    def _score(
        self, row: ComparedScore, read: _Read, body: types.Trajectory | None
    ) -> ComparedScore:
        """Fill in both sides. It runs in a thread, and reads no database."""
        if body is None:
            unread: Scored = (None, {"code": "unreadable", "message": read.problem})
            (row.a, row.detail_a), (row.b, row.detail_b) = unread, unread
            return row
        sample = make_sample(body, self._job.spec.get("response_format"))
        first, second = self._graders
        row.b, row.detail_b = _graded(second, sample, read.item, body, row.case)
        if first is not None:
            row.a, row.detail_a = _graded(first, sample, read.item, body, row.case)
        elif row.case == AS_IS:
            row.a, row.detail_a = _stored(read.row, body)
        row.gap = None if row.a is None or row.b is None else abs(row.b - row.a)
        return row

    def _donors(self) -> list[_Read]:
        """Trajectories that lend their answers to those of other tasks, read once."""
        if self._others is None:
            rows = Trajectory.objects.in_bulk(donors(self._comparison.chosen))
            read = [_Read(self._job, row) for _, row in sorted(rows.items())]
            self._others = [one for one in read if one.body is not None]
        return self._others


class _Read:
    """A trajectory with its body and its task's row; `problem` says why there is no body."""

    def __init__(self, job: Any, row: Trajectory) -> None:
        self.row = row
        self.item: Mapping[str, Any] = {}
        self.body: types.Trajectory | None = None
        self.problem = ""
        try:
            self.item = task_item(job, row)
            self.body = trajectory_body(row)
        except UserError as error:
            self.problem = error.message

    @property
    def answer(self) -> str:
        return self.body.answer if self.body is not None else ""

    def differs_from(self, other: _Read) -> bool:
        """Whether it is of a task that wants something else, so that its answer is wrong there."""
        mine, theirs = (
            {key: value for key, value in each.item.items() if key not in OWN_PLACE}
            for each in (self, other)
        )
        return self.row.row != other.row.row and mine != theirs


def _nothing() -> Future[ComparedScore | None]:
    over: Future[ComparedScore | None] = Future()
    over.set_result(None)
    return over


def _graded(
    grader: Grader | None,
    sample: Sample,
    item: Mapping[str, Any],
    body: types.Trajectory,
    case: str,
) -> Scored:
    assert grader is not None
    grading = grade_or_error(grader, sample, item)
    reward, detail = grading.reward, _detail(grading)
    if reward is not None and case == AS_IS and (kept := clamped(reward, body)) != reward:
        # As the job counts it, so that a gap is one of the graders alone.
        detail["raw"], reward = reward, kept
    return reward, detail


def _detail(grading: Grading) -> dict[str, Any]:
    error = grading.error
    rest = msgspec.to_builtins(grading)
    for name in ("reward", "error", "stdout"):
        rest.pop(name, None)
    if error is not None:
        rest |= {"code": error.code, "message": error.message[:MESSAGE], "infra": error.infra}
    found: dict[str, Any] = plain(rest)
    return found


def _outage(made: Sequence[ComparedScore]) -> str:
    """What one error says, where most samples met the world's faults; else nothing."""
    met = [
        next((detail for detail in (row.detail_a, row.detail_b) if detail.get("infra")), None)
        for row in made
    ]
    said = [detail["message"] or detail["code"] for detail in met if detail]
    return said[0] if 2 * len(said) > len(made) else ""


def _stored(row: Trajectory, body: types.Trajectory) -> Scored:
    """What the job's own grader gave when the trajectory was made."""
    detail: dict[str, Any] = {"parts": row.parts}
    seconds = body.grading.get("seconds")
    if isinstance(seconds, int | float):
        detail["seconds"] = seconds
    if row.reward is None:
        code = str(body.grading.get("code") or "ungraded")
        detail |= {"code": code, "message": row.cause[:MESSAGE]}
    found: dict[str, Any] = plain(detail)
    return row.reward, found


def _batch(
    comparison: Comparison, bench: _Bench, threads: ThreadPoolExecutor, going: Callable[[], bool]
) -> bool:
    """Grade some and save them; False where the worker holds the comparison no longer."""
    done, made = bench.batch(threads, lambda: _renew(comparison) and going())
    outage = _outage(made)
    if outage and comparison.waits < MOST_WAITS:
        _wait(comparison, outage)
        return False
    if not outage:
        comparison.waits = 0
    return _batch_save(comparison, done, made)


def _claim(comparison_id: str) -> Comparison | None:
    rows = Comparison.objects.filter(_FREE, pk=comparison_id, status__in=OPEN_COMPARISON)
    taken = rows.update(
        status=ComparisonStatus.RUNNING,
        epoch=F("epoch") + 1,
        lease_until=seconds_from_now(LEASE_S),
    )
    if not taken:
        return None
    job = ("job__organisation", "job__train_version", "job__validation_version")
    versions = (f"version_{side}__grader__organisation" for side in "ab")
    return Comparison.objects.select_related(*job, *versions).get(pk=comparison_id)


def _held(comparison: Comparison) -> Any:
    return Comparison.objects.filter(
        pk=comparison.pk, epoch=comparison.epoch, status=ComparisonStatus.RUNNING
    )


def _batch_save(comparison: Comparison, done: int, made: Sequence[ComparedScore]) -> bool:
    """Fence first; False where the comparison was cancelled or another worker has it."""
    with transaction.atomic():
        moved = _held(comparison).update(
            done=F("done") + done,
            waits=comparison.waits,
            message="",
            lease_until=seconds_from_now(LEASE_S),
        )
        if not moved:
            return False
        ComparedScore.objects.bulk_create(made, ignore_conflicts=True)
    return True


def _renew(comparison: Comparison) -> bool:
    """False where the comparison was cancelled or another worker has it."""
    return bool(_held(comparison).update(lease_until=seconds_from_now(LEASE_S)))


def _wait(comparison: Comparison, why: str) -> None:
    """Let nobody take it for a while; then the sweeper rings."""
    pause = min(FIRST_WAIT_S * 2**comparison.waits, LONGEST_WAIT_S)
    _held(comparison).update(
        waits=F("waits") + 1, message=plain_text(why), lease_until=seconds_from_now(pause)
    )


def _give_back(comparison: Comparison) -> None:
    if _held(comparison).update(lease_until=None, rung_at=Now()):
        send(COMPARE, comparison.pk)


def _end(
    comparison: Comparison, status: str, message: str = "", upkeep: dict[str, Any] | None = None
) -> None:
    _held(comparison).update(
        status=status,
        message=plain_text(message),
        upkeep=upkeep or {},
        lease_until=None,
        finished_at=Now(),
    )
