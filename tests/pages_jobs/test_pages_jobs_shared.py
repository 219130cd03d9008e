"""What is the same for all who watch a job at work is made once, for those who may read it."""

from __future__ import annotations

import gzip
import json
import threading
from pathlib import Path

import preflight_story
import pytest
import story
from django.test import Client

from hone.accounts.models import Organisation, User
from jobs.models import Job, JobEvent
from jobs.selectors.shared import MOST_KEPT, shared
from jobs.services.lease import Lease

PANEL = {"HX-Request": "true", "HX-Target": "strip"}


def test_many_who_ask_at_once_get_what_one_of_them_made() -> None:
    made: list[int] = []
    enter = threading.Barrier(8)
    found = []

    def ask() -> None:
        enter.wait()
        found.append(shared("one key", lambda: made.append(1) or "made"))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (found, made) == (["made"] * 8, [1])


def test_an_error_is_not_kept_and_old_values_go() -> None:
    with pytest.raises(ZeroDivisionError):
        shared("a key", lambda: 1 / 0)
    assert shared("a key", lambda: 2) == 2
    for number in range(MOST_KEPT):
        shared(("other", number), lambda: 0)
    assert shared("a key", lambda: 3) == 3


def test_a_panel_that_was_made_for_others_is_still_closed_to_strangers(
    owner: Client, viewer: Client, stranger: Client, running: Job
) -> None:
    address = f"/jobs/{running.pk}/"
    for part in (address, f"{address}series.json", f"{address}pulse/?since=x"):
        seen = owner.get(part, headers=PANEL)
        assert (seen.status_code, viewer.get(part, headers=PANEL).content) == (200, seen.content)
        assert stranger.get(part, headers=PANEL).status_code == 404


def test_a_step_that_is_committed_makes_everything_anew(
    owner: Client, running: Job, lease: Lease
) -> None:
    def steps() -> list[int]:
        (chart,) = [
            each
            for each in owner.get(f"/jobs/{running.pk}/series.json").json()["charts"]
            if each["key"] == "reward"
        ]
        return list(chart["steps"])

    assert steps() == steps() == [0, 1, 2, 3, 4]
    story.steps_commit(running, lease, 5, 5)
    assert steps() == [0, 1, 2, 3, 4, 5]


def test_alarms_have_buttons_and_are_shown_to_each_person_apart(
    owner: Client, viewer: Client, running: Job
) -> None:
    panel = {"HX-Request": "true", "HX-Target": "attention"}
    address = f"/jobs/{running.pk}/"
    event = JobEvent.objects.filter(job=running).latest("pk")
    JobEvent.objects.create(
        job=running, run_id=event.run_id, code="mismatch", step=2, text="It differs.", level="warn"
    )
    assert b"Seen</button>" in owner.get(address, headers=panel).content
    assert b"Seen</button>" not in viewer.get(address, headers=panel).content


@pytest.mark.parametrize("part", ["", "pulse/?since=x"])
def test_what_all_see_is_packed_once_and_holds_nothing_of_one_person(
    owner: Client, viewer: Client, running: Job, part: str
) -> None:
    address = f"/jobs/{running.pk}/{part}"
    plain = owner.get(address, headers=PANEL).content
    packed = {
        client.get(address, headers={**PANEL, "Accept-Encoding": "gzip"}).content
        for client in (owner, viewer)
    }
    # A page of one person is padded by chance each time.
    assert len(packed) == 1
    assert gzip.decompress(packed.pop()) == plain
    assert b"csrf" not in plain


def test_a_preflight_at_work_has_its_pulse_elsewhere(
    owner: Client, alice: User, organisation: Organisation, tmp_path: Path
) -> None:
    job = preflight_story.preflight_make(alice, organisation, tmp_path)
    Job.objects.filter(pk=job.pk).update(status="running")
    for _ in range(2):
        answer = owner.get(f"/jobs/{job.pk}/pulse/?since=x")
        assert (answer.status_code, answer["Location"]) == (302, f"/preflights/{job.pk}/pulse/")


def test_points_are_packed_once_and_sent_plain_where_that_is_asked(
    owner: Client, running: Job
) -> None:
    address = f"/jobs/{running.pk}/series.json"
    plain = owner.get(address)
    packed = owner.get(address, headers={"Accept-Encoding": "gzip"})
    assert packed["Content-Encoding"] == "gzip"
    assert json.loads(gzip.decompress(packed.content)) == plain.json()
    assert "Content-Encoding" not in plain
