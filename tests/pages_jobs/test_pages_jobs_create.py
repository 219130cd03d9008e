"""One page to make a job: choices, checks, clone, and what is refused."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import story
from django.core.files.base import ContentFile
from django.test import Client

from graders.services.authoring import grader_archive, grader_version_add
from hone.accounts.models import Organisation, User
from hone.datasets.services import dataset_archive, dataset_create, dataset_version_add
from hone.tools.models import ToolVersion
from hone.tools.services import ToolFields, tool_archive, tool_create, tool_version_add
from jobs.models import BaseModel, Job


@pytest.fixture
def choices(alice: User, organisation: Organisation, files: Path) -> dict[str, Any]:
    """A whole, startable form."""
    model = story.model_make(files / "model")
    BaseModel.objects.filter(pk=model.pk).update(parameters=1_000_000)
    return {
        "name": "refunds-v4",
        "seed": "42",
        "base_model": str(model.pk),
        "train_version": story.dataset_make(alice, organisation).pk,
        "validation_version": _other_tasks(alice, organisation),
        "validation_share": "0.1",
        "grader_version": story.grader_make(alice, organisation).pk,
        "steps": "3",
    }


def _other_tasks(user: User, organisation: Organisation) -> str:
    rows = "".join(json.dumps(story.task_row(number)) + "\n" for number in range(20, 40))
    version = dataset_create(
        acting_user=user,
        organisation=organisation,
        name="held out",
        upload=ContentFile(rows.encode(), name="held-out.jsonl"),
    )
    return str(version.pk)


def test_start_makes_the_job_that_was_chosen(owner: Client, choices: dict[str, Any]) -> None:
    answer = owner.post("/jobs/new/", {**choices, "start": "1", "metadata": "team=a\nrun = 3"})
    job = Job.objects.get()
    assert answer.status_code == 302
    assert answer["Location"] == f"/jobs/{job.pk}/"
    assert (job.name, job.status, job.total_steps) == ("refunds-v4", "queued", 3)
    assert job.metadata == {"team": "a", "run": "3"}
    assert job.spec["requested"]["steps"] == "3"
    assert job.spec["requested"]["lora_rank"] == "auto"


def test_check_shows_every_check_and_what_auto_becomes_and_makes_nothing(
    owner: Client, choices: dict[str, Any]
) -> None:
    page = owner.post("/jobs/new/", {**choices, "check": "1"}).content.decode()
    assert "0 problems" in page
    assert "A quarter of the 20 training tasks, at most 16." in page
    assert Job.objects.count() == 0


def test_the_live_panel_answers_the_checks_and_the_values_of_auto(
    owner: Client, choices: dict[str, Any]
) -> None:
    page = owner.post("/jobs/new/check/", choices).content.decode()
    assert page.strip().startswith('<aside id="checks"')
    assert '<span id="auto-batch_size" hx-swap-oob="true"><strong>5</strong>' in page


def test_a_problem_blocks_start_and_every_field_keeps_its_value(
    owner: Client, choices: dict[str, Any]
) -> None:
    wrong = {**choices, "validation_version": choices["train_version"], "start": "1"}
    answer = owner.post("/jobs/new/", wrong)
    page = answer.content.decode()
    assert answer.status_code == 422
    assert "The job did not start." in page
    assert '<a href="#id_validation_version">' in page
    assert 'value="refunds-v4"' in page
    assert Job.objects.count() == 0


def test_a_warning_needs_a_tick(owner: Client, choices: dict[str, Any]) -> None:
    tight = {**choices, "max_total_tokens": "300", "max_turn_tokens": "290", "start": "1"}
    answer = owner.post("/jobs/new/", tight)
    assert answer.status_code == 422
    assert "Start anyway, with 1 warning" in answer.content.decode()
    assert Job.objects.count() == 0
    assert owner.post("/jobs/new/", {**tight, "accept": "1"}).status_code == 302
    assert Job.objects.count() == 1


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("steps", "many", "steps is &#x27;many&#x27;, which is not a whole number"),
        ("n_epochs", "51", "it must be at least 1, at most 50"),
        ("learning_rate", "nan", "which is not a number"),
        ("seed", "-1", "This is -1; use at least 0."),
        ("metadata", "no equals", "is not key=value"),
        ("base_model", "999", "Select a valid choice"),
        ("grader_version", "gradver-of-others", "Select a valid choice"),
        ("name", "x" * 101, "This has 101 characters; at most 100 fit."),
    ],
)
def test_a_value_that_does_not_fit_is_named_and_nothing_is_made(
    owner: Client, choices: dict[str, Any], field: str, value: str, words: str
) -> None:
    answer = owner.post("/jobs/new/", {**choices, field: value, "start": "1"})
    assert answer.status_code == 422
    assert words in answer.content.decode()
    assert Job.objects.count() == 0
    assert owner.post("/jobs/new/check/", {**choices, field: value}).status_code == 200


def test_a_clone_is_filled_in_from_its_job(owner: Client, running: Job) -> None:
    page = owner.get(f"/jobs/new/?from={running.pk}").content.decode()
    assert "Clone of refunds-v3" in page
    assert 'value="refunds-v3 (clone)"' in page
    assert f'<option value="{running.train_version_id}" selected>' in page
    assert 'name="steps" value="12"' in page
    assert 'name="lora_rank" value="auto"' in page


def _cloned(client: Client, job: Job) -> str:
    return client.get(f"/jobs/new/?from={job.pk}").content.decode()


def _tool(job: Job, user: User) -> ToolVersion:
    version = tool_create(
        acting_user=user,
        organisation=job.organisation,
        name="search",
        fields=ToolFields(url="https://tools.example.org/search"),
    )
    job.tool_versions.add(version)
    Job.objects.filter(pk=job.pk).update(spec={**job.spec, "tools": [{"name": "search"}]})
    return version


@pytest.mark.parametrize(
    ("phase", "used", "said", "field"),
    [
        # A CPU takes 4,096 at once, whatever is asked for.
        ("learning", (16384, 8), "Tokens a micro-batch: 2\u202f048, half of what it had when",
         'name="micro_batch_tokens" value="2048"'),
        ("rollout", (16384, 8), "Attempts a task: 4, half of what it had when",
         'name="group_size" value="4"'),
        ("rollout", (16384, 6), "with few attempts a task already: choose a smaller model",
         'name="group_size" value="auto"'),
    ],
)  # fmt: skip
def test_a_clone_of_a_job_that_ran_out_of_memory_asks_less(
    owner: Client, running: Job, phase: str, used: tuple[int, int], said: str, field: str
) -> None:
    running.spec["engine"] = {"micro_batch_tokens": used[0], "group_size": used[1]}
    running.error_code = "out_of_memory"
    running.save()
    running.runs.update(progress={"phase": phase})
    page = owner.get(f"/jobs/new/?from={running.pk}&mend=1").content.decode()
    assert said in page
    assert field in page
    assert said not in owner.get(f"/jobs/new/?from={running.pk}").content.decode()


def test_a_clone_of_what_is_still_newest_says_nothing(
    owner: Client, running: Job, alice: User
) -> None:
    tool = _tool(running, alice)
    page = _cloned(owner, running)
    assert "clone-notices" not in page
    assert _ticked(page) == [tool.pk]


def test_a_clone_takes_the_newest_tools_and_grader_and_says_so(
    owner: Client, running: Job, alice: User
) -> None:
    tool = _tool(running, alice)
    fields = ToolFields(url="https://tools.example.org/search", description="Look it up")
    newer_tool = tool_version_add(acting_user=alice, tool=tool.tool, fields=fields)
    assert running.grader_version
    spec = {**story.EXACT, "operation": "like"}
    newer_grader = grader_version_add(
        acting_user=alice, grader=running.grader_version.grader, spec=spec, edited=1
    )
    page = _cloned(owner, running)
    assert _ticked(page) == [newer_tool.pk]
    assert f'<option value="{newer_grader.pk}" selected>' in page
    assert "<li>search: v1 → v2</li><li>refund grader: v1 → v2</li>" in page


def test_a_clone_keeps_the_version_of_its_tasks(owner: Client, running: Job, alice: User) -> None:
    version = running.train_version
    assert version
    rows = "".join(json.dumps(story.task_row(number)) + "\n" for number in range(30))
    upload = ContentFile(rows.encode(), name="more.jsonl")
    dataset_version_add(acting_user=alice, dataset=version.dataset, upload=upload)
    assert f'<option value="{version.pk}" selected>' in _cloned(owner, running)


def test_a_clone_says_what_is_gone(owner: Client, running: Job, alice: User) -> None:
    tool = _tool(running, alice)
    tool_archive(acting_user=alice, tool=tool.tool)
    assert running.grader_version
    assert running.train_version
    grader_archive(acting_user=alice, grader=running.grader_version.grader)
    dataset_archive(acting_user=alice, dataset=running.train_version.dataset)
    page = _cloned(owner, running)
    assert _ticked(page) == []
    for words in (
        "The tool search is gone: archived or deleted.",
        "The grader refund grader v1 is gone: archived or deleted.",
        "The training tasks refunds v1 are gone: archived or deleted.",
        "The validation tasks refunds v1 are gone: archived or deleted.",
    ):
        assert f"<li>{words}</li>" in page


def _ticked(page: str) -> list[str]:
    boxes = re.findall(r'<input type="checkbox" name="tool_versions"[^>]*>', page)
    return [re.findall(r'value="([^"]*)"', box)[0] for box in boxes if " checked" in box]


def test_what_scores_turns_and_what_watches_is_frozen_and_shown(
    owner: Client, choices: dict[str, Any], alice: User, organisation: Organisation
) -> None:
    turn = story.grader_make(alice, organisation, "turns", reference="yes")
    watch = story.grader_make(alice, organisation, "watch", reference="no")
    answer = owner.post(
        "/jobs/new/",
        {**choices, "start": "1", "turn_grader": turn.pk, "held_out_grader": watch.pk},
    )
    assert answer.status_code == 302
    job = Job.objects.get()
    assert job.spec["turn_rewards"]["grader"]["spec"]["reference"] == "yes"
    assert job.spec["held_out_grader"]["sha256"] == watch.sha256
    page = owner.get(f"/jobs/{job.pk}/spec/").content.decode()
    assert "<dt>Turn grader</dt><dd>turns v1 <code" in page
    assert "<dt>Held-out grader</dt><dd>watch v1 <code" in page
    clone = _cloned(owner, job)
    assert "clone-notices" not in clone
    assert f'<option value="{turn.pk}" selected>turns v1' in clone
    assert f'<option value="{watch.pk}" selected>watch v1' in clone
    grader_archive(acting_user=alice, grader=turn.grader)
    assert "The turn grader turns v1 is gone: archived or deleted." in _cloned(owner, job)


def test_a_gold_answer_is_kept_by_a_clone_and_shown(owner: Client, choices: dict[str, Any]) -> None:
    gold = {**choices, "start": "1", "gold_answer": "{{item.answer}}"}
    assert owner.post("/jobs/new/", gold).status_code == 302
    job = Job.objects.get()
    assert job.spec["turn_rewards"] == {"gold": "{{item.answer}}"}
    assert 'name="gold_answer" value="{{item.answer}}"' in _cloned(owner, job)
    assert "<dt>Gold answer</dt><dd>{{item.answer}}</dd>" in (
        owner.get(f"/jobs/{job.pk}/spec/").content.decode()
    )


def test_two_sources_of_turn_scores_are_refused_at_the_field(
    owner: Client, choices: dict[str, Any]
) -> None:
    both = {**choices, "turn_grader": choices["grader_version"], "gold_answer": "{{item.answer}}"}
    answer = owner.post("/jobs/new/", {**both, "start": "1"})
    assert answer.status_code == 422
    assert '<a href="#id_gold_answer">Turns are scored by a grader' in answer.content.decode()
    assert Job.objects.count() == 0


def test_the_settings_stand_by_topic(owner: Client, choices: dict[str, Any]) -> None:
    page = owner.get("/jobs/new/").content.decode()
    topics = [page.index(f'colspan="4">{topic}<') for topic in ("Attempts", "Learning", "Credit")]
    assert topics == sorted(topics)
    inside = page[topics[2] :]
    for name in ("advantage", "anchored_weight", "credit_gamma", "turn_weight", "call_budget"):
        assert f'id="id_{name}"' in inside


def test_a_job_of_others_cannot_be_cloned(stranger: Client, running: Job) -> None:
    assert stranger.get(f"/jobs/new/?from={running.pk}").status_code == 404
