"""The jobs list: what it can be narrowed to, how it is paged, and what each row tells."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import story
from django.test import Client

from hone.accounts.models import User
from jobs.models import Job, JobEvent
from jobs.services.control import job_pause

LIVE = {"hx-request": "true", "hx-target": "job-rows"}
LISTED = re.compile(r'<a id="open-(ftjob-[^"]+)"')


def _page(client: Client, query: str = "") -> str:
    return client.get(f"/jobs/{query}").content.decode()


def _more(running: Job, owner: User, folder: Path, name: str) -> Job:
    return story.job_make(
        owner,
        running.organisation,
        folder / "model",
        name=name,
        version=running.train_version,
        grader=running.grader_version,
    )


@pytest.fixture
def other(running: Job, bob: User, files: Path) -> Job:
    """Queued, of another member, with metadata."""
    job = _more(running, bob, files, "sql-agent")
    Job.objects.filter(pk=job.pk).update(metadata={"team": "search", "wave": "2"})
    return job


def test_each_filter_leaves_out_what_does_not_fit(
    owner: Client, running: Job, other: Job, alice: User, bob: User
) -> None:
    both = [running.pk, other.pk]
    for query, expected in {
        "": both,
        "?status=queued": [other.pk],
        f"?owner={alice.pk}": [running.pk],
        f"?owner={bob.pk}": [other.pk],
        "?owner=nobody-here": [],
        "?base=base-0.6b": both,
        "?base=base-4b": [],
        "?dataset=refunds": both,
        "?dataset=orders": [],
        "?q=SQL": [other.pk],
        "?q=team%3Dsearch": [other.pk],
        "?q=team%3Dsearch+wave%3D3": [],
        "?q=team%3Dsearch+sql": [other.pk],
        "?q=team%3Dsearch+refunds": [],
        "?status=unheard": both,
    }.items():
        assert LISTED.findall(_page(owner, query)) == expected, query


def test_a_filter_without_a_match_says_what_was_asked(owner: Client, running: Job) -> None:
    page = _page(owner, "?status=failed&base=base-4b")
    assert "No job matches state failed and base base-4b." in page
    assert '<a href="/jobs/">Clear filters</a>' in page


def test_an_empty_list_has_three_doors(owner: Client, viewer: Client) -> None:
    page = _page(owner)
    assert "<code>make demo</code>" in page
    assert '<a href="/settings/keys/">' in page
    assert 'href="/jobs/new/">Make your first job</a>' in page
    assert "Members can create jobs." in _page(viewer)


def test_older_pages_go_on_where_the_last_one_ended(
    owner: Client, running: Job, alice: User, files: Path
) -> None:
    for number in range(60):
        _more(running, alice, files, f"job {number}")
    first = _page(owner, "?q=job")
    older = re.search(r'href="([^"]*after=[^"]*)" rel="next"', first)
    assert older is not None
    address = older[1].replace("&amp;", "&")
    assert address.startswith("?q=job&after=2~")
    _more(running, alice, files, "job that came between")
    second = _page(owner, address)
    shown = LISTED.findall(first) + LISTED.findall(second)
    assert (len(LISTED.findall(first)), len(shown)) == (50, len(set(shown)))
    expected = Job.objects.filter(name__regex="^job [0-9]").order_by("-created_at", "-pk")
    assert set(shown) >= {job.pk for job in expected}
    assert 'rel="next"' not in second
    for bad in ("x", "9~x~y", "2~2026-01-01~y", "2~~", "~~~"):
        assert owner.get("/jobs/", {"after": bad}).status_code == 200


def test_jobs_are_ticked_and_sent_to_the_comparison(
    owner: Client, running: Job, other: Job
) -> None:
    page = _page(owner)
    assert '<form method="get" action="/compare/">' in page
    assert f'type="checkbox" name="jobs" value="{running.pk}"' in page
    assert 'data-key="c"' in page


def test_a_running_job_says_its_time_left_and_one_that_ended_what_it_took(
    owner: Client, running: Job
) -> None:
    assert '<td class="num" title="By the spread of the newest steps ' in _page(owner)
    Job.objects.filter(pk=running.pk).update(engine_seconds=3840.0)
    page = _page(owner)
    assert ">32.2\u202fs</td>" in page, "8 steps of (3 × 3.8 + 4.7) / 4 seconds"
    assert '<progress max="12" value="4"' in page
    Job.objects.filter(pk=running.pk).update(status="paused")
    assert "(1\u202fh 04\u202fmin)" in _page(owner)
    assert "1 needs you" in _page(owner)


def test_alarms_are_counted_in_the_attention_column(owner: Client, running: Job) -> None:
    for code, step in (("mismatch", 2), ("mismatch", 3), ("entropy_collapse", 4)):
        JobEvent.objects.create(job=running, code=code, step=step, text="told")
    assert '<td class="clip">2 alarms, last at step 4</td>' in _page(owner)


def test_rows_in_view_keep_their_order_and_say_how_many_belong_elsewhere(
    owner: Client, running: Job, other: Job, alice: User
) -> None:
    page = _page(owner)
    found = re.search(r'hx-get="/jobs/(\?ids=[^"]+)"', page)
    assert found is not None
    live = found.group(1).replace("&amp;", "&")
    assert live == f"?ids={running.pk},{other.pk}&ranks=12"
    assert "Reorder" not in page
    still = owner.get(f"/jobs/{live}", headers=LIVE).content.decode()
    assert '<span id="moved" hx-swap-oob="true"></span>' in still
    job_pause(acting_user=alice, job=other)
    moved = owner.get(f"/jobs/{live}", headers=LIVE).content.decode()
    assert LISTED.findall(moved) == [running.pk, other.pk]
    assert '<strong>1 job changed state</strong> · <a href="">Reorder</a>' in moved
    assert f"?ids={running.pk},{other.pk}&amp;ranks=12" in moved
    assert LISTED.findall(_page(owner)) == [other.pk, running.pk]
