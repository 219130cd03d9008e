"""The playground's pages: from the form to a try, its turns as they come, and who may see them."""

from __future__ import annotations

import re
from typing import Any

import pytest
import story
import tryout_story
from django.test import Client

from hone.accounts.models import AuditEntry, Membership, Organisation, User
from hone.tools.models import ToolVersion
from hone.tools.services import ToolFields, tool_create
from jobs.models import Checkpoint, Job, Run, Trajectory
from jobs.services.ending import run_fail


@pytest.fixture
def tools(alice: User, organisation: Organisation) -> dict[str, ToolVersion]:
    """The tool of the story's job, and one that writes."""
    made = {}
    for name, effects in (("lookup_order", "reads"), ("refund", "writes")):
        fields = ToolFields(url=f"https://tools.example.org/{name}", effects=effects)
        made[name] = tool_create(
            acting_user=alice, organisation=organisation, name=name, fields=fields
        )
    return made


@pytest.fixture
def point(running: Job) -> Checkpoint:
    return Checkpoint.objects.filter(run__job=running, available=True).order_by("-step")[0]


@pytest.fixture
def sent(running: Job, point: Checkpoint) -> dict[str, Any]:
    """What the form sends."""
    return {
        "a": f"base:{running.base_model_id}",
        "b": f"checkpoint:{point.pk}",
        "version": running.train_version_id,
        "row": "15",
        "grader": running.grader_version_id,
        "seed": "7",
        "temperature": "0",
    }


@pytest.fixture
def answered(alice: User, organisation: Organisation, running: Job) -> Job:
    return tryout_story.answered(alice, organisation, running)


def read(client: Client, address: str, **headers: str) -> str:
    answer = client.get(address, headers=headers)
    assert answer.status_code == 200
    return answer.content.decode()


def words(page: str) -> str:
    return " ".join(re.sub(r"<[^>]+>", " ", page).split())


def test_the_form_begins_a_try_and_leads_to_it(
    owner: Client, sent: dict[str, Any], tools: dict[str, ToolVersion]
) -> None:
    answer = owner.post("/playground/", sent | {"tools": [tools["lookup_order"].pk]})
    job = Job.objects.get(purpose="playground")
    assert (answer.status_code, answer["Location"]) == (302, f"/playground/{job.pk}/")
    assert (job.seed, job.tryout.row, job.spec["engine"]["temperature"]) == (7, 14, 0.0)
    assert AuditEntry.objects.filter(action="tryout.create", target=job.pk).count() == 1
    page = words(read(owner, f"/playground/{job.pk}/"))
    assert "Queued · place 1 in line" in page
    assert "It waits for a training worker." in page
    assert "Waiting for a training worker." in page
    assert "Seed 7 · temperature 0 · tools lookup_order, really called" in page


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"version": ""}, "Choose a dataset and a row, or write messages of your own."),
        ({"row": "99"}, "and 99 was asked for."),
        ({"temperature": "3"}, "This is 3.0; use at most 2."),
        ({"messages": "[1]"}, "This begins with [ and is no list of messages"),
        ({"messages": '[{"role": "system", "content": "x"}]'}, "This ends with a `system` message"),
        ({"a": "base:999"}, "Select a valid choice."),
    ],
)
def test_what_does_not_fit_is_said_and_nothing_begins(
    owner: Client, sent: dict[str, Any], more: dict[str, str], said: str
) -> None:
    answer = owner.post("/playground/", sent | more)
    assert answer.status_code == 422
    page = answer.content.decode()
    assert "Nothing was begun." in page
    assert said in page
    assert not Job.objects.filter(purpose="playground").exists()


def test_own_messages_are_taken_as_they_are_given(owner: Client, sent: dict[str, Any]) -> None:
    owner.post("/playground/", sent | {"messages": "Is it due?"})
    assert Job.objects.get(purpose="playground").tryout.item == {
        "messages": [{"role": "user", "content": "Is it due?"}]
    }


def test_the_door_of_a_checkpoint_sets_it_beside_its_base_and_ticks_no_tool_that_writes(
    owner: Client, running: Job, point: Checkpoint, tools: dict[str, ToolVersion]
) -> None:
    running.spec["tools"] = [{"name": "lookup_order"}, {"name": "refund"}]
    running.save()
    page = read(owner, f"/playground/?checkpoint={running.pk}@{point.step}")
    assert f'<option value="base:{running.base_model_id}" selected>' in page
    assert f'<option value="checkpoint:{point.pk}" selected>' in page
    ticked = re.findall(r'name="tools" value="([^"]+)"[^>]* checked', page)
    assert ticked == [tools["lookup_order"].pk]
    assert "refund v1 · writes: each call really changes something" in page


def test_a_writing_tool_that_was_ticked_is_not_ticked_again(
    owner: Client, alice: User, organisation: Organisation, running: Job, tools: dict[str, Any]
) -> None:
    job = tryout_story.answered(alice, organisation, running)
    assert {tool["name"] for tool in job.spec["tools"]} == {"lookup_order", "refund"}
    page = read(owner, f"/playground/?again={job.pk}")
    assert re.findall(r'name="tools" value="([^"]+)"[^>]* checked', page) == [
        tools["lookup_order"].pk
    ]
    assert "refund (writes)" in words(read(owner, f"/playground/{job.pk}/"))


