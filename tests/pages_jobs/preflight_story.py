"""A preflight with a past, made through the services that a worker uses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import story
import zstandard

from hone.accounts.models import Organisation, User
from jobs.engine import events
from jobs.engine.metrics import rollout_stats
from jobs.engine.reporting import trajectory_row
from jobs.engine.types import StopReason, ToolCall, Trajectory, Turn
from jobs.models import Job, Preflight, Purpose, Run, RunKind, run_folder
from jobs.services.commit import step_commit
from jobs.services.ending import run_finish
from jobs.services.lease import Lease, run_acquire

ATTEMPTS = 4
ENGINE = {
    "steps": 40,
    "groups_per_step": 2,
    "group_size": 4,
    "max_refills": 2,
    "eval_interval": 10,
    "eval_samples": 1,
}
TRIAL = {"rollouts": 8, "tokens": 64, "total_tokens": 240, "seconds": 0.8, "seconds_total": 1.7}


def preflight_make(
    user: User, organisation: Organisation, folder: Path, *, rows: Sequence[int] = (0, 3, 5, 7)
) -> Job:
    """Queued, without asking whether its base model could run."""
    job = story.job_make(
        user,
        organisation,
        folder,
        name="refunds-v4",
        version=story.dataset_make(user, organisation, "tried"),
        grader=story.grader_make(user, organisation, "tried"),
    )
    return preflight_of(job, rows)


def preflight_of(job: Job, rows: Sequence[int] = (0, 3, 5, 7)) -> Job:
    """Make a queued job a preflight."""
    Run.objects.filter(job=job).update(kind=RunKind.PREFLIGHT)
    job.purpose = Purpose.PREFLIGHT
    job.spec = {**job.spec, "engine": ENGINE}
    job.save()
    Preflight.objects.create(job=job, rows=list(rows), attempts=ATTEMPTS)
    return job


def lease_take(job: Job) -> Lease:
    lease = run_acquire(Run.objects.get(job=job).pk, holder="test", host="here")
    assert lease is not None
    return lease


def slice_commit(
    lease: Lease,
    step: int,
    rewards: dict[int, Sequence[float | None]],
    *,
    lost: str = "",
    lost_text: str = "",
    trial: dict[str, Any] | None = None,
    total: int = 1,
) -> None:
    """One slice: the rewards of each row's attempts; None is a tool fault."""
    made = [
        attempt(step, row, sample, reward)
        for row, own in rewards.items()
        for sample, reward in enumerate(own)
    ]
    stats = rollout_stats(made, {"lookup_order"})
    name = f"trajectories/step-{step:06d}.e1.zst"
    path = run_folder(lease.run_id) / name
    path.parent.mkdir(parents=True, exist_ok=True)
    frames = [zstandard.ZstdCompressor().compress(msgspec.json.encode(one)) for one in made]
    path.write_bytes(b"".join(frames))
    offsets = [sum(map(len, frames[:place])) for place in range(len(frames))]
    step_commit(
        lease,
        events.StepDone(
            step=step,
            total_steps=total,
            metrics={
                "preflight": stats | {"lost": lost, "lost_text": lost_text},
                "trial": trial or {},
                "seconds": {"rollout": 3.6 + step, "grading": 0.4, "total": 5.0},
            },
            trajectories=tuple(
                trajectory_row(one, offset, len(frame))
                for one, offset, frame in zip(made, offsets, frames, strict=True)
            ),
            bodies=name,
        ),
    )


def attempt(step: int, row: int, sample: int, reward: float | None) -> Trajectory:
    faulty = reward is None
    call = ToolCall(
        id="call_1",
        name="lookup_order",
        arguments='{"id": 5512}',
        output=None if faulty else f"delivered {story.HOSTILE}",
        status="fault" if faulty else "ok",
        attempts=4 if faulty else 1,
        seconds=0.05,
        error="502 four times" if faulty else "",
    )
    turns = [Turn(index=0, start=10, end=18, text="…", reasoning="I look it up.", calls=[call])]
    if not faulty:
        answer = f"yes {story.HOSTILE}"
        turns.append(Turn(index=1, start=20, end=28, text=answer, content=answer))
    return Trajectory(
        uid=f"p-{step}-{row}-{sample}",
        row=row,
        group=str(row),
        sample=sample,
        split="preflight",
        trace_id="trace_1",
        ids=list(range(30)),
        logprobs=[-0.5] * 30,
        entropies=[0.3] * 30,
        kinds=[0] * 10 + [1] * 20,
        turns=turns,
        stop=StopReason.TOOL_FAULT if faulty else StopReason.FINAL_ANSWER,
        reward=reward,
        cause=f"tool lookup_order: HTTP 502 {story.HOSTILE}" if faulty else "",
        seconds=2.0,
    )


def finish(lease: Lease) -> None:
    run_finish(lease, events.Finished(seconds=9.0))


def learnable(user: User, organisation: Organisation, folder: Path) -> tuple[Job, Lease]:
    """Both slices are there: three of four tasks have signal."""
    job = preflight_make(user, organisation, folder)
    lease = lease_take(job)
    slice_commit(lease, 0, {0: [1, 0, 1, 0], 3: [1, 0, 0, 0]})
    slice_commit(lease, 1, {5: [0, 1, 1, 1], 7: [0, 0, 0, 0]}, trial=TRIAL)
    return job, replace(lease)
