"""The demo's result: the JSON object that programs read, and the table for people."""

from __future__ import annotations

import json
from typing import Any

import pytest

from hone.demo import summary
from hone.demo.workspace import Workspace, demo_job_create, tool_port, workspace_seed
from jobs.models import Adapter, Job, JobStep, Run, Trajectory, run_folder

KEYS = ["job", "status", "steps", "wall_s", "baseline", "final", "adapter", "adapter_sha256"]
FIGURES = ["reward", "tool_calls_mean", "tool_calls_p95", "loop_rate", "tokens_p95"]
BEFORE = {
    **{"reward_mean": 0.25, "tool_calls_mean": 4.5, "tool_calls_p95": 10.0},
    **{"loop_rate": 0.125, "tokens_p95": 300.0},
}
AFTER = {
    **{"reward_mean": 0.875, "tool_calls_mean": 2.5, "tool_calls_p95": 4.0},
    **{"loop_rate": 0.0, "tokens_p95": 150.0},
}


@pytest.fixture
def workspace(db: None, settings: Any) -> Workspace:
    settings.OUTBOUND_ALLOW = (f"127.0.0.1:{tool_port()}",)
    return workspace_seed()


@pytest.fixture
def fresh(workspace: Workspace) -> Job:
    """The demo job before its first step."""
    return demo_job_create(workspace, seed=1)


@pytest.fixture
def job(fresh: Job) -> Job:
    """The demo job, two steps far: the base model and the last step were evaluated."""
    run = Run.objects.get(job=fresh)
    for step, validation in ((0, BEFORE), (1, {}), (2, AFTER)):
        metrics = {"train": {}, "validation": validation, "seconds": {"total": 1.5}}
        JobStep.objects.create(run=run, step=step, epoch=1, metrics=metrics)
    Job.objects.filter(pk=fresh.pk).update(engine_seconds=61.25)
    fresh.refresh_from_db()
    return fresh


def attempts_add(
    job: Job, step: int, rewards: dict[int, float | None], *, split: str = "validation"
) -> None:
    """One attempt at each of these rows of the dataset."""
    run = Run.objects.get(job=job)
    Trajectory.objects.bulk_create(
        Trajectory(
            run=run, step=step, uid=f"{row}", split=split, row=row, group=f"{row}",
            sample=0, reward=reward, turns=1, tool_calls=0, tokens=1, total_tokens=2,
            stop="final_answer", bodies="", offset=0, length=0,
        )
        for row, reward in rewards.items()
    )  # fmt: skip


def test_the_last_line_has_the_keys_and_figures_that_stay_stable(job: Job) -> None:
    Adapter.objects.create(
        job=job, run=job.runs.get(), step=2, path="adapter", sha256="9be1" * 16, bytes=7,
        proof_max_abs_logprob_diff=0.0, proof_tokens=10,
    )  # fmt: skip
    found = json.loads(json.dumps(summary.as_json(job)))
    assert list(found) == KEYS
    assert list(found["baseline"]) == list(found["final"]) == FIGURES
    assert list(found["baseline"].values()) == [0.25, 4.5, 10.0, 0.125, 300.0]
    assert list(found["final"].values()) == [0.875, 2.5, 4.0, 0.0, 150.0]
    assert (found["job"], found["status"], found["steps"]) == (job.pk, "queued", 2)
    assert found["wall_s"] == 61.25
    assert found["adapter"] == str(run_folder(job.runs.get().pk) / "adapter")
    assert found["adapter_sha256"] == "9be1" * 16


def test_a_job_that_evaluated_nothing_has_the_same_keys(fresh: Job, workspace: Workspace) -> None:
    found = summary.as_json(fresh)
    assert list(found) == KEYS
    assert (found["steps"], found["baseline"], found["final"]) == (0, {}, {})
    assert (found["adapter"], found["adapter_sha256"]) == (None, None)
    assert summary.table(fresh, workspace.validation) == ["No step was evaluated."]


def test_the_table_shows_each_figure_and_each_family_before_and_after(
    job: Job, workspace: Workspace
) -> None:
    # The families come in turn: product, person, price, sum, order.
    attempts_add(job, 0, {0: 0.5, 5: 0.0, 1: 0.1, 2: None, 3: 0.25})
    attempts_add(job, 1, {0: 0.7, 4: 0.7})
    attempts_add(job, 2, {0: 1.0, 5: 0.5, 1: 1.0, 3: 1.0, 4: 0.0, 9: 0.5})
    assert summary.table(job, workspace.validation) == [
        "",
        "                        before     after",
        "reward                   0.250     0.875",
        "tool_calls_mean          4.500     2.500",
        "tool_calls_p95          10.000     4.000",
        "loop_rate                0.125     0.000",
        "tokens_p95             300.000   150.000",
        "",
        "reward by family    ",
        "  product                0.250     0.750",
        "  person                 0.100     1.000",
        "  sum                    0.250     1.000",
        "  order                      –     0.250",
    ]


def test_ungraded_attempts_and_those_at_training_tasks_are_in_no_mean(
    job: Job, workspace: Workspace
) -> None:
    attempts_add(job, 0, {0: 0.5, 5: None, 10: 1.0})
    attempts_add(job, 0, {0: 0.1, 1: 0.1}, split="train")
    assert summary.by_family(job, workspace.validation, [0]) == {"product": {0: 0.75}}


def test_a_step_is_told_in_one_line(job: Job) -> None:
    first, second, _ = summary.steps_after(job, -1)
    assert summary.step_line(first) == ("step   0   validation reward 0.250   loops 12.5 %   1.5 s")
    second.metrics["train"] = {"reward_mean": 0.5}
    assert summary.step_line(second) == "step   1   train reward 0.500   1.5 s"
