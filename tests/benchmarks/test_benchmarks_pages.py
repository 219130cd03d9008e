"""The pages benchmark: its story is what the engine would tell, its figures are what they say."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import pytest
import yaml

from benchmarks.pages import rows
from benchmarks.pages.attempts import (
    LONG_BYTES,
    attempts,
    long_attempt,
)
from benchmarks.pages.browser import Answer, Panel, Parts, newest_step
from benchmarks.pages.database import fingerprint
from benchmarks.pages.figures import Run, judged, p50, p95, summary, table, visible
from benchmarks.pages.plan import QUICK, WHOLE
from benchmarks.pages.server import OPTIONS, Spent
from benchmarks.pages.story import CREDIT, Story
from benchmarks.pages.viewers import Seen
from benchmarks.pages.visitors import CHART, LIST, PAGE, Visit, Visited, curves, holds, lists
from hone.accounts.models import Organisation
from jobs.engine.credit.assign import assign_credit
from jobs.engine.credit.groups import Group, training_rewards
from jobs.engine.metrics import is_looped
from jobs.engine.reporting import read_body
from jobs.models import BaseModel, Checkpoint, Job, JobEvent, JobStep, Usage
from jobs.models import Run as JobRun
from jobs.models import Trajectory as Row
from jobs.services.commit import step_commit
from jobs.services.lease import run_acquire

TINY = replace(QUICK, steps=6, eval_every=2, eval_tasks=3)


def told(step: int) -> Any:
    return Story(TINY, 12).step(step)


def test_attempts_end_in_every_way_and_train_where_they_differ() -> None:
    rng, found = Random(3), []
    for step in range(60):
        members = attempts(rng, step, "train", step, f"train-{step}", 4, 0.4)
        group = Group(f"train-{step}", tuple(members))
        assign_credit([group], training_rewards([group], shuffle_seed=None), CREDIT)
        found += members
    assert {str(each.stop) for each in found} == {"final_answer", "tool_loop", "tool_fault"}
    assert {is_looped(each) for each in found if each.stop == "tool_loop"} == {True}
    assert {each.reward for each in found if each.stop == "tool_fault"} == {None}
    assert {each.trained for each in found} == {True, False}


def test_a_step_has_the_groups_of_figures_that_the_engine_reports() -> None:
    assert set(told(3).metrics) == {
        *("train", "groups", "learning", "credit", "insight", "seconds")
    }
    assert set(told(0).metrics) == {"validation", "insight", "seconds"}
    assert set(told(2).metrics["insight"]) == {"credit", "train", "validation"}
    assert told(2).metrics["groups"]["total"] == TINY.groups
    assert told(2).metrics["train"]["n"] == TINY.groups * TINY.group_size


def test_steps_that_are_alike_have_names_of_their_own_and_are_told_the_same_again() -> None:
    plan, story = replace(TINY, steps=3000), Story(replace(TINY, steps=3000), 6000)
    done = [story.step(step) for step in range(1, 300)]
    uids = [row.uid for one in done for row in one.trajectories]
    assert len(uids) == len(set(uids))
    assert {row.group for row in done[6].trajectories if row.split == "train"} == {
        "train-7-14",
        "train-7-15",
    }
    assert len({json.dumps(one.metrics["train"]) for one in done}) < 200
    again = Story(plan, 6000)
    assert [again.step(step) for step in range(1, 300)] == done


def test_a_step_with_bodies_has_the_long_trajectory_where_its_row_says(tmp_path: Path) -> None:
    done = Story(TINY, 12).step(4, bodies=tmp_path, long=True)
    last = next(each for each in done.trajectories if each.uid == "t4-long")
    read = read_body(tmp_path / str(done.bodies), last.offset, last.length)
    assert (read.uid, len(read.turns)) == ("t4-long", 200)
    assert done.metrics["train"]["n"] == TINY.groups * TINY.group_size + 1


def test_the_long_trajectory_has_a_megabyte_of_text() -> None:
    turns = long_attempt(1, 0).turns
    text = sum(len(turn.text) + sum(len(c.output or "") for c in turn.calls) for turn in turns)
    assert LONG_BYTES <= text < 1.1 * LONG_BYTES


@pytest.mark.django_db
def test_copied_rows_are_those_that_a_commit_writes(organisation: Organisation) -> None:
    model = BaseModel.objects.create(name="tiny", source="/tiny", folder="/tiny")
    job = Job.objects.create(organisation=organisation, name="a", spec={}, base_model=model)
    run = JobRun.objects.create(job=job)
    lease = run_acquire(run.pk, holder="test", host="here")
    assert lease is not None
    story = Story(TINY, 12)
    done = [story.step(step) for step in range(6)]
    for one in done:
        step_commit(lease, one)
    for one in done:
        of_step = {"run": run, "step": one.step}
        assert_rows(JobStep.objects.filter(**of_step), [rows.step_row(run.pk, one)])
        assert_rows(Usage.objects.filter(**of_step), [rows.usage_row(run.pk, one)])
        assert_rows(Row.objects.filter(**of_step), rows.trajectory_rows(run.pk, one))
        events = JobEvent.objects.filter(**of_step)
        assert_rows(events, rows.event_rows(job.pk, run.pk, one))
        point = rows.checkpoint_row(run.pk, one) | rows.kept_now(one.step, done[-1])
        assert_rows(Checkpoint.objects.filter(**of_step), [point])


def assert_rows(found: Any, made: list[dict[str, Any]]) -> None:
    assert list(found.order_by("pk").values(*made[0])) == json.loads(json.dumps(made))


def test_the_database_is_made_anew_for_other_contents_alone() -> None:
    assert fingerprint(WHOLE) == fingerprint(replace(WHOLE, viewers=1, load_s=1.0))
    assert fingerprint(WHOLE) != fingerprint(replace(WHOLE, steps=99_999))


def test_a_million_trajectories_are_in_the_long_job() -> None:
    evaluations = WHOLE.steps // WHOLE.eval_every * WHOLE.eval_tasks
    assert (WHOLE.steps - 1) * WHOLE.groups * WHOLE.group_size + evaluations == 999_992
    assert (WHOLE.steps, WHOLE.viewers) == (100_000, 25)


def test_it_serves_as_the_compose_file_does() -> None:
    compose = yaml.safe_load(Path("docker-compose.yml").read_text())
    assert compose["services"]["web"]["command"][4:] == list(OPTIONS)


def test_percentiles_are_measured_values() -> None:
    assert (p95([]), p50([1.0])) != (p95([1.0]), p50([]))
    values = [float(each) for each in range(1, 21)]
    assert (p95(values), p50(values)) == (19.0, 10.0)
    assert p95([*values, 21.0]) == 20.0


def test_a_page_lists_its_poller_its_panels_and_its_curves() -> None:
    found = Parts(
        '<div id="pulse" hx-get="/p/?since=1&amp;x=2" hx-trigger="every 1500ms"></div>'
        '<div id="numbers" hx-get="/n/" hx-trigger="job-step from:body throttle:3s, job-state '
        'from:body"></div><details><details open></details><div id="folded" hx-get="/f/" '
        'hx-trigger="opened, job-step from:body"></div></details>'
        '<section data-series="/s.json"></section><a href="/jobs/">Jobs</a>'
    )
    assert found.poller == "/p/?since=1&x=2"
    assert found.panels == [Panel("numbers", "/n/", frozenset({"job-step", "job-state"}))]
    assert (found.series, found.links) == ("/s.json", ["/jobs/"])


def test_the_newest_step_is_that_of_the_chart_that_reaches_furthest() -> None:
    assert newest_step('{"charts": [{"steps": [1, 7], "values": [99]}, {"steps": [3]}]}') == 7
    assert newest_step('{"charts": [{"steps": []}]}') == -1
    with pytest.raises(ValueError):
        newest_step('{"detail": "none"}')


def test_wrong_contents_are_errors() -> None:
    assert holds("a", "b")("a") == "without 'b'"
    assert lists("ftjob-1", 2)('<a href="/jobs/ftjob-1/trajectories/4/">') == "1 trajectories"
    assert curves(9)('{"charts": [{"steps": [8]}]}') == "ends at step 8"
    assert curves(9)("<p>") == "no JSON"
    visited = Visited()
    visit = Visit("jobs", PAGE, "/jobs/", holds("refunds"))
    for status, text in ((200, "refunds"), (200, "nothing"), (302, ""), (500, "refunds")):
        visited.add(visit, Answer(status, {}, text, 0.1, 1.0, len(text)))
    assert visited.errors == [
        "jobs /jobs/: 200 without 'refunds'",
        "jobs /jobs/: 302 ",
        "jobs /jobs/: 500 refunds",
    ]


def run_made() -> Run:
    """Viewer 0 sees step 11 late and step 12 soon; viewer 1 came later and never sees step 12."""
    visited = Visited(
        {"jobs": [0.1], "list": [0.2, 0.3], "curves": [0.4]},
        {"jobs": PAGE, "list": LIST, "curves": CHART},
        {"jobs": 2000, "list": 2000, "curves": 2000},
        {"jobs": [Spent(0.01, 0.002)]},
    )
    seen = Seen({"pulse": [0.01]}, {0: [(10, 100.0), (11, 104.0), (12, 106.5)], 1: [(11, 104.0)]})
    return Run(visited, seen, [(11, 101.0, 0.02), (12, 106.0, 0.02), (13, 199.0, 0.02)], 200.0)


def test_a_point_is_visible_when_a_viewer_that_was_there_got_it() -> None:
    assert visible(run_made()) == ([3.0, 0.5], 1)


def test_the_last_line_has_the_agreed_figures() -> None:
    found = summary(run_made())
    assert json.loads(json.dumps(found)) == {
        "page_ms_p95": 300.0,
        "trajectory_list_ms_p95": 300.0,
        "trajectory_open_ms_p95": None,
        "chart_100k_ms_p95": 400.0,
        "new_point_visible_s_p95": 3.0,
        "errors": 1,
    }
    lines = list(judged(found))
    assert lines[0].endswith("300   ≤ 200 wanted: NOT held")
    table_lines = [line.split() for line in table(run_made(), run_made())]
    assert ["jobs", "2", "1", "100", "100", "10.0", "2.0", "1", "100", "100"] in table_lines
