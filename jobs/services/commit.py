"""A step comes to exist: the fence and all rows of the step in one transaction."""

from __future__ import annotations

from functools import partial
from typing import Any

from django.db import transaction
from django.db.models import F
from django.db.models.functions import Now
from msgspec import to_builtins

from jobs.engine import events
from jobs.errors import Fenced
from jobs.models import (
    Checkpoint,
    Job,
    JobEvent,
    JobStep,
    Run,
    RunKind,
    Status,
    Trajectory,
    Tryout,
    Usage,
)
from jobs.models.clock import seconds_from_now
from jobs.models.trajectory import packed
from jobs.selectors.checkpoints import ROLLING
from jobs.services.artifacts import checkpoints_delete
from jobs.services.lease import Lease
from jobs.services.plain import plain, plain_text
from jobs.services.rollup import step_roll
from jobs.services.tuning import periods
from jobs.workbench.preflight_report import verdict_note


def step_commit(lease: Lease, done: events.StepDone) -> None:
    """Make a step exist, once or not at all; raises Fenced where another holder has the run."""
    with transaction.atomic():
        steps_of = Run.objects.exclude(kind=RunKind.REPLAY)
        moved = steps_of.filter(
            pk=lease.run_id,
            epoch=lease.epoch,
            status=Status.RUNNING,
            last_step=done.step - 1,
        ).update(
            last_step=done.step,
            total_steps=done.total_steps,
            deaths=0,
            lease_until=seconds_from_now(periods().lease),
            last_progress_at=Now(),
        )
        if not moved:
            raise Fenced(lease.run_id, lease.epoch)
        metrics = plain(done.metrics)
        JobStep.objects.create(
            run_id=lease.run_id,
            step=done.step,
            epoch=lease.epoch,
            metrics=metrics,
            bodies=done.bodies or "",
        )
        if lease.kind == RunKind.TRAIN:
            step_roll(lease.run_id, done.step, metrics)
        _trajectories_create(lease, done)
        _checkpoint_create(lease, done)
        _usage_create(lease, done)
        _events_create(lease, done)
        _job_update(lease, done)
        if lease.kind == RunKind.PREFLIGHT:
            verdict_note(lease.job_id)
        if lease.kind == RunKind.PLAYGROUND:
            Tryout.objects.filter(job=lease.job_id).update(live=None)


def step_committed(lease: Lease, step: int) -> bool:
    """Whether the step exists, for a commit whose outcome is unknown; raises Fenced."""
    run = Run.objects.filter(pk=lease.run_id).values("epoch", "last_step").first()
    if run is None or run["epoch"] != lease.epoch:
        raise Fenced(lease.run_id, lease.epoch)
    return bool(run["last_step"] >= step)


def _trajectories_create(lease: Lease, done: events.StepDone) -> None:
    rows = [
        Trajectory(
            run_id=lease.run_id,
            step=done.step,
            uid=row.uid,
            split=row.split,
            row=row.row,
            group=row.group,
            sample=row.sample,
            reward=row.reward,
            parts=plain(row.parts),
            advantage=row.advantage,
            trained=row.trained,
            turns=row.turns,
            tool_calls=row.tool_calls,
            tokens=row.tokens,
            total_tokens=row.total_tokens,
            stop=row.stop,
            packed_flags=packed(row.flags),
            credit=row.credit and to_builtins(row.credit),
            packed_tools=plain_text(packed(row.tools))[:2000],
            cause=plain_text(row.cause),
            excerpt=plain_text(row.excerpt[:2000]),
            seconds=row.seconds,
            bodies=done.bodies or "",
            offset=row.offset,
            length=row.length,
        )
        for row in done.trajectories
    ]
    Trajectory.objects.bulk_create(rows, batch_size=500)


