"""Files about a job: the contract's columns, JSON that holds everything, a page of its own."""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import json
import re

import pytest
import story
from django.test import Client

from graders.models import GraderVersion
from jobs.engine import events
from jobs.models import Job, JobEvent, JobStep, Run
from jobs.selectors.reports.results import result_columns
from jobs.services.ending import run_finish
from jobs.services.lease import Lease

CONTRACT = [
    "step",
    "train_mean_reward",
    "full_valid_mean_reward",
    "completion_tokens_mean",
    "reasoning_tokens_mean",
    "mean_unresponsive_rewards",
    "sampling_duration",
    "training_duration",
    "eval_duration",
    "total_duration",
]
FILES = ("results.csv", "report.json", "report.html")


@pytest.fixture
def done(job: Job, lease: Lease) -> Job:
    story.steps_commit(job, lease, 0, 12)
    adapter = events.AdapterRef(
        step=12, path="adapter", sha256="9be1" * 16, bytes=18_400_000,
        proof_max_abs_logprob_diff=3.1e-6, proof_tokens=512,
    )  # fmt: skip
    run_finish(lease, events.Finished(seconds=55.0, adapter=adapter, best_step=12))
    job.refresh_from_db()
    return job


def _get(client: Client, job: Job, name: str) -> str:
    answer = client.get(f"/jobs/{job.pk}/{name}")
    assert answer.status_code == 200
    assert answer["Content-Disposition"] == f'attachment; filename="{job.pk}-{name}"'
    body = b"".join(answer.streaming_content) if answer.streaming else answer.content
    return body.decode()


def _rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_the_result_file_has_the_contract_s_columns_in_its_order(owner: Client, done: Job) -> None:
    text = _get(owner, done, "results.csv")
    assert text.splitlines()[0].split(",") == [
        *CONTRACT,
        "scores/graders/string_check/accuracy/train_reward_mean",
        "scores/graders/string_check/accuracy/valid_reward_mean",
        "scores/graders/string_check/format/train_reward_mean",
        "scores/graders/string_check/format/valid_reward_mean",
        "train_error_count_lookup_order",
        "train_error_count_(unknown)",
    ]
    assert [row["step"] for row in _rows(text)] == [str(step) for step in range(13)]


def test_cells_are_the_stored_figures_and_what_is_unknown_is_empty(
    owner: Client, running: Job
) -> None:
    base, *_, fourth = _rows(_get(owner, running, "results.csv"))
    assert (base["train_mean_reward"], float(base["full_valid_mean_reward"])) == ("", 0.0)
    assert float(fourth["train_mean_reward"]) == pytest.approx(4 / 15)
    assert float(fourth["completion_tokens_mean"]) == 240.0
    assert float(fourth["mean_unresponsive_rewards"]) == 1 / 16
    assert [fourth[f"{name}_duration"] for name in ("sampling", "training", "eval", "total")] == [
        "2.1",
        "1.4",
        "0.9",
        "4.7",
    ]
    assert {row["reasoning_tokens_mean"] for row in (base, fourth)} == {""}
    assert fourth["train_error_count_lookup_order"] == ""


def test_errors_are_counted_by_tool_and_a_tool_without_calls_has_none(
    owner: Client, running: Job
) -> None:
    step = JobStep.objects.get(run__job=running, step=4)
    step.metrics["train"]["tools"] = {"(unknown)": {"calls": 5, "errors": 5, "faults": 0}}
    step.save(update_fields=["metrics"])
    row = _rows(_get(owner, running, "results.csv"))[4]
    assert row["train_error_count_lookup_order"] == "0"
    assert row["train_error_count_(unknown)"] == "5"


@pytest.mark.parametrize(
    ("spec", "columns"),
    [
        (
            {"type": "multi", "graders": {"right": {"type": "string_check"},
                                          "brief": {"type": "budget"}}},
            ["string_check/right", "budget/brief", "multi/accuracy", "multi/format"],
        ),
        (
            {"type": "multi", "graders": [{"name": "right", "type": "python"}]},
            ["python/right", "multi/accuracy", "multi/format"],
        ),
        ({}, ["unknown/accuracy", "unknown/format"]),
    ],
)  # fmt: skip
def test_graders_are_named_with_their_kind(
    running: Job, spec: dict[str, object], columns: list[str]
) -> None:
    running.grader_version = GraderVersion(spec=spec) if spec else None
    found = [column.name for column in result_columns(running)]
    assert [
        name.removeprefix("scores/graders/").removesuffix("/train_reward_mean")
        for name in found
        if name.endswith("train_reward_mean")
    ] == columns


def test_a_grader_without_parts_has_the_reward_itself(job: Job) -> None:
    column = next(each for each in result_columns(job) if each.name.endswith("train_reward_mean"))
    assert column.name == "scores/graders/string_check/exact/train_reward_mean"
    assert column.read({"train": {"reward_mean": 0.25, "parts": {}}}) == 0.25


