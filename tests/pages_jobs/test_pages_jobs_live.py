"""What moves by itself: the pulse, the series, the buttons, the list."""

from __future__ import annotations

import re
from typing import Any

import pytest
import story
from django.test import Client
from pytest_django import DjangoAssertNumQueries

from jobs.models import Job, JobEvent, JobStep
from jobs.selectors.browse import validation_trends
from jobs.selectors.marks import jobs_mark
from jobs.services.ending import run_cancel
from jobs.services.lease import Lease
from jobs.services.rollup import rollup_steps
from jobs.views import overview


def _since(page: str) -> str:
    found = re.search(r'pulse/\?since=([^"]*)"', page)
    assert found is not None
    return found.group(1)


def test_the_pulse_is_silent_until_a_step_is_committed(
    owner: Client, running: Job, lease: Lease
) -> None:
    since = _since(owner.get(f"/jobs/{running.pk}/").content.decode())
    pulse = f"/jobs/{running.pk}/pulse/?since={since}"
    silent = owner.get(pulse)
    assert (silent.status_code, silent.content) == (204, b"")
    story.steps_commit(running, lease, 5, 5)
    news = owner.get(pulse)
    assert news.status_code == 200
    assert news["HX-Trigger"] == "job-step"
    assert 'id="status"' not in news.content.decode()
    assert "step 5 of 12" in news.content.decode()
    assert _since(news.content.decode()) != since


def test_a_change_of_state_is_told_and_ends_the_polling(
    owner: Client, running: Job, lease: Lease
) -> None:
    since = _since(owner.get(f"/jobs/{running.pk}/").content.decode())
    run_cancel(lease)
    news = owner.get(f"/jobs/{running.pk}/pulse/?since={since}")
    assert news["HX-Trigger"] == "job-state"
    text = news.content.decode()
    assert "Cancelled" in text
    assert '<div id="status" hx-swap-oob="innerHTML"><p class="sr">refunds-v3: Cancelled' in text
    assert "every 1500ms" not in text
    assert "hx-get" not in text
    assert "hx-get" not in _pulse_of(owner.get(f"/jobs/{running.pk}/").content.decode())


def test_a_page_that_is_not_to_move_does_not_ask(owner: Client, running: Job) -> None:
    page = owner.get(f"/jobs/{running.pk}/?live=0").content.decode()
    assert "hx-get" not in _pulse_of(page)


def _pulse_of(page: str) -> str:
    found = re.search(r'<div id="pulse"[^>]*>', page)
    assert found is not None
    return found.group(0)


def test_the_series_grows_by_what_is_newer(owner: Client, running: Job, lease: Lease) -> None:
    address = f"/jobs/{running.pk}/series.json"
    whole = owner.get(address).json()["charts"]
    assert [chart["key"] for chart in whole][:3] == ["reward", "parts", "calls"]
    assert whole[0]["steps"] == [0, 1, 2, 3, 4]
    story.steps_commit(running, lease, 5, 6)
    newer = owner.get(f"{address}?after=4").json()["charts"]
    assert newer[0]["steps"] == [5, 6]
    assert [line["label"] for line in newer[0]["series"]] == ["validation", "train", "base model"]
    assert newer[0]["series"][0]["values"] == [None, None]
    assert owner.get(f"{address}?after=nonsense").json()["charts"][0]["steps"][0] == 0


