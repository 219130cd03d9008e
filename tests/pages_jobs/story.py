"""A job with a past, made through the services that a worker uses: steps, bodies, an adapter."""

from __future__ import annotations

import json
import math
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import zstandard
from django.core.files.base import ContentFile

from graders.models import GraderVersion
from graders.services import Wanted, fixture_create, typed_sample
from graders.services.authoring import grader_create
from hone.accounts.models import Organisation, User
from hone.datasets.models import DatasetVersion
from hone.datasets.services import dataset_create
from jobs.engine import events
from jobs.engine.credit.anchored import Coverage
from jobs.engine.credit.assign import CreditReport
from jobs.engine.credit.attribution import credit_summary
from jobs.engine.credit.groups import Group
from jobs.engine.insight.step import split_insight, step_insight
from jobs.engine.reporting import excerpt_of
from jobs.engine.types import (
    Attribution,
    Measured,
    Received,
    StopReason,
    TokenKind,
    ToolCall,
    Trajectory,
    Turn,
)
from jobs.models import BaseModel, Job, Run, run_folder
from jobs.models import Trajectory as Row
from jobs.services.commit import step_commit
from jobs.services.ending import replay_finish, run_fail
from jobs.services.hyperparameters import resolve_hyperparameters
from jobs.services.lease import Lease, run_acquire
from jobs.services.options import Facts
from jobs.services.replays import replay_create
from jobs.workbench.selectors import Selection
from jobs.workbench.services import Side, comparison_create, mark_set
from jobs.workbench.work import comparison_work

EXACT = {
    "type": "string_check",
    "name": "exact",
    "input": "{{sample.output_text}}",
    "reference": "{{item.answer}}",
    "operation": "eq",
}
HOSTILE = '<script>alert("x")</script> \u202egnp.exe'
TASKS = 4
ATTEMPTS = 4
TOTAL = 12
SLOW = events.Message(
    level="warn", code="slow_tool", text="lookup_order: 2 of 3 attempts timed out"
)


def task_row(number: int) -> dict[str, Any]:
    question = f"Order {number} came broken. Is a refund due? {HOSTILE}"
    return {"messages": [{"role": "user", "content": question}], "answer": "yes"}


def dataset_make(user: User, organisation: Organisation, name: str = "refunds") -> DatasetVersion:
    rows = "".join(json.dumps(task_row(number)) + "\n" for number in range(20))
    return dataset_create(
        acting_user=user,
        organisation=organisation,
        name=name,
        upload=ContentFile(rows.encode(), name=f"{name}.jsonl"),
    )


def grader_make(
    user: User,
    organisation: Organisation,
    name: str = "refund grader",
    *,
    reference: str = "{{item.answer}}",
    operation: str = "eq",
) -> GraderVersion:
    spec = {**EXACT, "reference": reference, "operation": operation}
    grader = grader_create(acting_user=user, organisation=organisation, name=name, spec=spec)
    return grader.versions.get()


def model_make(folder: Path) -> BaseModel:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "chat_template.jinja").write_text("{{ messages[0].content }}")
    return BaseModel.objects.get_or_create(
        name="base-0.6b",
        defaults={
            "source": str(folder),
            "folder": str(folder),
            "parameters": 600_000_000,
            "context_length": 32_768,
            "architecture": "Qwen3ForCausalLM",
        },
    )[0]


def job_make(
    user: User,
    organisation: Organisation,
    folder: Path,
    *,
    name: str = "refunds-v3",
    version: DatasetVersion | None = None,
    grader: GraderVersion | None = None,
) -> Job:
    """A queued job with a whole spec, without asking whether its base model could run."""
    version = version or dataset_make(user, organisation)
    grader = grader or grader_make(user, organisation)
    settings, _ = resolve_hyperparameters({"steps": TOTAL}, Facts(20, 20, 600_000_000, 32_768))
    data = {"name": "refunds v1", "sha256": "41ce" * 16, "rows": 20, "split_rows": None}
    job = Job.objects.create(
        organisation=organisation,
        name=name,
        base_model=model_make(folder),
        train_version=version,
        validation_version=version,
        grader_version=grader,
        created_by=user,
        total_steps=TOTAL,
        spec={
            "requested": {"steps": TOTAL},
            "settings": [each.as_dict() for each in settings],
            "train": data,
            "validation": data,
            "tools": [{"name": "lookup_order", "url": "https://tools.example.org/lookup"}],
            "grader": {"name": str(grader), "sha256": grader.sha256},
            "response_format": None,
        },
    )
    Run.objects.create(job=job, total_steps=TOTAL)
    return job


