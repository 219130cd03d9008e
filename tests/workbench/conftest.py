"""A finished job with five steps of stored trajectories, and two more graders for it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.test import Client

sys.path.insert(0, str(Path(__file__).parents[1] / "pages_jobs"))
sys.path.insert(0, str(Path(__file__).parents[1] / "graders"))

import story

from graders.models import GraderVersion
from graders.services import grader_create
from hone.accounts.models import Organisation, User
from jobs.engine import events
from jobs.models import Comparison, Job, Trajectory
from jobs.services.ending import run_finish
from jobs.workbench.selectors import Selection
from jobs.workbench.services import STORED, Side, comparison_create
from jobs.workbench.work import comparison_work

Make = Callable[..., Comparison]


@pytest.fixture(autouse=True)
def files(settings: Any, tmp_path: Path) -> Path:
    settings.MEDIA_ROOT = tmp_path / "files"
    return tmp_path


@pytest.fixture
def job(organisation: Organisation, alice: User, files: Path) -> Job:
    made = story.job_make(alice, organisation, files / "model")
    lease = story.lease_take(made)
    story.steps_commit(made, lease, 0, 4)
    run_finish(lease, events.Finished(seconds=9.0, adapter=None, best_step=4))
    made.refresh_from_db()
    return made


@pytest.fixture
def grader(alice: User, organisation: Organisation) -> Callable[..., GraderVersion]:
    """A version of a new grader whose spec differs in what is given."""

    def make(name: str, **changes: Any) -> GraderVersion:
        spec = {**story.EXACT, **changes}
        made = grader_create(acting_user=alice, organisation=organisation, name=name, spec=spec)
        return made.versions.get()

    return make


@pytest.fixture
def loose(grader: Callable[..., GraderVersion]) -> GraderVersion:
    """Takes any answer that holds the right word."""
    return grader("loose", operation="ilike")


@pytest.fixture
def compare(alice: User, job: Job, loose: GraderVersion) -> Make:
    """A comparison that a worker has done; stored rewards against `loose` without more said."""

    def make(
        a: Side = STORED, b: Side | None = None, *, most: int = 500, work: bool = True, **asked: Any
    ) -> Comparison:
        options = {name: asked.pop(name) for name in ("repeats", "mutations") if name in asked}
        comparison = comparison_create(
            acting_user=alice,
            job=job,
            sides=(a, b or Side.of(loose)),
            selection=Selection(most=most, **asked),
            **options,
        )
        if work:
            comparison_work(comparison.pk)
            comparison.refresh_from_db()
        return comparison

    return make


@pytest.fixture
def one(job: Job) -> Trajectory:
    """A right answer of step 4: the reward is 1."""
    return Trajectory.objects.filter(run__job=job, step=4, split="train", reward=1.0)[0]


def _signed_in(user: User) -> Client:
    client = Client()
    client.force_login(user)
    return client


@pytest.fixture
def owner(alice: User) -> Client:
    return _signed_in(alice)


@pytest.fixture
def viewer(dora: User) -> Client:
    return _signed_in(dora)


@pytest.fixture
def stranger(charlie: User) -> Client:
    return _signed_in(charlie)