def test_of_a_long_job_the_newest_point_grows(
    owner: Client, running: Job, lease: Lease, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jobs.selectors.rollup.MOST_POINTS", 3)
    address = f"/jobs/{running.pk}/series.json"

    def reward(asked: str = "") -> tuple[list[int], int | None, int]:
        chart = owner.get(f"{address}{asked}").json()["charts"][0]
        train = next(line for line in chart["series"] if line["label"] == "train")
        return chart["steps"], chart.get("keep"), len(train["values"])

    assert reward() == ([1, 3, 4], None, 3)
    story.steps_commit(running, lease, 5, 5)
    assert reward("?after=4") == ([5], 2, 1)
    assert reward("?after=5") == ([], 3, 0)
    # Seven steps need larger points, of which a page that knows three has to keep but one.
    story.steps_commit(running, lease, 6, 6)
    assert reward("?after=5") == ([6], 1, 1)
    assert reward() == ([3, 6], None, 2)


def test_a_panel_fetches_itself_alone(owner: Client, running: Job) -> None:
    headers: dict[str, Any] = {"HTTP_HX_REQUEST": "true", "HTTP_HX_TARGET": "numbers"}
    answer = owner.get(f"/jobs/{running.pk}/", **headers)
    assert answer.content.decode().strip().startswith('<div id="numbers"')
    assert "HX-Request, HX-Target" in answer["Vary"]


def test_the_list_refreshes_its_rows_in_the_order_they_are_in(owner: Client, running: Job) -> None:
    headers: dict[str, Any] = {"HTTP_HX_REQUEST": "true", "HTTP_HX_TARGET": "job-rows"}
    answer = owner.get(f"/jobs/?ids=absent,{running.pk}", **headers).content.decode()
    assert answer.strip().startswith('<tbody id="job-rows"')
    assert answer.count("<tr ") == 1


def test_the_list_pulse_is_silent_until_something_happens(
    owner: Client, running: Job, lease: Lease
) -> None:
    page = owner.get("/jobs/").content.decode()
    found = re.search(r"jobs/pulse/\?since=([\d~]+)", page)
    assert found is not None
    assert owner.get(f"/jobs/pulse/?since={found.group(1)}").status_code == 204
    story.steps_commit(running, lease, 5, 5)
    assert owner.get(f"/jobs/pulse/?since={found.group(1)}")["HX-Trigger"] == "job-state"


def test_the_list_pulse_tells_that_a_job_ended(owner: Client, running: Job, lease: Lease) -> None:
    found = re.search(r"jobs/pulse/\?since=([\d~]+)", owner.get("/jobs/").content.decode())
    assert found is not None
    run_cancel(lease)
    assert owner.get(f"/jobs/pulse/?since={found.group(1)}")["HX-Trigger"] == "job-state"


def test_a_silent_pulse_asks_the_database_for_three_things(
    owner: Client, running: Job, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    """The session, the person and the mark; the list also asks where the person belongs."""
    since = _since(owner.get(f"/jobs/{running.pk}/").content.decode())
    with django_assert_num_queries(3):
        assert owner.get(f"/jobs/{running.pk}/pulse/?since={since}").status_code == 204
    mark = jobs_mark(running.organisation)
    with django_assert_num_queries(4):
        assert owner.get(f"/jobs/pulse/?since={mark}").status_code == 204


def test_a_pulse_of_a_foreign_job_is_the_404_of_an_absent_one(
    stranger: Client, owner: Client, running: Job
) -> None:
    since = _since(owner.get(f"/jobs/{running.pk}/").content.decode())
    for job_id in (running.pk, "ftjob-absent", "a" * 300):
        assert stranger.get(f"/jobs/{job_id}/pulse/?since={since}").status_code == 404


def test_a_step_that_is_committed_while_the_news_are_written_is_told_next_time(
    owner: Client, running: Job, lease: Lease, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the page asks with next is the mark that its triggers were made from."""
    since = _since(owner.get(f"/jobs/{running.pk}/").content.decode())
    JobEvent.objects.create(job=running, text="something")
    glance = overview._glance

    def late(*given: Any) -> dict[str, Any]:
        story.steps_commit(running, lease, 5, 5)
        return glance(*given)

    monkeypatch.setattr(overview, "_glance", late)
    news = owner.get(f"/jobs/{running.pk}/pulse/?since={since}")
    monkeypatch.undo()
    assert "HX-Trigger" not in news
    again = owner.get(f"/jobs/{running.pk}/pulse/?since={_since(news.content.decode())}")
    assert again["HX-Trigger"] == "job-step"


def test_the_list_shows_a_trend_of_bounded_length(running: Job) -> None:
    run = running.runs.get()
    assert validation_trends([running])[running.pk] == pytest.approx([0.0, 4 / 15])
    JobStep.objects.bulk_create(
        JobStep(
            run=run, step=step, epoch=1, metrics={"validation": {"reward_mean": 0.3 + step / 1000}}
        )
        for step in range(5, 605)
    )
    rollup_steps(run)
    running.last_step = 604
    trend = validation_trends([running])[running.pk]
    assert len(trend) <= 100
    assert trend[-1] == pytest.approx(0.904)
    assert trend == sorted(trend)


def test_the_csv_has_a_row_for_each_step(owner: Client, running: Job) -> None:
    lines = owner.get(f"/jobs/{running.pk}/steps.csv").content.decode().splitlines()
    assert lines[0].startswith("step,train.reward_mean,")
    assert [line.split(",")[0] for line in lines[1:]] == ["0", "1", "2", "3", "4"]


def test_pausing_a_held_job_is_asked_and_said(owner: Client, running: Job) -> None:
    page = owner.post(f"/jobs/{running.pk}/pause/", follow=True).content.decode()
    assert "Pausing…" in page
    assert "Resume…" in page
    again = owner.post(f"/jobs/{running.pk}/resume/", follow=True).content.decode()
    assert "Pause…" in again


def test_cancelling_asks_on_a_page_of_its_own_without_scripts(owner: Client, job: Job) -> None:
    asked = owner.get(f"/jobs/{job.pk}/cancel/").content.decode()
    assert "It stops for good and cannot go on later." in asked
    assert "Cancelled" in owner.post(f"/jobs/{job.pk}/cancel/", follow=True).content.decode()
    refused = owner.post(f"/jobs/{job.pk}/cancel/", follow=True).content.decode()
    assert "is cancelled and cannot be cancelled" in refused
