"""What the overview says in figures: cost, time left, the focus step, and how much it weighs."""

from __future__ import annotations

import json
import re
from typing import Any

from django.db.models import F
from django.test import Client

from jobs.models import Adapter, Job, JobStep, Run, Usage
from jobs.services.control import job_resume
from jobs.services.ending import run_fail, run_pause
from jobs.services.lease import Lease

THIN = "\u202f"
DOOR = re.compile(r'<a class="tile-door" href="([^"]+)"><span class="tile-name">([^<]+)')
VALUE = re.compile(r'tile-name">([^<]+)</span><span class="tile-value">([^<]+)</span>')
NOTE = re.compile(r'tile-name">([^<]+)</span>.*?<span class="small">([^<]*)</span>')


def _page(client: Client, job: Job, query: str = "") -> str:
    return client.get(f"/jobs/{job.pk}/{query}").content.decode()


def _made_again(job: Job) -> None:
    """As if another worker had made the steps: what a committed one took never changes."""
    job.runs.update(epoch=F("epoch") + 1)


def test_the_cost_is_said_so_far_and_for_the_end(
    owner: Client, running: Job, settings: Any
) -> None:
    Usage.objects.filter(run__job=running).update(seconds=36.0)
    settings.HOUR_PRICE, settings.CURRENCY = 36.0, "EUR"
    assert (
        f"Cost so far: 1.80{THIN}EUR (3{THIN}min 00{THIN}s of the engine). "
        f"At the end: about 2.12{THIN}EUR (2.05{THIN}EUR to 2.19{THIN}EUR)."
    ) in _page(owner, running)
    _made_again(running)
    Usage.objects.filter(run__job=running).update(judge_calls=2, judge_tokens=90, judge_cost=0.1)
    page = _page(owner, running)
    assert f"2.30{THIN}EUR (3{THIN}min 00{THIN}s of the engine, judges 0.50{THIN}EUR)" in page
    assert f"At the end: about 3.42{THIN}EUR" in page, "eight more steps of 0.10 for the judges"
    assert "10 questions, 450 tokens, cost 0.5000 by their prices" in page


def test_a_cost_without_a_price_is_unknown(owner: Client, running: Job, settings: Any) -> None:
    settings.HOUR_PRICE = None
    assert "Cost so far: unknown, no hourly price is set (" in _page(owner, running)
    settings.HOUR_PRICE = 36.0
    _made_again(running)
    Usage.objects.filter(run__job=running).update(judge_calls=1, judge_tokens=90)
    page = _page(owner, running)
    assert "Cost so far: unknown, no price is set for the judges (" in page
    assert "450 tokens, cost unknown." in page


def test_the_time_left_is_a_range(owner: Client, running: Job) -> None:
    said = f"about 32.2{THIN}s left (25.2{THIN}s to 39.2{THIN}s)"
    assert said in _page(owner, running)


def test_the_tiles_follow_the_focus_step_and_say_so(owner: Client, running: Job) -> None:
    row = JobStep.objects.get(run__job=running, step=2)
    row.metrics["train"] |= {"reward_mean": 0.1234, "ungraded": 7}
    row.save(update_fields=["metrics"])
    newest, page = _page(owner, running), _page(owner, running, "?step=2")
    assert "Figures of step" not in newest
    assert "Figures of step 2." in page
    values, notes = dict(VALUE.findall(page)), dict(NOTE.findall(page))
    assert (values["Train reward"], values["Ungraded"]) == ("0.123", "7")
    assert notes["Ungraded"] == "of 16 in step 2"
    assert notes["Validation reward"] == "of step 0"
    doors = {title: door for door, title in DOOR.findall(page)}
    assert doors["Train reward"] == "trajectories/?split=train&amp;step=2"
    assert doors["Validation reward"] == "trajectories/?split=validation&amp;step=0"
    assert doors["Step time"] == "#chart-seconds"
    assert "There is no step 9 yet: these are the newest figures." in _page(
        owner, running, "?step=9"
    )


def test_the_pulse_keeps_the_focus_step(owner: Client, running: Job) -> None:
    assert "&amp;step=2" in _page(owner, running, "?step=2").split('id="pulse"')[1][:200]
    pulse = owner.get(f"/jobs/{running.pk}/pulse/?since=x&step=2").content.decode()
    assert "Figures of step 2." in pulse


def test_each_tile_explains_itself(owner: Client, running: Job) -> None:
    page = _page(owner, running)
    assert page.count('class="tile-help"') == len(VALUE.findall(page)) == 7
    assert 'aria-label="What is Train reward?"' in page


def test_the_points_of_a_long_job_are_fetched_and_not_in_the_page(
    owner: Client, running: Job
) -> None:
    assert 'type="application/json">{' in _page(owner, running)
    run = Run.objects.get(job=running)
    made = JobStep.objects.get(run=run, step=3)
    JobStep.objects.bulk_create(
        JobStep(run=run, step=step, epoch=made.epoch, metrics=made.metrics)
        for step in range(5, 150)
    )
    Run.objects.filter(pk=run.pk).update(last_step=149)
    Job.objects.filter(pk=running.pk).update(last_step=149, total_steps=200)
    page = _page(owner, running)
    assert 'type="application/json">{' not in page
    assert '<svg class="plot"' in page
    address = re.search(r'data-series="([^"]+)"', page)
    assert address is not None
    answer = json.loads(owner.get(address[1]).content)
    assert answer["whole"]
    assert answer["charts"][0]["steps"][-1] == 149


def test_pauses_and_resumptions_are_marked_at_their_steps(
    owner: Client, running: Job, lease: Lease
) -> None:
    assert "paused after" not in _page(owner, running)
    run_pause(lease, reason="tool_unavailable", text="lookup_order does not answer.")
    page = _page(owner, running)
    assert "<span>‖ paused after</span>" in page
    assert f'<a href="/jobs/{running.pk}/events/" aria-label="paused after at step 4">4</a>' in page
    assert "resumed after" not in page
    assert running.created_by is not None
    job_resume(acting_user=running.created_by, job=running)
    assert 'aria-label="resumed after at step 4">4</a>' in _page(owner, running)


def test_a_failed_job_says_its_last_step_and_offers_a_clone(
    owner: Client, running: Job, lease: Lease
) -> None:
    run_fail(lease, code="crash_loop", text="It died three times.")
    page = _page(owner, running)
    kept = f'<a href="/jobs/{running.pk}/checkpoints/#step-4">step 4</a>'
    assert f"Last good checkpoint: {kept}" in page
    clone = f'href="/jobs/new/?from={running.pk}">Clone</a>'
    assert clone in page


def test_an_adapter_is_compared_with_the_base(owner: Client, running: Job) -> None:
    Adapter.objects.create(
        job=running, run_id=running.runs.get().pk, step=4, path="adapter", sha256="41ce" * 16,
        bytes=10, proof_tokens=64, proof_max_abs_logprob_diff=0.0,
    )  # fmt: skip
    address = f"/compare/?jobs={running.pk}@0,{running.pk}@4"
    assert f'href="{address}">Compare with base</a>' in _page(owner, running)
    assert owner.get(address).status_code == 200