def lease_take(job: Job) -> Lease:
    lease = run_acquire(Run.objects.get(job=job).pk, holder="test", host="here")
    assert lease is not None
    return lease


def steps_commit(job: Job, lease: Lease, first: int, last: int) -> None:
    for step in range(first, last + 1):
        step_commit(lease, step_made(lease.run_id, step))


def step_made(run_id: str, step: int) -> events.StepDone:
    """Step 0 evaluates the base; each fourth step evaluates; rewards rise with the steps."""
    made = [*_attempts(step, "train")] if step else []
    evaluated = step % 4 == 0
    made += [*_attempts(step, "validation")] if evaluated else []
    rows, name = _bodies_write(run_id, step, made)
    metrics: dict[str, dict[str, Any]] = {
        "seconds": {"rollout": 2.1, "grading": 0.2, "learning": 1.4, "evaluation": 0.9 * evaluated,
                    "checkpoint": 0.1, "total": 3.8 + 0.9 * evaluated},
    }  # fmt: skip
    if step:
        metrics["train"] = _stats(made, "train", step)
        metrics["groups"] = {"total": TASKS, "with_signal": 3, "all_solved": 1, "all_failed": 0}
        metrics["learning"] = {
            "loss": 0.1,
            "grad_norm": 0.5,
            "entropy": 1.2 - 0.05 * step,
            "mismatch_kl": 1e-4,
            "tokens_trained": 900,
            "updated": True,
            **_audit(made),
        }
        metrics["insight"] = _insight(made)
        metrics["credit"] = {
            "turns": 24,
            "turns_with_evidence": 15,
            "anchored_share": 0.55,
            "anchored_explained": 0.31,
            "anchored_weight": 1.0,
            "reason": "55% of later turns share a state, actions explain returns",
            "continuations": 64,
        }
    if evaluated:
        metrics["validation"] = _stats(made, "validation", step)
        mine = [one for one in made if one.split == "validation"]
        metrics.setdefault("insight", {})["validation"] = split_insight(mine)
    return events.StepDone(
        step=step,
        total_steps=TOTAL,
        metrics=metrics,
        trajectories=tuple(rows),
        bodies=name,
        checkpoint=events.CheckpointRef(
            step=step,
            path=f"checkpoints/step-{step:06d}",
            manifest_sha256=f"{zlib.crc32(str(step).encode()):08x}" * 8,
            bytes=18_400_000,
            validation_reward=_reward_mean(made, "validation") if evaluated else None,
        ),
        kept=tuple(each for each in range(step + 1) if each % 4 == 0)[-3:],
        messages=(SLOW,) if step == 3 else (),
    )


def measurements_make(user: User, looped: Row) -> None:
    """Of a trajectory with two turns to measure: results of the first, and one that waits."""
    told = events.ReplayDone(
        uid=looped.uid, turn=0, delta=0.5, interval=(-0.05, 0.9), n=7, unusable=1,
        reason="1 of 8 continuations are unusable; 1 because of tool lookup_order: 502 four times",
        weights_step=8, cost={}, tools=("lookup_order",),
    )  # fmt: skip
    lost = (
        "usable are 0 of 4 continuations from before and 0 of 4 from after; at least 2 and half "
        f"are needed; 8 because of tool lookup_order: connection refused {HOSTILE}"
    )
    for end in ("done", "failed"):
        replay = replay_create(acting_user=user, trajectory=looped, turn=0)
        lease = run_acquire(replay.pk, holder="test", host="here")
        assert lease is not None
        if end == "done":
            replay_finish(lease, told)
        else:
            run_fail(lease, code="continuations_lost", text=lost)
    replay_create(acting_user=user, trajectory=looped, turn=1)


@dataclass(frozen=True)
class Bench:
    """The ids of a comparison that is done and of one that waits."""

    done: str
    queued: str


