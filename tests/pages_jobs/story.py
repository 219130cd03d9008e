"""A job with a past, made through the services that a worker uses: steps, bodies, an adapter."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import zstandard
from django.core.files.base import ContentFile

from graders.models import GraderVersion
from graders.services.authoring import grader_create
from hone.accounts.models import Organisation, User
from hone.datasets.models import DatasetVersion
from hone.datasets.services import dataset_create
from jobs.engine import events
from jobs.engine.types import StopReason, ToolCall, Trajectory, Turn
from jobs.models import BaseModel, Job, Run, run_folder
from jobs.services.commit import step_commit
from jobs.services.hyperparameters import Facts, resolve_hyperparameters
from jobs.services.lease import Lease, run_acquire

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
) -> GraderVersion:
    spec = {**EXACT, "reference": reference}
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
        }
    if evaluated:
        metrics["validation"] = _stats(made, "validation", step)
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
    return Trajectory(
        uid=uid, row=task, group=f"{split}-{step}-{task}", sample=sample, split=split,
        trace_id=f"trace_{zlib.crc32(uid.encode()):032x}",
        ids=list(range(30)), logprobs=[-0.5] * 30, entropies=[0.3] * 30, kinds=[1] * 30,
        turns=turns, stop=stop, reward=reward,
        parts={} if faulty else {"accuracy": reward or 0.0, "format": 1.0},
        grading={"seconds": 0.04, "stdout": "checked", "raw_reward": 1.0 if looped else reward},
        advantage=None if faulty or split == "validation" else (reward or 0.0) - 0.5,
        trained=split == "train" and not faulty,
        cause="tool lookup_order answered 502 four times" if faulty else "", seconds=6.2,
    )  # fmt: skip


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
        tools=("lookup_order",), excerpt=one.answer[:2000], seconds=one.seconds,
        offset=offset, length=length,
    )  # fmt: skip


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
