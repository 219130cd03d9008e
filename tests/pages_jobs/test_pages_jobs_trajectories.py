"""Trajectories: filters, paging, the histogram, one to read, another grader."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import story
from django.test import Client

from graders.services.authoring import grader_create
from hone.accounts.models import Organisation, User
from jobs.models import Job, Trajectory, run_folder


def _list(client: Client, job: Job, query: str) -> str:
    answer = client.get(f"/jobs/{job.pk}/trajectories/?{query}")
    assert answer.status_code == 200
    return answer.content.decode()


def _shown(page: str) -> list[str]:
    return re.findall(r'row-link" href="[^"]*">([^<]*)</a>', page)


def test_the_filters_leave_what_they_say(owner: Client, running: Job) -> None:
    assert len(_shown(_list(owner, running, "step=0"))) == 16
    assert _shown(_list(owner, running, "step=2&stop=tool_loop")) == ["t2-r0-s1"]
    assert _shown(_list(owner, running, "step=4&flag=ungraded&split=train")) == ["t4-r0-s0"]
    assert _shown(_list(owner, running, "step=1&row=1&reward_from=0&reward_to=0")) == [
        "t1-r0-s1",
        "t1-r0-s2",
        "t1-r0-s3",
    ]
    assert _shown(_list(owner, running, "group=train-1-3")) == [f"t1-r3-s{at}" for at in range(4)]
    assert "No trajectory matches." in _list(owner, running, "step=77")


@pytest.mark.parametrize(
    "query", ["step=x", "reward_from=NaN", "step=99999999999", "stop=nope", "after=x", "text=%00"]
)
def test_a_filter_that_does_not_fit_never_breaks_the_page(
    owner: Client, running: Job, query: str
) -> None:
    _list(owner, running, query)


def test_pages_hold_fifty_rows_and_meet_without_gap(owner: Client, running: Job) -> None:
    first = _list(owner, running, "")
    found = re.search(r'href="(\?[^"]*after=\d+)"[^>]*>Next rows', first)
    assert found is not None
    second = _list(owner, running, found.group(1).lstrip("?").replace("&amp;", "&"))
    newest_first = Trajectory.objects.order_by("-step", "pk").values_list("uid", flat=True)
    assert _shown(first) + _shown(second) == list(newest_first)
    back = re.search(r'href="(\?[^"]*before=\d+)"[^>]*>Previous rows', second)
    assert back is not None
    query = back.group(1).lstrip("?").replace("&amp;", "&")
    assert _shown(_list(owner, running, query)) == _shown(first)
    assert len(_shown(first)) == 50


def test_rows_are_counted_from_1_and_lead_to_their_dataset(owner: Client, running: Job) -> None:
    listed = _list(owner, running, "step=4&row=2&split=train")
    assert _shown(listed) == [f"t4-r1-s{at}" for at in range(4)]
    assert '<a href="?row=2&amp;split=train">2</a>' in listed
    page = _page(owner, running, "t4-r1-s0")
    version = running.train_version
    assert version is not None
    assert f'href="/datasets/{version.dataset_id}/v1/rows/?from=2">Row 2 in its dataset' in page
    assert f'href="/jobs/{running.pk}/trajectories/?row=2&amp;split=train">2</a>' in page
    assert "This is 0; use at least 1." in _list(owner, running, "row=0")


def test_a_trajectory_shows_the_right_answer_of_its_row(owner: Client, running: Job) -> None:
    one = Trajectory.objects.get(uid="t4-r1-s0")
    graded = owner.get(f"/jobs/{running.pk}/trajectories/{one.pk}/grade/").content.decode()
    for page in (_page(owner, running, "t4-r1-s0"), graded):
        assert "&quot;answer&quot;: &quot;yes&quot;" in page


def test_a_row_that_is_gone_says_so(owner: Client, running: Job) -> None:
    Job.objects.filter(pk=running.pk).update(train_version=None)
    page = _page(owner, running, "t4-r1-s0")
    assert "The dataset version that this task came from was deleted" in page
    assert "in its dataset" not in page


def test_the_formula_of_a_multi_grader_stands_beside_its_parts(
    owner: Client, running: Job, alice: User, organisation: Organisation
) -> None:
    spec = {
        "type": "multi",
        "name": "both",
        "graders": {"accuracy": story.EXACT, "format": {**story.EXACT, "name": "format"}},
        "calculate_output": "0.8 * accuracy + 0.2 * format",
    }
    grader = grader_create(acting_user=alice, organisation=organisation, name="both", spec=spec)
    assert "<p>Reward: <code>" not in _page(owner, running, "t4-r1-s0")
    Job.objects.filter(pk=running.pk).update(grader_version=grader.versions.get())
    page = _page(owner, running, "t4-r1-s0")
    assert "<p>Reward: <code>0.8 * accuracy + 0.2 * format</code></p>" in page


def test_the_histogram_counts_rewards_and_its_bars_are_links(owner: Client, running: Job) -> None:
    page = _list(owner, running, "step=4&split=train")
    bars = re.findall(
        r'<span class="n">(\d+)</span>.*?<span class="bin">([^<]*)</span>', page, re.S
    )
    assert ("1", "ungraded") in bars
    assert sum(int(n) for n, _ in bars) == 16
    ones = Trajectory.objects.filter(step=4, split="train", reward=1.0).count()
    assert (str(ones), "1") in bars
    link = re.search(r'href="(\?[^"]*reward_from=0\.99[^"]*)"', page)
    assert link is not None
    assert (
        len(_shown(_list(owner, running, link.group(1).lstrip("?").replace("&amp;", "&")))) == ones
    )


def _page(client: Client, job: Job, uid: str) -> str:
    one = Trajectory.objects.get(uid=uid)
    answer = client.get(f"/jobs/{job.pk}/trajectories/{one.pk}/")
    assert answer.status_code == 200
    return answer.content.decode()


def test_a_trajectory_shows_its_turns_calls_and_grading(owner: Client, running: Job) -> None:
    page = _page(owner, running, "t4-r1-s0")
    for words in (
        "I look it up.",
        "&quot;id&quot;: 5512",
        "HTTP 200",
        "91 ms",
        "accuracy",
        "4 attempts at this task",
    ):
        assert words.replace(" ms", "\u202fms") in page or words in page


def test_text_of_models_and_tools_is_inert_and_control_characters_are_seen(
    owner: Client, running: Job
) -> None:
    for uid in ("t4-r1-s0", "t4-r0-s1"):
        page = _page(owner, running, uid)
        assert '<script>alert("x")' not in page
        assert "&lt;script&gt;alert(&quot;x&quot;)" in page
        assert "\u202e" not in page
        assert "⟦U+202E⟧" in page


def test_a_repeated_call_names_the_turn_that_made_it_first(owner: Client, running: Job) -> None:
    page = _page(owner, running, "t4-r0-s1")
    assert page.count("same call as in turn") == 2
    assert "same result × 3" in page
    assert "limits and loops earn at most 0" in page
    assert "The grader said 1.000; a trajectory that ends at a limit or in a loop" in page


def test_a_fault_is_ungraded_and_says_why(owner: Client, running: Job) -> None:
    page = _page(owner, running, "t4-r0-s0")
    assert "It has no reward and is in no group mean" in page
    assert "tool lookup_order answered 502 four times" in page
    assert "tool fault, ended the rollout (never trains)" in page
    assert "Not shown to the model" in page


def test_a_body_that_is_gone_leaves_the_figures(owner: Client, running: Job) -> None:
    for file in (run_folder(running.runs.get().pk) / "trajectories").iterdir():
        file.unlink()
    page = _page(owner, running, "t4-r1-s0")
    assert "cannot be read" in page
    one = Trajectory.objects.get(uid="t4-r1-s0")
    assert owner.get(f"/jobs/{running.pk}/trajectories/{one.pk}/raw.json").status_code == 410


def test_another_grader_speaks_beside_the_stored_reward_and_changes_nothing(
    owner: Client, running: Job, alice: User, organisation: Organisation, files: Path
) -> None:
    never = story.grader_make(alice, organisation, "never", reference="nothing")
    one = Trajectory.objects.get(uid="t4-r1-s3")
    address = f"/jobs/{running.pk}/trajectories/{one.pk}/grade/"
    assert "never v1" in owner.get(address).content.decode()
    page = owner.post(address, {"version": never.pk}).content.decode()
    assert re.search(r"never v1</h2>.*?0\.000", page, re.S)
    before = one.reward
    one.refresh_from_db()
    assert one.reward == before
    refused = owner.post(address, {"version": "gradver-of-somebody-else"})
    assert refused.status_code == 200
    assert "Select a valid choice" in refused.content.decode()