def workbench_make(user: User, job: Job, grader: GraderVersion) -> Bench:
    """Fixtures, one of which fails; marks of a person; and two comparisons of a finished job."""
    for name, answer, score in (("plain yes", "yes", 1), (f"a sentence {HOSTILE}"[:60], "Yes.", 1)):
        fixture_create(
            acting_user=user,
            grader=grader.grader,
            wanted=Wanted(name, score, score),
            sample=typed_sample(answer),
            item=task_row(1),
        )
    loose = grader_make(user, job.organisation, "loose grader", operation="ilike")
    for row in Row.objects.filter(run__job=job, step=12, split="train").exclude(reward=None):
        mark_set(acting_user=user, trajectory=row, value=row.reward)
    sides = (Side.of(grader), Side.of(loose))
    done, queued = (
        comparison_create(
            acting_user=user,
            job=job,
            sides=sides,
            selection=Selection(most=120),
            repeats=3,
            mutations=True,
        )
        for _ in range(2)
    )
    comparison_work(done.pk, turn_s=60)
    return Bench(done.pk, queued.pk)


def _attempts(step: int, split: str) -> Iterator[Trajectory]:
    for task in range(TASKS):
        for sample in range(ATTEMPTS):
            yield trajectory_made(step, split, task, sample)


def trajectory_made(step: int, split: Any, task: int, sample: int) -> Trajectory:
    """The first attempt at task 0 faults, the second loops; others are ever more often right."""
    uid = f"{split[0]}{step}-r{task}-s{sample}"
    faulty, looped = (task, sample) == (0, 0), (task, sample) == (0, 1)
    right = (task * 5 + sample * 3) % 12 < step
    again = 3 if looped else 1
    call = ToolCall(
        id="call_1",
        name="lookup_order",
        arguments='{"id": 5512, "note": "' + "long " * 30 + '"}',
        output=None if faulty else f'{{"status": "delivered"}} {HOSTILE}',
        status="fault" if faulty else "ok",
        http_status=502 if faulty else 200,
        attempts=4 if faulty else 1,
        seconds=0.091,
        bytes_sent=210,
        bytes_received=312,
        error="502 four times" if faulty else "",
    )
    turns = [
        Turn(
            index=at,
            start=10 * at,
            end=10 * at + 8,
            text="…",
            reasoning="I look it up.",
            calls=[call],
        )
        for at in range(again)
    ]
    if not (faulty or looped):
        answer = ("yes" if right else "no") if sample else f"yes {HOSTILE}"
        turns.append(Turn(index=1, start=20, end=28, text=answer, content=answer))
    stop = StopReason.FINAL_ANSWER
    if faulty or looped:
        stop = StopReason.TOOL_FAULT if faulty else StopReason.TOOL_LOOP
    reward = None if faulty else 0.0 if looped else float(right)
    trained = split == "train" and not faulty
    advantage = (reward or 0.0) - 0.5
    made = Trajectory(
        uid=uid, row=task, group=f"{split}-{step}-{task}", sample=sample, split=split,
        trace_id=f"trace_{zlib.crc32(uid.encode()):032x}",
        ids=list(range(30)), logprobs=[-0.5] * 30, entropies=[0.3] * 30, kinds=kinds_made(turns),
        turns=turns, stop=stop, reward=reward,
        parts={} if faulty else {"accuracy": reward or 0.0, "format": 1.0},
        grading=grading_made(reward, split, sample, looped=looped),
        advantage=advantage if trained else None, trained=trained,
        attribution=attribution_made(turns, advantage) if trained and sample else [],
        cause="tool lookup_order answered 502 four times" if faulty else "", seconds=6.2,
    )  # fmt: skip
    made.received = received_made(made) if trained and sample else None
    return made


def received_made(one: Trajectory) -> Received:
    """In row 3 of its step; the trainer agrees with the sampler, but each token less than the one
    before, and finds the first of each nine six times as likely."""
    places = range(len(one.trained_places))
    logs = [math.log(6) if at % 9 == 0 else -0.08 * (at % 9) for at in places]
    # The very first token is not trained.
    total = sum(8 * each.total for each in one.attribution) - one.attribution[0].total
    packed = struct.pack(f"<{len(logs)}e", *logs)
    return Received(row=2, sha256="9be1c04d77a2f350", total=total, log_ratios=packed)


def grading_made(reward: float | None, split: Any, sample: int, *, looped: bool) -> dict[str, Any]:
    """Validations have a second grader, which thinks less of the last attempt."""
    told = {"seconds": 0.04, "stdout": "checked", "raw_reward": 1.0 if looped else reward}
    if split == "validation" and reward is not None:
        told["held_out"] = {"reward": min(reward, 0.2) if sample == 3 else reward}
    return told


