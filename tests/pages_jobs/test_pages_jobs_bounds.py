"""Pages stay within their budgets however much there is to show."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import pytest
import story
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from hone.accounts.models import Organisation, User
from jobs.models import Job, JobEvent, JobStep, Run
from jobs.services.lease import Lease
from jobs.services.rollup import rollup_steps

ROOT = Path(__file__).resolve().parents[2]
MOST_QUERIES = 12


def _queries(client: Client, address: str) -> int:
    with CaptureQueriesContext(
        connection,
    ) as captured:
        assert client.get(address).status_code in {200, 204}
    return len(captured)


@pytest.mark.parametrize("tab", ["", "trajectories/", "checkpoints/", "events/", "spec/", "pulse/"])
def test_a_tab_asks_the_database_as_often_for_many_rows_as_for_few(
    owner: Client, job: Job, lease: Lease, tab: str
) -> None:
    story.steps_commit(job, lease, 0, 4)
    few = _queries(owner, f"/jobs/{job.pk}/{tab}")
    story.steps_commit(job, lease, 5, 9)
    JobEvent.objects.bulk_create(JobEvent(job=job, text=f"event {n}") for n in range(60))
    assert _queries(owner, f"/jobs/{job.pk}/{tab}") == few <= MOST_QUERIES


def test_the_list_asks_as_often_for_fifty_jobs_as_for_one(
    owner: Client, running: Job, alice: User, organisation: Organisation, files: Path
) -> None:
    few = _queries(owner, "/jobs/")
    for number in range(49):
        story.job_make(
            alice,
            organisation,
            files / "model",
            name=f"job {number}",
            version=running.train_version,
            grader=running.grader_version,
        )
    assert _queries(owner, "/jobs/") == few
    assert few <= MOST_QUERIES


def test_the_form_of_a_new_job_asks_for_its_choices_once(owner: Client, running: Job) -> None:
    assert _queries(owner, "/jobs/new/") <= MOST_QUERIES
    assert _queries(owner, f"/jobs/new/?from={running.pk}") <= MOST_QUERIES
    assert _queries(owner, f"/jobs/new/?from={running.pk}&checkpoint=4") <= MOST_QUERIES


@pytest.mark.parametrize("query", ["", "?step=2000", "?from=100&to=4000"])
def test_the_overview_of_a_long_job_with_a_history_is_no_dearer(
    owner: Client, running: Job, query: str
) -> None:
    run = running.runs.get()
    made = JobStep.objects.get(run=run, step=4).metrics
    trained = {name: figures for name, figures in made.items() if name != "validation"}
    JobStep.objects.bulk_create(
        JobStep(run=run, step=step, epoch=1, metrics=trained) for step in range(5, 5000)
    )
    rollup_steps(run)
    for rows in (Run.objects.filter(pk=run.pk), Job.objects.filter(pk=running.pk)):
        rows.update(last_step=4999, total_steps=9000)
    JobEvent.objects.bulk_create(
        JobEvent(job=running, run=run, code=code, step=step, text=code)
        for code in ("low_ess", "mismatch", "paused", "resumed")
        for step in (10, 20, 30)
    )
    assert _queries(owner, f"/jobs/{running.pk}/{query}") <= MOST_QUERIES


def test_pages_are_small(owner: Client, running: Job) -> None:
    sizes = {
        tab: len(owner.get(f"/jobs/{running.pk}/{tab}").content)
        for tab in ("", "trajectories/", "checkpoints/", "events/", "spec/", "pulse/")
    }
    assert sizes["pulse/"] < 8_000
    assert max(sizes.values()) < 60_000


def test_the_vendored_files_are_the_ones_that_were_pinned() -> None:
    folder = ROOT / "static" / "vendor" / "uplot"
    for line in (folder / "SHA256SUMS").read_text().splitlines():
        digest, name = line.split()
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == digest, name
    version = (folder / "VERSION").read_text().strip()
    assert f'"uplot": "{version}"' in (ROOT / "package.json").read_text()


def test_no_template_of_ours_has_a_style_or_a_handler_inline() -> None:
    for template in (ROOT / "templates" / "jobs").rglob("*.html"):
        text = template.read_text()
        assert not re.search(r"\sstyle=|\son[a-z]+=|\|safe\b|autoescape off", text), template.name
