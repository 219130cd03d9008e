"""The tabs Credit, Graders and Loops & tails: sums of steps, and the doors behind them."""

from __future__ import annotations

import re
from typing import Any

import pytest
import story
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from hone.accounts.models import User
from jobs.models import Job, JobStep, Trajectory
from jobs.selectors.insight.credit import Estimate, credit_figures
from jobs.selectors.insight.graders import grader_figures, weight_in
from jobs.selectors.insight.loops import loop_figures
from jobs.selectors.insight.window import CURVE_STEPS, insight_window
from jobs.services.lease import Lease
from jobs.views.insight.credit import audit_text, coverage
from jobs.views.insight.whiskers import axis, whisker

TABS = ("credit/", "graders/", "loops/")


def _page(client: Client, job: Job, tab: str) -> str:
    answer = client.get(f"/jobs/{job.pk}/{tab}")
    assert answer.status_code == 200
    return answer.content.decode()


def _set(job: Job, **settings: Any) -> None:
    """Change settings of a frozen spec, as a job made with them would have them."""
    kept = [each for each in job.spec["settings"] if each["name"] not in settings]
    job.spec["settings"] = [*kept, *({"name": n, "value": v} for n, v in settings.items())]
    job.save(update_fields=["spec"])


@pytest.fixture
def anchored(running: Job) -> Job:
    _set(running, anchored_weight=1.0)
    return running


def test_the_tabs_stand_in_their_order_with_their_keys(owner: Client, running: Job) -> None:
    tabs = re.search(r'<nav class="tabs".*?</nav>', _page(owner, running, "credit/"), re.S)
    assert tabs is not None
    assert re.findall(r'data-key="(\d)"[^>]*>([^<]*)<', tabs[0]) == [
        ("1", "Overview"),
        ("2", "Trajectories"),
        ("3", "Credit"),
        ("4", "Graders"),
        ("5", "Loops &amp; tails"),
        ("6", "Checkpoints"),
        ("7", "Events"),
        ("8", "Spec"),
    ]


def test_coverage_comes_first_and_its_figures_are_sums_over_the_steps(
    owner: Client, anchored: Job
) -> None:
    found = credit_figures(anchored, insight_window(anchored, step=None, last=20))
    # A step: 12 attempts have records, of two turns each and the looped one of three; siblings
    # speak of the first turn of each.
    assert (found.turns, found.own_turns) == (100, 48)
    one = credit_figures(anchored, insight_window(anchored, step=2, last=20))
    assert (one.turns, one.own_turns) == (25, 12)
    page = _page(owner, anchored, "credit/")
    assert coverage(found) in page
    assert page.index("Turn-level evidence for 48") < page.index('class="data tools-earned"')


def test_a_tool_row_is_a_door_to_its_trajectories(owner: Client, anchored: Job) -> None:
    page = _page(owner, anchored, "credit/?step=2")
    address = f"/jobs/{anchored.pk}/trajectories/?step=2&amp;split=train&amp;tool=lookup_order"
    assert f'<a href="{address}">lookup_order</a>' in page
    shown = owner.get(address.replace("&amp;", "&")).content.decode()
    assert "t2-r0-s1" in shown


def test_the_turns_that_earned_most_open_at_that_turn(owner: Client, anchored: Job) -> None:
    page = _page(owner, anchored, "credit/")
    found = re.findall(r'trajectories/(\d+)/#turn-(\d+)">([^ ]+) turn (\d+)<', page)
    assert found
    for pk, anchor, uid, turn in found:
        assert Trajectory.objects.get(pk=pk).uid == uid
        assert anchor == turn


def test_a_job_of_whole_episodes_has_nothing_to_attribute(owner: Client, running: Job) -> None:
    _set(running, anchored_weight=0.0, counterfactual_calls=0, advantage="rloo")
    page = _page(owner, running, "credit/")
    assert "(method: rloo). There is nothing to attribute." in page


def test_the_audit_says_how_many_rollouts_differ(owner: Client, anchored: Job) -> None:
    assert "60 rollouts audited, 0 differing." in _page(owner, anchored, "credit/")
    step = JobStep.objects.get(run__job=anchored, step=3)
    step.metrics["learning"]["audit_differing"] = 2
    step.save(update_fields=["metrics"])
    page = _page(owner, anchored, "credit/")
    assert "60 rollouts audited, 2 differing." in page
    assert "note-bad" in page
    assert audit_text(None) == ""