def kinds_made(turns: list[Turn]) -> list[int]:
    """What the turns sampled; results between them."""
    sampled = {at for turn in turns for at in range(turn.start, turn.end)}
    return [int(TokenKind.SAMPLED if at in sampled else TokenKind.TOOL) for at in range(30)]


def attribution_made(turns: list[Turn], advantage: float) -> list[Attribution]:
    """Siblings, a score and continuations speak of the first turn, nothing but the episode of the
    others."""
    first = turns[0]
    first.score = 0.8
    first.measured = Measured(delta=0.3, n=8, interval=(0.1, 0.5), unusable=1)
    return [
        Attribution(
            turn=first.index, tool_call_id="call_1", episode=advantage, step=-0.1, process=0.05,
            n=5, interval=(-0.32, 0.12), own=0.4, anchor=0.6, actions=2,
        ),
        *(Attribution(turn=turn.index, tool_call_id=None, episode=advantage) for turn in turns[1:]),
    ]  # fmt: skip


def _bodies_write(
    run_id: str, step: int, made: list[Trajectory]
) -> tuple[list[events.TrajectoryRow], str]:
    name = f"trajectories/step-{step:06d}.e3.zst"
    path = run_folder(run_id) / name
    path.parent.mkdir(parents=True, exist_ok=True)
    rows, offset = [], 0
    with path.open("wb") as file:
        for one in made:
            frame = zstandard.ZstdCompressor().compress(msgspec.json.encode(one))
            file.write(frame)
            rows.append(_row(one, offset, len(frame)))
            offset += len(frame)
    return rows, name


def _row(one: Trajectory, offset: int, length: int) -> events.TrajectoryRow:
    flags = {"looped": one.stop == StopReason.TOOL_LOOP, "ungraded": one.reward is None,
             "tool_fault": one.stop == StopReason.TOOL_FAULT}  # fmt: skip
    return events.TrajectoryRow(
        uid=one.uid, split=one.split, row=one.row, group=one.group, sample=one.sample,
        reward=one.reward, parts=one.parts, advantage=one.advantage, trained=one.trained,
        turns=len(one.turns), tool_calls=len(one.calls), tokens=one.sampled_tokens,
        total_tokens=len(one.ids), stop=str(one.stop),
        flags=tuple(name for name, is_set in flags.items() if is_set), cause=one.cause,
        tools=("lookup_order",), excerpt=excerpt_of(one), seconds=one.seconds,
        credit=credit_summary(one),
        offset=offset, length=length,
    )  # fmt: skip


def _insight(made: list[Trajectory]) -> dict[str, Any]:
    """As the engine sums a training step up; the gate of the step term is open."""
    groups: dict[str, list[Trajectory]] = {}
    for one in made:
        if one.split == "train":
            groups.setdefault(one.group, []).append(one)
    gate = Coverage(
        turns=24, anchored=13, share=0.55, explained=0.31, evidence=1.0, weight=1.0, reason=""
    )
    return step_insight(
        [Group(id=name, members=tuple(members)) for name, members in groups.items()],
        CreditReport({}, gate),
        ["lookup_order"],
    )


def _audit(made: list[Trajectory]) -> dict[str, Any]:
    total = sum(8 * each.total for one in made if one.trained for each in one.attribution)
    names = ("audit_by_turn", "audit_by_token", "audit_received")
    audited = sum(one.trained for one in made)
    return {**dict.fromkeys(names, total), "audited": audited, "audit_differing": 0}


def _reward_mean(made: list[Trajectory], split: str) -> float:
    rewards = [one.reward for one in made if one.split == split and one.reward is not None]
    return sum(rewards) / len(rewards)


def _stats(made: list[Trajectory], split: str, step: int) -> dict[str, Any]:
    mine = [one for one in made if one.split == split]
    stops: dict[str, int] = {}
    for one in mine:
        stops[str(one.stop)] = stops.get(str(one.stop), 0) + 1
    mean = _reward_mean(made, split)
    return {
        "n": len(mine), "graded": len(mine) - 1, "ungraded": 1, "reward_mean": mean,
        "reward_sd": 0.4, "parts": {"accuracy": mean, "format": 1.0},
        "tool_calls_mean": 4.0 - 0.1 * step, "tool_calls_p95": 8.0 - 0.3 * step,
        "tokens_mean": 260.0 - 5 * step, "tokens_p50": 240.0, "tokens_p95": 1204.0 - 40 * step,
        "tokens_p99": 1500.0, "loop_rate": 1 / 16, "stops": stops,
    }  # fmt: skip