def _checkpoint_create(lease: Lease, done: events.StepDone) -> None:
    ref = done.checkpoint
    if ref is None:
        return
    Checkpoint.objects.create(
        run_id=lease.run_id,
        step=ref.step,
        epoch=lease.epoch,
        path=ref.path,
        manifest_sha256=ref.manifest_sha256,
        bytes=ref.bytes,
        validation_reward=ref.validation_reward,
    )
    mine = Checkpoint.objects.filter(run_id=lease.run_id)
    mine.exclude(step__in=done.kept).filter(kept=True).update(kept=False)
    mine.filter(step__in=done.kept).update(kept=True)
    gone = mine.filter(
        kept=False, pinned=False, available=True, step__lte=done.step - ROLLING
    ).select_for_update()
    paths = dict(gone.values_list("pk", "path"))
    mine.filter(pk__in=paths).update(available=False, damage="")
    transaction.on_commit(partial(checkpoints_delete, lease.run_id, paths.values()))


def _usage_create(lease: Lease, done: events.StepDone) -> None:
    judges = done.metrics.get("judges", {}).values()
    Usage.objects.create(
        run_id=lease.run_id,
        step=done.step,
        rollouts=len(done.trajectories),
        sampled_tokens=sum(row.tokens for row in done.trajectories),
        total_tokens=sum(row.total_tokens for row in done.trajectories),
        trained_tokens=int(_figure(done, "learning", "tokens_trained") or 0),
        tool_calls=sum(row.tool_calls for row in done.trajectories),
        seconds=_figure(done, "seconds", "total") or 0.0,
        judge_calls=sum(int(judged["calls"]) for judged in judges),
        judge_tokens=sum(
            int(judged["prompt_tokens"]) + int(judged["completion_tokens"]) for judged in judges
        ),
        judge_cost=sum(float(judged["cost"]) for judged in judges),
    )


def _events_create(lease: Lease, done: events.StepDone) -> None:
    lines = [(message.level, message.code, message.text, message.data) for message in done.messages]
    said = _side_text(done) if lease.kind == RunKind.PLAYGROUND else _step_text(done)
    lines.append(("info", "step", said, {}))
    JobEvent.objects.bulk_create(
        [
            JobEvent(
                job_id=lease.job_id,
                run_id=lease.run_id,
                level=level,
                code=code[:60],
                text=plain_text(text),
                data=plain(data),
                step=done.step,
            )
            for level, code, text, data in lines
        ]
    )


def _step_text(done: events.StepDone) -> str:
    parts = [f"Step {done.step} of {done.total_steps}"]
    train = _figure(done, "train", "reward_mean")
    validation = _figure(done, "validation", "reward_mean")
    if train is not None:
        parts.append(f"train reward {train:.3f}")
    if validation is not None:
        parts.append(f"validation reward {validation:.3f}")
    tried = _figure(done, "preflight", "n")
    if tried is not None:
        parts.append(f"{tried:.0f} attempts of the base model")
    return ", ".join(parts) + "."


def _side_text(done: events.StepDone) -> str:
    (row,) = done.trajectories
    given = "no reward" if row.reward is None else f"reward {row.reward:.3f}"
    turns, calls = f"{row.turns} turn{'s' * (row.turns != 1)}", row.tool_calls
    said = f"{turns}, {calls} call{'s' * (calls != 1)}, {given}"
    return f"Side {'AB'[done.step]} is done: {said}."


def _job_update(lease: Lease, done: events.StepDone) -> None:
    train = _figure(done, "train", "reward_mean")
    validation = _figure(done, "validation", "reward_mean")
    fields: dict[str, Any] = {
        "last_step": done.step,
        "total_steps": done.total_steps,
        "engine_seconds": F("engine_seconds") + (_figure(done, "seconds", "total") or 0.0),
    }
    if train is not None:
        fields["train_reward"] = train
    if validation is not None:
        fields["last_reward"] = validation
        if done.step == 0:
            fields["baseline_reward"] = validation
        best = Job.objects.values_list("best_reward", flat=True).get(pk=lease.job_id)
        # Of equals the latest, as the engine exports.
        if best is None or validation >= best:
            fields |= {"best_reward": validation, "best_step": done.step}
    Job.objects.filter(pk=lease.job_id).update(**fields)


def _figure(done: events.StepDone, group: str, name: str) -> float | None:
    value = done.metrics.get(group, {}).get(name)
    return float(value) if isinstance(value, int | float) else None