def test_both_sides_show_what_was_said_and_what_it_came_to(owner: Client, answered: Job) -> None:
    page = read(owner, f"/playground/{answered.pk}/")
    said = words(page)
    assert "B earned 1.000 and A 0.000 on this task: +1.00." in said
    assert "1 call · 16 tok · loop ✗ · final answer · reward 0.000 · 6.2 s" in said
    assert "accuracy 1.000 · format 1.000" in said
    assert said.count("lookup_order") >= 2
    for row in Trajectory.objects.filter(run__job=answered):
        assert f'href="/jobs/{answered.pk}/trajectories/{row.pk}/?view=tokens"' in page
    assert "hx-trigger" not in page.split('id="side-0"')[1]


def test_the_sides_can_be_swapped_by_their_address(owner: Client, answered: Job) -> None:
    page = read(owner, f"/playground/{answered.pk}/?swap=1")
    assert page.index('id="side-1"') < page.index('id="side-0"')
    point = answered.spec["sides"][1]["checkpoint"]
    assert f'href="/playground/?again={answered.pk}&amp;swap=1"' in page
    page = read(owner, f"/playground/?again={answered.pk}&swap=1")
    chosen = re.findall(r'<option value="(\w+:\d+)" selected>', page)
    assert chosen == [f"checkpoint:{point}", f"base:{answered.base_model_id}"]


def test_a_try_of_another_organisation_fills_nothing_in(
    owner: Client, alice: User, answered: Job
) -> None:
    other = Organisation.objects.create(name="Elsewhere")
    Membership.objects.create(organisation=other, user=alice, role="owner")
    session = owner.session
    session["organisation"] = other.pk
    session.save()
    page = read(owner, f"/playground/?again={answered.pk}")
    assert "That try is of Acme. Choose Acme at the top" in page
    assert "checkpoint:" not in page


