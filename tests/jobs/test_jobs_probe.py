"""A job that waits for a tool goes on when the tool answers anything, and not before."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from jobs.models import Job, JobEvent, PauseReason, Run
from jobs.models.clock import seconds_from_now
from jobs.services.sweep import sweep
from tests.jobs.conftest import MakeJob
from tests.mcp_server import running
from tests.nasty import FAULTS, GOOD, Behaviour, Conn, after_request, says, serving

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def waiting(make_job: MakeJob) -> Callable[[str], Run]:
    """A run that is paused for its tools, and due to be probed."""

    def paused(*urls: str, effects: str = "reads") -> Run:
        job: Job = make_job()
        job.spec["tools"] = [
            {"name": f"t{n}", "url": url, "effects": effects} for n, url in enumerate(urls)
        ]
        Job.objects.filter(pk=job.pk).update(spec=job.spec, status="paused")
        Run.objects.filter(job=job).update(
            status="paused",
            pause_reason=PauseReason.TOOL_UNAVAILABLE,
            probe_at=seconds_from_now(-5),
        )
        return Run.objects.get(job=job)

    return paused


def woken(run: Run) -> bool:
    swept = sweep().woken
    run.refresh_from_db()
    assert (run.status == "queued") is bool(swept)
    return bool(swept)


def turned_away(conn: Conn) -> None:
    conn.answer(b"{}", "401 No")


@pytest.mark.parametrize("behave", [says(GOOD), after_request(turned_away), says(b"", "429 Slow")])
def test_any_answer_wakes_it(waiting: Callable[..., Run], settings: Any, behave: Behaviour) -> None:
    with serving(behave) as server:
        settings.OUTBOUND_ALLOW = (server.place,)
        run = waiting(f"http://{server.place}/")
        assert woken(run)
    assert JobEvent.objects.filter(code="woken", run=run).count() == 1


@pytest.mark.parametrize("name", ["a 503 page", "a reset after the request", "another protocol"])
def test_no_answer_leaves_it_paused_and_nothing_fails(
    waiting: Callable[..., Run], settings: Any, name: str
) -> None:
    with serving(FAULTS[name]) as server:
        settings.OUTBOUND_ALLOW = (server.place,)
        run = waiting(f"http://{server.place}/")
        assert not woken(run)
    assert (run.status, run.job.status) == ("paused", "paused")


def test_one_dead_tool_of_two_is_enough_to_wait(waiting: Callable[..., Run], settings: Any) -> None:
    with serving(says(GOOD)) as fine, serving(FAULTS["a 503 page"]) as dead:
        settings.OUTBOUND_ALLOW = (fine.place, dead.place)
        assert not woken(waiting(f"http://{fine.place}/", f"http://{dead.place}/"))


def test_an_mcp_server_that_is_up_wakes_it_too(waiting: Callable[..., Run], settings: Any) -> None:
    with running() as server:
        settings.OUTBOUND_ALLOW = (server.place,)
        assert woken(waiting(server.url))