def test_the_json_holds_every_step_and_what_it_was_made_from(owner: Client, done: Job) -> None:
    found = json.loads(_get(owner, done, "report.json"))
    assert list(found) == [
        *("object", "schema_version", "job", "spec", "usage", "adapter"),
        *("checkpoints", "alarms", "steps"),
    ]
    assert found["job"]["id"] == done.pk
    assert found["spec"] == done.spec
    assert [step["step"] for step in found["steps"]] == list(range(13))
    stored = JobStep.objects.get(run__job=done, step=7).metrics
    assert found["steps"][7]["metrics"] == stored
    assert found["adapter"]["proof"] == {
        "max_abs_logprob_diff": 3.1e-6,
        "tokens": 512,
        "base_max_abs_logprob_diff": None,
    }
    assert found["usage"]["rollouts"] == 12 * 16 + 4 * 16
    assert [(each["step"], each["code"]) for each in found["alarms"]] == [(3, "slow_tool")]
    assert [each["step"] for each in found["checkpoints"] if each["kept"]] == [4, 8, 12]


def test_the_json_of_a_job_without_anything_is_whole(owner: Client, job: Job) -> None:
    found = json.loads(_get(owner, job, "report.json"))
    assert (found["steps"], found["alarms"], found["adapter"]) == ([], [], None)


@pytest.mark.parametrize("name", FILES)
def test_the_same_job_gives_the_same_bytes(owner: Client, done: Job, name: str) -> None:
    assert _get(owner, done, name) == _get(owner, done, name)


@pytest.mark.parametrize("name", FILES)
def test_a_foreign_job_answers_as_an_absent_one(
    stranger: Client, viewer: Client, running: Job, name: str
) -> None:
    foreign = stranger.get(f"/jobs/{running.pk}/{name}")
    absent = stranger.get(f"/jobs/ftjob-1/{name}")
    assert foreign.status_code == absent.status_code == 404
    assert foreign.content == absent.content
    assert viewer.get(f"/jobs/{running.pk}/{name}").status_code == 200


def test_the_page_names_no_address_and_allows_its_own_style_alone(owner: Client, done: Job) -> None:
    page = _get(owner, done, "report.html")
    assert not re.search(r"\b(src|href|action|srcset)=|url\(|@import|<script|<iframe|<form", page)
    style = re.search(r"<style>(.*?)</style>", page, re.DOTALL)
    assert style is not None
    digest = base64.b64encode(hashlib.sha256(style.group(1).encode()).digest()).decode()
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]+)"', page)
    assert policy is not None
    assert policy.group(1) == (
        f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    )
    assert page.index("Content-Security-Policy") < page.index("<style>")


def test_the_page_says_what_came_of_the_job(owner: Client, done: Job) -> None:
    page = _get(owner, done, "report.html")
    text = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page)).replace("\u202f", " ")
    assert (
        "Succeeded step 12 of 12. Validation reward 0.933 at its best step 12, base 0.000" in text
    )
    assert "largest |Δ log-probability| 3.1e-06 over 512 tokens" in text
    assert "lookup_order: 2 of 3 attempts timed out" in text
    assert "15 graded, 1 ungraded" in text
    assert page.count('<svg class="plot"') == page.count("Show table") >= 8


def test_everything_in_the_page_is_text(owner: Client, done: Job) -> None:
    hostile = "</style><script>alert(1)</script>\u202e<img src=x onerror=alert(2)>"
    Job.objects.filter(pk=done.pk).update(
        name=hostile[:100],
        error_message=hostile,
        spec={**done.spec, "tools": [{"name": hostile, "url": hostile}]},
    )
    JobEvent.objects.create(job=done, level="warn", code="x", text=hostile)
    page = _get(owner, done, "report.html")
    assert "<script" not in page
    assert "<img" not in page
    assert "\u202e" not in page
    assert page.count("</style>") == 1


def test_a_job_of_many_steps_is_a_page_of_bounded_size(owner: Client, running: Job) -> None:
    run = Run.objects.get(job=running)
    metrics = JobStep.objects.get(run=run, step=4).metrics
    JobStep.objects.bulk_create(
        JobStep(run=run, step=step, epoch=1, metrics=metrics) for step in range(5, 2005)
    )
    JobEvent.objects.bulk_create(
        JobEvent(job=running, level="warn", code="x", text="again", step=1) for _ in range(500)
    )
    after = _get(owner, running, "report.html")
    assert len(after) < 500_000
    assert "The newest 100; the JSON report has all." in after
    assert len(_rows(_get(owner, running, "results.csv"))) == 2005


def test_the_job_page_offers_the_files_to_whoever_may_read(viewer: Client, running: Job) -> None:
    page = viewer.get(f"/jobs/{running.pk}/").content.decode()
    for name in FILES:
        assert f'href="/jobs/{running.pk}/{name}" download' in page
    assert f'href="/compare/?jobs={running.pk}"' in page


def test_a_preflight_has_no_report(owner: Client, running: Job) -> None:
    Job.objects.filter(pk=running.pk).update(purpose="preflight")
    assert owner.get(f"/jobs/{running.pk}/report.html").status_code == 404