def test_a_checkpoint_that_is_listed_no_more_can_still_be_swapped(
    owner: Client, answered: Job, sent: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jobs.selectors.tryouts.OFFERED", 0)
    answer = owner.post("/playground/", sent | {"do": "swap"})
    chosen = re.findall(r'<option value="(\w+:\d+)" selected>', answer.content.decode())
    assert chosen == [sent["b"], sent["a"]]


def test_the_forms_own_button_swaps_what_is_chosen(owner: Client, sent: dict[str, Any]) -> None:
    answer = owner.post("/playground/", sent | {"do": "swap", "messages": "kept"})
    page = answer.content.decode()
    assert answer.status_code == 200
    assert re.findall(r'<option value="(\w+:\d+)" selected>', page) == [sent["b"], sent["a"]]
    assert "kept</textarea>" in page
    assert not Job.objects.filter(purpose="playground").exists()


def test_turns_come_one_by_one_and_the_pulse_says_when(
    owner: Client, alice: User, organisation: Organisation, running: Job
) -> None:
    job = tryout_story.tryout_make(alice, organisation, running)
    lease = tryout_story.lease_take(job)
    page = read(owner, f"/playground/{job.pk}/")
    assert "Loading base-0.6b…" in page
    assert "Comes next, when the other side is done." in page
    (pulse,) = re.findall(r'hx-get="(/playground/[^"]*pulse/[^"]*)"', page)
    assert owner.get(pulse).status_code == 204
    made = tryout_story.rollout(0, sample=2, wins=True)
    tryout_story.live(lease, 0, made)
    news = owner.get(pulse)
    assert (news.status_code, news["HX-Trigger"]) == (200, "tryout-news")
    side = read(owner, f"/playground/{job.pk}/", HX_Request="true", HX_Target="side-0")
    assert side.lstrip().startswith('<section id="side-0"')
    assert 'hx-trigger="tryout-news from:body"' in side
    assert "1 call · 8 tok · loop ✗" in words(side)
    assert "I look it up." in side
    tryout_story.side_commit(lease, 0, made)
    side = read(owner, f"/playground/{job.pk}/", HX_Request="true", HX_Target="side-0")
    assert "hx-trigger" not in side
    page = read(owner, f"/playground/{job.pk}/")
    assert "Begins, on the base model of A…" in page


def test_loading_says_what_it_took_the_last_time(
    owner: Client, alice: User, organisation: Organisation, running: Job
) -> None:
    tryout_story.answered(alice, organisation, running)
    job = tryout_story.tryout_make(alice, organisation, running)
    tryout_story.lease_take(job)
    page = read(owner, f"/playground/{job.pk}/")
    assert "Loading base-0.6b, which took 20 s the last time…" in page


def test_it_is_stopped_from_its_page(
    owner: Client, viewer: Client, alice: User, organisation: Organisation, running: Job
) -> None:
    job = tryout_story.tryout_make(alice, organisation, running)
    assert viewer.post(f"/playground/{job.pk}/stop/").status_code == 403
    assert owner.get(f"/playground/{job.pk}/stop/").status_code == 302
    job.refresh_from_db()
    assert job.status == "queued"
    answer = owner.post(f"/playground/{job.pk}/stop/")
    assert (answer.status_code, answer["Location"]) == (302, f"/playground/{job.pk}/")
    page = words(read(owner, f"/playground/{job.pk}/"))
    assert "Cancelled" in page
    assert "Stopped before a side was done." in page
    assert "Ended before this side was done." in page


def test_a_failure_says_why_and_shows_the_log(
    owner: Client, alice: User, organisation: Organisation, running: Job
) -> None:
    job = tryout_story.tryout_make(alice, organisation, running)
    text = f"Memory ran out {story.HOSTILE}"
    run_fail(tryout_story.lease_take(job), code="out_of_memory", text=text, log="line 1\nline 2")
    page = read(owner, f"/playground/{job.pk}/")
    assert "Failed: Memory ran out" in page
    assert "line 2" in page
    assert story.HOSTILE not in page


def test_the_list_has_the_past_tries_with_models_and_rewards(owner: Client, answered: Job) -> None:
    page = read(owner, "/playground/")
    assert f'href="/playground/{answered.pk}/"' in page
    rows = words(page.split("<tbody>")[1])
    assert "refunds v1, row 15 base-0.6b 0.000 refunds-v3, step 4 1.000" in rows


def test_a_viewer_reads_tries_and_makes_none(
    viewer: Client, sent: dict[str, Any], answered: Job
) -> None:
    page = read(viewer, "/playground/")
    assert "You can read tries. Members can make them." in page
    assert 'method="post"' not in page.split('id="main"')[1]
    page = read(viewer, f"/playground/{answered.pk}/")
    assert "You can read this try. Members can make one." in page
    assert "Run both" not in page
    assert viewer.post("/playground/", sent).status_code == 403


@pytest.mark.parametrize("part", ["", "pulse/", "stop/"])
def test_a_foreign_try_answers_byte_for_byte_as_an_absent_one(
    stranger: Client, answered: Job, part: str
) -> None:
    ask = stranger.post if part == "stop/" else stranger.get
    foreign = ask(f"/playground/{answered.pk}/{part}")
    absent = ask(f"/playground/try-0000000000000000/{part}")
    assert foreign.status_code == absent.status_code == 404
    assert foreign.content == absent.content
    assert stranger.get(f"/playground/?checkpoint={answered.pk}@1").status_code == 404
    assert answered.name not in read(stranger, "/playground/")


def test_a_job_is_no_try_and_a_try_is_no_job(owner: Client, running: Job, answered: Job) -> None:
    assert owner.get(f"/playground/{running.pk}/").status_code == 404
    for part in ("", "credit/", "graders/", "loops/"):
        answer = owner.get(f"/jobs/{answered.pk}/{part}")
        assert (answer.status_code, answer["Location"]) == (302, f"/playground/{answered.pk}/")
    assert (
        owner.get(f"/jobs/{answered.pk}/pulse/")["Location"] == f"/playground/{answered.pk}/pulse/"
    )
    assert owner.get(f"/jobs/{answered.pk}/report.html").status_code == 404
    for part in ("events/", "spec/", "spec.json", "trajectories/"):
        read(owner, f"/jobs/{answered.pk}/{part}")
    assert answered.name not in read(owner, "/jobs/")
    assert owner.get(f"/search/?q={answered.pk}")["Location"] == f"/playground/{answered.pk}/"


def test_each_side_is_a_trajectory_that_can_be_opened_in_every_view(
    owner: Client, answered: Job
) -> None:
    row = Trajectory.objects.filter(run__job=answered)[0]
    for view in ("turns", "group", "tokens"):
        page = read(owner, f"/jobs/{answered.pk}/trajectories/{row.pk}/?view={view}")
        assert f'href="/playground/{answered.pk}/"' in page
    page = read(owner, f"/jobs/{answered.pk}/trajectories/{row.pk}/")
    assert "Tried in the playground, not trained" in page
    assert "Clone" not in page
    assert "Order 14 came broken." in page


def test_nothing_can_be_tried_without_a_base_model(
    owner: Client, organisation: Organisation
) -> None:
    page = read(owner, "/playground/")
    assert "No base model is ready here, so nothing can be tried." in page
    assert "No tries yet." in page


def test_a_page_of_many_tries_asks_as_little_as_one_of_a_single_try(
    owner: Client,
    alice: User,
    organisation: Organisation,
    running: Job,
    answered: Job,
    django_assert_max_num_queries: Any,
) -> None:
    for _ in range(3):
        tryout_story.answered(alice, organisation, running)
    with django_assert_max_num_queries(18):
        read(owner, "/playground/")


def test_its_run_leads_and_nothing_else_of_the_job_does(answered: Job) -> None:
    assert answered.leading_run_id == Run.objects.get(job=answered).pk