def test_each_step_has_its_line_of_the_audit_and_none_that_differs_is_left_out(
    owner: Client, anchored: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lines() -> tuple[list[list[str]], str]:
        page = _page(owner, anchored, "credit/")
        table = re.search(r"Audit by step</summary>.*?</details>", page, re.S)
        assert table is not None
        body = table[0].split("<tbody>")[1]
        rows = [re.sub(r"<[^>]*>", " ", row).split() for row in body.split("</tr>")[:-1]]
        return rows, table[0]

    assert [row[:3] for row in lines()[0]] == [[str(step), "15", "0"] for step in (4, 3, 2, 1)]
    monkeypatch.setattr("jobs.views.insight.credit.MOST_AUDITS", 1)
    step = JobStep.objects.get(run__job=anchored, step=2)
    step.metrics["learning"] |= {
        "audit_differing": 2,
        "audit_by_turn": -3.25,
        "audit_by_token": -3.0,
        "audit_received": None,
    }
    step.save(update_fields=["metrics"])
    rows, table = lines()
    assert [row[:3] for row in rows] == [["4", "15", "0"], ["2", "15", "2"]]
    assert rows[1][3:] == ["−3.25", "−3.00", "–"]
    assert '/trajectories/?step=2&amp;flag=audit_differs">2</a>' in table
    assert "2 of 4 audited steps: the newest, and all that differ or were skipped." in table


def test_the_audit_says_which_updates_were_skipped(owner: Client, anchored: Job) -> None:
    step = JobStep.objects.get(run__job=anchored, step=3)
    step.metrics["learning"]["skipped_non_finite"] = 1
    step.save(update_fields=["metrics"])
    page = _page(owner, anchored, "credit/")
    assert "0 differing. 1 update was skipped, the gradient not being finite" in page
    assert page.count('<span class="bad">skipped</span>') == 1


def test_continuations_on_demand_have_their_own_place_in_a_tools_row(
    owner: Client, anchored: Job, alice: User, lease: Lease
) -> None:
    story.steps_commit(anchored, lease, 5, 12)
    looped = Trajectory.objects.get(run__job=anchored, step=9, uid="t9-r0-s1")
    story.measurements_make(alice, looped)
    page = _page(owner, anchored, "credit/")
    assert "◆ +0.50 ±0.48, 1 on demand" in page
    assert "1 done on demand, 1 waiting or running, 1 without an estimate" in page


def test_a_second_grader_names_the_rewards_that_it_does_not_see(
    owner: Client, running: Job
) -> None:
    running.spec["held_out_grader"] = {"version": 1}
    running.save(update_fields=["spec"])
    found = grader_figures(running, insight_window(running, step=4, last=20))
    assert [(each["uid"], each["held_out"]) for _, each in found.suspects] == [
        ("v4-r1-s3", 0.2),
        ("v4-r3-s3", 0.2),
    ]
    assert found.held_out_n == 15
    page = _page(owner, running, "graders/?step=4")
    assert "The held-out grader gave" in page
    assert "Ten highest rewards with the lowest held-out score" in page


def test_a_part_that_never_moves_is_saturated_and_one_that_decides_is_flagged(
    owner: Client, running: Job
) -> None:
    page = _page(owner, running, "graders/")
    assert "accuracy explains 100" in page
    assert "format is saturated since step 1: it gives no signal." in page


def test_the_weight_of_a_part_is_the_slope_of_the_formula() -> None:
    means = {"a": 0.5, "b": 0.25}
    assert weight_in("0.7 * a + 0.3 * b", "a", means) == pytest.approx(0.7)
    assert weight_in("a * b", "a", means) == pytest.approx(0.25)
    assert weight_in("log(a - 1)", "a", means) is None
    assert weight_in("", "a", means) is None


def test_errors_lead_to_the_rollouts_without_a_score(owner: Client, running: Job) -> None:
    page = _page(owner, running, "graders/?step=2")
    assert f"/jobs/{running.pk}/trajectories/?step=2&amp;stop=tool_fault" in page


def test_the_workbench_is_offered_to_whoever_may_use_it(
    owner: Client, viewer: Client, running: Job
) -> None:
    words = "Open these graded trajectories in the workbench"
    assert words in _page(owner, running, "graders/")
    assert f"job={running.pk}&amp;a=stored&amp;first_step=0&amp;last_step=4" in _page(
        owner, running, "graders/"
    )
    assert words not in _page(viewer, running, "graders/")


def test_the_gallery_says_what_repeated_what_it_got_and_when(owner: Client, running: Job) -> None:
    found = loop_figures(insight_window(running, step=None, last=20))
    (one,) = found.gallery
    assert (one.tool, one.first, one.last, one.times) == ("lookup_order", 0, 4, 3)
    # One attempt a step in training, and one at each of two evaluations.
    assert (one.n, one.reward_mean, one.died_out) == (6, 0.0, False)
    page = _page(owner, running, "loops/")
    assert "steps 0 to 4, still seen" in page
    assert "What loops earned" in page


def test_a_loop_that_no_step_of_the_window_has_died_out(running: Job) -> None:
    for step in JobStep.objects.filter(run__job=running, step__gte=3):
        for split in ("train", "validation"):
            if split in step.metrics["insight"]:
                step.metrics["insight"][split]["loops"]["gallery"] = []
        step.save(update_fields=["metrics"])
    (one,) = loop_figures(insight_window(running, step=4, last=20)).gallery
    assert (one.last, one.died_out) == (2, True)


def test_the_longest_rollouts_stand_beside_those_of_the_base_model(
    owner: Client, running: Job
) -> None:
    found = loop_figures(insight_window(running, step=None, last=20))
    assert {step for step, _, _ in found.before} == {0}
    assert {step for step, _, _ in found.now} == {4}
    page = _page(owner, running, "loops/")
    assert "Longest before: step 0" in page
    assert "Longest now: step 4" in page


def test_steps_from_before_this_was_recorded_say_so(owner: Client, running: Job) -> None:
    for step in JobStep.objects.filter(run__job=running, step__lt=3):
        del step.metrics["insight"]
        step.save(update_fields=["metrics"])
    for tab in TABS:
        page = _page(owner, running, tab)
        assert "3 of these 5 steps were made before this was recorded" in page
    for step in JobStep.objects.filter(run__job=running):
        step.metrics.pop("insight", None)
        step.metrics["learning"] = {"loss": 0.1}
        step.save(update_fields=["metrics"])
    for tab in TABS:
        assert "5 of these 5 steps" in _page(owner, running, tab)


@pytest.mark.parametrize("tab", TABS)
def test_a_job_without_steps_says_when_there_will_be_something(
    owner: Client, job: Job, tab: str
) -> None:
    _set(job, anchored_weight=1.0)
    words = "step 1, the first that trains" if tab == "credit/" else "step 0, the evaluation of"
    assert words in _page(owner, job, tab)


@pytest.mark.parametrize("tab", TABS)
@pytest.mark.parametrize("query", ["step=x", "last=0", "last=99999", "step=7", "step=-1"])
def test_a_window_that_does_not_exist_is_said_and_no_error(
    owner: Client, running: Job, tab: str, query: str
) -> None:
    page = _page(owner, running, f"{tab}?{query}")
    assert "field-error" in page or "There is no step 7. Finished steps: 0 to 4." in page


@pytest.mark.parametrize("tab", TABS)
def test_a_tab_asks_as_often_for_many_steps_as_for_few(
    owner: Client, job: Job, lease: Lease, tab: str
) -> None:
    def asked() -> int:
        with CaptureQueriesContext(connection) as captured:
            _page(owner, job, tab)
        return len(captured)

    story.steps_commit(job, lease, 0, 4)
    few = asked()
    story.steps_commit(job, lease, 5, 12)
    assert asked() == few <= 12


def test_a_tab_reads_a_bounded_number_of_steps(running: Job) -> None:
    newest = JobStep.objects.get(run__job=running, step=4)
    JobStep.objects.bulk_create(
        JobStep(run=newest.run, step=number, epoch=1, metrics=newest.metrics)
        for number in range(5, 1000)
    )
    Job.objects.filter(pk=running.pk).update(last_step=999)
    running.refresh_from_db()
    window = insight_window(running, step=None, last=20)
    assert [step.number for step in window.steps] == list(range(980, 1000))
    numbers = [step.number for step in window.curve]
    assert (len(numbers), numbers[0], numbers[-1]) == (CURVE_STEPS, 0, 999)
    assert window.is_thinned


@pytest.mark.parametrize("tab", TABS)
def test_the_tabs_are_of_the_job_alone(
    owner: Client, viewer: Client, stranger: Client, running: Job, tab: str
) -> None:
    assert viewer.get(f"/jobs/{running.pk}/{tab}").status_code == 200
    foreign = stranger.get(f"/jobs/{running.pk}/{tab}")
    absent = stranger.get(f"/jobs/ftjob-0000000000000000/{tab}")
    assert foreign.status_code == absent.status_code == 404
    assert foreign.content == absent.content


@pytest.mark.parametrize("tab", TABS)
def test_hostile_names_are_text(owner: Client, anchored: Job, tab: str) -> None:
    bad = '<img src=x onerror="alert(1)">\u202e'
    step = JobStep.objects.get(run__job=anchored, step=4)
    insight = step.metrics["insight"]
    insight["credit"]["tools"][bad] = insight["credit"]["tools"]["lookup_order"]
    insight["credit"]["most"][0] |= {"tool": bad, "text": bad}
    for split in ("train", "validation"):
        insight[split]["graders"]["parts"][bad] = insight[split]["graders"]["parts"]["accuracy"]
        insight[split]["graders"]["errors"][bad] = 3
        insight[split]["loops"]["gallery"][0] |= {"tool": bad, "text": bad}
        insight[split]["loops"]["longest"][0] |= {"repeated": bad}
    step.save(update_fields=["metrics"])
    page = _page(owner, anchored, tab)
    assert "<img" not in page
    assert "&lt;img src=x" in page
    assert "\u202e" not in page


def test_the_axis_is_symmetric_and_round() -> None:
    assert axis([Estimate(0.19, 0.04), Estimate(-0.31, 0.05)]) == 0.5
    assert axis([Estimate(0.2, None)]) == 0.2
    assert axis([]) > 0
    drawn = whisker(Estimate(0.25, 0.1), 0.5, is_own=True)
    assert drawn is not None
    assert (drawn.mark, drawn.left, drawn.right, drawn.tone) == (147.0, 128.2, 165.8, "plus")


def test_an_advantage_that_only_repeats_the_episode_is_grey() -> None:
    sure, unsure = Estimate(-0.25, 0.1), Estimate(-0.05, 0.1)
    tones = [
        whisker(estimate, 0.5, is_own=own)
        for estimate, own in ((sure, True), (sure, False), (unsure, True))
    ]
    assert [each.tone for each in tones if each] == ["minus", "idle", "idle"]


@pytest.mark.parametrize("tab", ["credit", "graders", "loops"])
def test_a_tab_fetches_itself_when_a_step_is_there(
    owner: Client, running: Job, lease: Lease, tab: str
) -> None:
    address = f"/jobs/{running.pk}/{tab}/"
    page = owner.get(address).content.decode()
    panel = f'<div id="tab" data-keeps hx-get="{address}" hx-trigger="job-step from:body throttle'
    assert panel in page
    assert "to 4</strong>" in page
    asked = re.search(r'hx-get="(/jobs/[^"]+/pulse/[^"]+)"', page)
    assert asked is not None
    pulse = asked.group(1).replace("&amp;", "&")
    assert owner.get(pulse).status_code == 204
    story.steps_commit(running, lease, 5, 5)
    news = owner.get(pulse)
    assert news["HX-Trigger"] == "job-step"
    assert "step 5 of 12" in news.content.decode()
    assert 'class="tile"' not in news.content.decode()
    headers: dict[str, Any] = {"HTTP_HX_REQUEST": "true", "HTTP_HX_TARGET": "tab"}
    answer = owner.get(address, **headers)
    body = answer.content.decode()
    assert "HX-Target" in answer["Vary"]
    assert body.startswith('<div id="tab"')
    assert "to 5</strong>" in body
    assert "<h1" not in body


def test_a_tab_of_one_step_stands_still(owner: Client, running: Job) -> None:
    page = owner.get(f"/jobs/{running.pk}/credit/?step=2").content.decode()
    assert '<div id="tab" data-keeps>' in page
