"""Tries of the playground on a fake engine: who begins one, what is frozen, what a death costs, and
how it ends."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import pytest
from django.core.exceptions import PermissionDenied
from django.db import connection
from django.http import Http404

from graders.services.authoring import grader_create
from hone.accounts.models import AuditEntry, Organisation, User
from hone.core.errors import UserError
from hone.tools.services import ToolFields, tool_create
from jobs.engine import events, types
from jobs.errors import Fenced
from jobs.models import BaseModel, Checkpoint, Job, JobEvent, Run, Trajectory, Tryout, Usage
from jobs.selectors.tryouts import access_tryout, checkpoints_to_try, tryout_list
from jobs.services import bell
from jobs.services.control import job_cancel
from jobs.services.lease import run_acquire
from jobs.services.tryouts import (
    MOST_OPEN,
    TryoutRequest,
    tryout_create,
    tryout_note_turns,
    tryout_stop,
)
from jobs.supervisor.playground import playground_spec
from jobs.supervisor.supervise import supervise
from tests.jobs.conftest import EXACT, Fake, MakeJob, make_dataset, make_tool, task

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def asked(
    organisation: Organisation, alice: User, base_model: BaseModel, fake_engine: Fake
) -> dict[str, Any]:
    """The base model beside itself, on the third row."""
    grader = grader_create(
        acting_user=alice, organisation=organisation, name="exact", spec=EXACT
    ).versions.get()
    version = make_dataset(organisation, alice, [task(number) for number in range(10)])
    return {
        "a": f"base:{base_model.pk}",
        "b": f"base:{base_model.pk}",
        "version": version.pk,
        "row": 2,
        "grader": grader.pk,
        "seed": 7,
    }


def begin(user: User, organisation: Organisation, asked: dict[str, Any], **more: Any) -> Job:
    request = TryoutRequest(**(asked | more))
    return tryout_create(acting_user=user, organisation=organisation, request=request)


def work(job: Job) -> str:
    outcome = supervise(Run.objects.get(job=job).pk)
    job.refresh_from_db()
    return outcome


@pytest.fixture
def point(make_job: MakeJob, fake_engine: Fake) -> Checkpoint:
    """A checkpoint of a job that was trained by the fake engine."""
    job = make_job(steps=1)
    supervise(Run.objects.get(job=job).pk)
    return Checkpoint.objects.get(run__job=job, step=1)


def test_it_freezes_its_task_and_models_and_rings(
    alice: User, organisation: Organisation, asked: dict[str, Any], monkeypatch: Any
) -> None:
    rung: list[object] = []
    monkeypatch.setattr(bell, "send", lambda _task, run_id: rung.append(run_id))
    job = begin(alice, organisation, asked, temperature=0.5)
    run = Run.objects.get(job=job)
    assert job.pk.startswith("try-")
    assert (job.purpose, run.kind, job.status, rung) == (
        "playground",
        "playground",
        "queued",
        [run.pk],
    )
    assert job.name == "tasks 0 v1, row 3"
    assert [side["name"] for side in job.spec["sides"]] == ["tiny", "tiny"]
    assert (job.seed, job.spec["engine"]) == (7, {"temperature": 0.5})
    tryout = Tryout.objects.get()
    assert (tryout.row, tryout.item) == (2, task(2))
    entry = AuditEntry.objects.get(action="tryout.create")
    assert (entry.actor, entry.target) == (alice, job.pk)
    assert entry.detail == {"name": job.name, "models": ["tiny", "tiny"], "seed": 7}


def test_it_runs_to_its_end_with_a_trajectory_for_each_side(
    alice: User, organisation: Organisation, asked: dict[str, Any]
) -> None:
    job = begin(alice, organisation, asked)
    assert work(job) == "ended"
    assert (job.status, job.last_step, job.error_message) == ("succeeded", 1, "")
    rows = Trajectory.objects.filter(run__job=job).order_by("step")
    assert [(row.step, row.uid, row.split, row.reward, row.row) for row in rows] == [
        (0, "side-A", "playground", 0.0, 2),
        (1, "side-B", "playground", 1.0, 2),
    ]
    assert Usage.objects.filter(run__job=job).count() == 2
    assert not Checkpoint.objects.filter(run__job=job).exists()
    tryout = Tryout.objects.get()
    assert (tryout.live, tryout.heard) == (None, 2)
    said = list(JobEvent.objects.filter(job=job).order_by("pk").values_list("text", flat=True))
    assert said == [
        "To be tried by tiny and by tiny.",
        "Side A is done: 1 turn, 0 calls, reward 0.000.",
        "Side B is done: 1 turn, 0 calls, reward 1.000.",
        "The try succeeded.",
    ]


def test_without_a_grader_and_without_b_there_is_one_answer_and_no_reward(
    alice: User, organisation: Organisation, asked: dict[str, Any]
) -> None:
    job = begin(alice, organisation, asked, b="", grader="")
    work(job)
    assert (job.status, job.last_step, job.spec["grader"]) == ("succeeded", 0, None)
    assert Trajectory.objects.get(run__job=job).reward is None


def test_own_messages_are_tried_instead_of_a_row(
    alice: User, organisation: Organisation, asked: dict[str, Any]
) -> None:
    words = [{"role": "user", "content": "What  is\n2 + 2?"}]
    job = begin(alice, organisation, asked, messages=words)
    tryout = Tryout.objects.get()
    assert (job.name, job.train_version, tryout.row) == ("What is 2 + 2?", None, None)
    assert tryout.item == {"messages": words}
    assert work(job) == "ended"
    assert job.status == "succeeded"


def test_a_death_costs_the_side_in_hand_alone(
    alice: User, organisation: Organisation, asked: dict[str, Any], fake_engine: Fake
) -> None:
    fake_engine(crash_at=1)
    job = begin(alice, organisation, asked)
    assert work(job) == "died"
    first = Trajectory.objects.get(run__job=job)
    assert Tryout.objects.get().live_step == 1
    assert work(job) == "ended"
    assert job.status == "succeeded"
    rows = list(Trajectory.objects.filter(run__job=job).order_by("step"))
    assert (rows[0].pk, len(rows)) == (first.pk, 2)


def test_a_side_that_kills_its_engine_each_time_ends_it_with_the_cause(
    alice: User, organisation: Organisation, asked: dict[str, Any], monkeypatch: Any
) -> None:
    monkeypatch.setenv("HONE_ENGINE_COMMAND", "false")
    job = begin(alice, organisation, asked)
    assert [work(job) for _ in range(3)] == ["died", "died", "ended"]
    assert (job.status, job.error_code) == ("failed", "crash_loop")
    assert job.error_message.startswith("Side A was begun 3 times and never finished")
    assert job.error_message.endswith("Try it with fewer tokens, or with a smaller model.")


def test_it_is_stopped_at_once_and_what_was_said_stays(
    alice: User, organisation: Organisation, asked: dict[str, Any], fake_engine: Fake
) -> None:
    fake_engine(step_s=30)
    job = begin(alice, organisation, asked)

    def stop_when_heard() -> None:
        try:
            deadline = time.monotonic() + 20
            while not Tryout.objects.get().heard and time.monotonic() < deadline:
                time.sleep(0.05)
            tryout_stop(acting_user=alice, job=Job.objects.get(pk=job.pk))
        finally:
            connection.close()

    stopper = threading.Thread(target=stop_when_heard)
    stopper.start()
    assert work(job) == "ended"
    stopper.join()
    assert job.status == "cancelled"
    tryout = Tryout.objects.get()
    assert (tryout.live_step, tryout.live["turns"][0]["content"]) == (0, "ok")
    assert AuditEntry.objects.filter(action="tryout.stop", target=job.pk).count() == 1
    with pytest.raises(UserError, match="This try is cancelled already and cannot be stopped."):
        tryout_stop(acting_user=alice, job=job)


@pytest.mark.parametrize(("name", "refusal"), [("dora", PermissionDenied), ("charlie", Http404)])
def test_whoever_may_not_write_begins_and_stops_none(
    organisation: Organisation,
    alice: User,
    asked: dict[str, Any],
    request: Any,
    name: str,
    refusal: Any,
) -> None:
    other = request.getfixturevalue(name)
    with pytest.raises(refusal):
        begin(other, organisation, asked)
    assert not Job.objects.exists()
    job = begin(alice, organisation, asked)
    with pytest.raises(refusal):
        tryout_stop(acting_user=other, job=job)
    job.refresh_from_db()
    assert job.status == "queued"


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"a": ""}, "There is no base model with the id that was sent"),
        ({"b": "base:999"}, "There is no base model with the id that was sent"),
        ({"b": "checkpoint:999"}, "There is no checkpoint with the id that was sent"),
        ({"row": 10}, "has the rows 1 to 10, and 11 was asked for."),
        ({"version": ""}, "Choose a dataset and a row, or write messages of your own."),
        ({"tools": ["toolv-0"]}, "There is no tool with the id that was sent"),
        ({"grader": "gradver-0"}, "There is no grader with the id that was sent"),
    ],
)
def test_what_is_missing_is_said_and_nothing_begins(
    alice: User, organisation: Organisation, asked: dict[str, Any], more: Any, said: str
) -> None:
    with pytest.raises(UserError, match=said):
        begin(alice, organisation, asked, **more)
    assert not Job.objects.exists()


def test_parts_of_another_organisation_are_as_absent_ones(
    alice: User, charlie: User, organisation: Organisation, asked: dict[str, Any], point: Checkpoint
) -> None:
    own = charlie.memberships.get().organisation
    request = {**asked, "version": "", "grader": "", "messages": [{"role": "user", "content": "x"}]}
    begin(charlie, own, request)
    with pytest.raises(UserError, match="There is no checkpoint"):
        begin(charlie, own, request, b=f"checkpoint:{point.pk}")
    with pytest.raises(UserError, match="There is no dataset"):
        begin(charlie, own, asked | {"grader": ""})
    job = begin(alice, organisation, asked)
    with pytest.raises(Http404):
        access_tryout(charlie, job.pk)
    assert [each.pk for each in tryout_list(organisation)] == [job.pk]
    assert checkpoints_to_try(own) == []


def test_no_more_than_a_few_are_open_at_once(
    alice: User, organisation: Organisation, asked: dict[str, Any]
) -> None:
    jobs = [begin(alice, organisation, asked) for _ in range(MOST_OPEN)]
    with pytest.raises(UserError, match="4 tries have not ended yet"):
        begin(alice, organisation, asked)
    job_cancel(acting_user=alice, job=jobs[0])
    begin(alice, organisation, asked)


def test_a_checkpoint_is_tried_as_it_was_trained(
    alice: User, organisation: Organisation, asked: dict[str, Any], point: Checkpoint
) -> None:
    assert [each.pk for each in checkpoints_to_try(organisation)] == [point.pk]
    job = begin(alice, organisation, asked, b=f"checkpoint:{point.pk}")
    assert job.spec["sides"][1]["name"] == "refunds, step 1"
    told = playground_spec(Run.objects.get(job=job))
    start = told.sides[1].lora.start
    assert start is not None
    assert (start.step, start.manifest_sha256) == (1, point.manifest_sha256)
    assert Path(start.path).is_dir()
    assert told.sides[0].lora.start is None
    work(job)
    assert job.status == "succeeded"


def test_a_checkpoint_that_is_removed_before_its_turn_ends_it_with_its_name(
    alice: User, organisation: Organisation, asked: dict[str, Any], point: Checkpoint
) -> None:
    job = begin(alice, organisation, asked, b=f"checkpoint:{point.pk}")
    Checkpoint.objects.filter(pk=point.pk).update(available=False)
    work(job)
    assert (job.status, job.error_code) == ("failed", "checkpoint_gone")
    assert job.error_message.startswith("The checkpoint refunds, step 1 is gone")
    with pytest.raises(UserError, match="The files of step 1 of refunds are gone or damaged."):
        begin(alice, organisation, asked, b=f"checkpoint:{point.pk}")


def test_of_a_rows_own_tools_the_chosen_ones_are_offered_and_the_row_stays_whole(
    alice: User, organisation: Organisation, asked: dict[str, Any]
) -> None:
    lookup = make_tool(organisation, alice, "lookup")
    tool_create(
        acting_user=alice,
        organisation=organisation,
        name="refund",
        fields=ToolFields(url="https://tools.example.org/y", effects="writes"),
    )
    tools = [
        {"type": "function", "function": {"name": name, "description": "own words"}}
        for name in ("lookup", "refund")
    ]
    version = make_dataset(organisation, alice, [task(number, tools=tools) for number in range(10)])
    job = begin(alice, organisation, asked, version=version.pk, row=1, tools=[lookup.pk])
    told = playground_spec(Run.objects.get(job=job))
    assert told.tools == (tools[0],)
    assert told.item["tools"] == tools
    assert [tool["name"] for tool in job.spec["tools"]] == ["lookup"]


def test_a_holder_that_lost_it_shows_no_turn(
    alice: User, organisation: Organisation, asked: dict[str, Any], monkeypatch: Any
) -> None:
    job = begin(alice, organisation, asked)
    lease = run_acquire(Run.objects.get(job=job).pk, holder="one", host="here")
    assert lease is not None
    rollout = types.Trajectory(
        uid="side-A",
        row=2,
        group="0",
        sample=0,
        split="playground",
        trace_id="t",
        ids=[],
        logprobs=[],
        entropies=[],
        kinds=[],
        turns=[types.Turn(index=0, start=1, end=2, text="a\x00b", content="a\x00b")],
    )
    news = events.TurnsSoFar(step=0, rollout=rollout)
    tryout_note_turns(lease, news)
    assert Tryout.objects.get().live["turns"][0]["content"] == "a␀b"
    Run.objects.filter(job=job).update(epoch=lease.epoch + 1)
    with pytest.raises(Fenced):
        tryout_note_turns(lease, news)
    assert Tryout.objects.get().heard == 1
