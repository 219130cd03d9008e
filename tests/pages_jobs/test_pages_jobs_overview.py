"""The job page and the list."""

from __future__ import annotations

import json

from django.test import Client

from jobs.models import Job, Trajectory

PAGES = ("", "trajectories/", "checkpoints/", "events/", "spec/")


def test_every_tab_opens(owner: Client, running: Job) -> None:
    for tab in PAGES:
        assert owner.get(f"/jobs/{running.pk}/{tab}").status_code == 200
    assert owner.get("/jobs/").status_code == 200
    assert owner.get("/models/").status_code == 200
    assert owner.get("/jobs/new/").status_code == 200
    one = Trajectory.objects.filter(run__job=running).first()
    assert one is not None
    address = f"/jobs/{running.pk}/trajectories/{one.pk}/"
    assert owner.get(address).status_code == 200
    assert owner.get(f"{address}grade/").status_code == 200
    assert json.loads(owner.get(f"{address}raw.json").content)["uid"] == one.uid
