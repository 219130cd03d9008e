"""A job with five committed steps, 0 to 4, that a worker still holds."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from django.test import Client

from hone.accounts.models import Organisation, User
from jobs.models import Job
from jobs.services.lease import Lease

sys.path.insert(0, str(Path(__file__).parent))

import story


@pytest.fixture(autouse=True)
def files(settings: Any, tmp_path: Path) -> Path:
    settings.MEDIA_ROOT = tmp_path / "files"
    return tmp_path


@pytest.fixture
def job(organisation: Organisation, alice: User, files: Path) -> Job:
    return story.job_make(alice, organisation, files / "model")


@pytest.fixture
def lease(job: Job) -> Lease:
    return story.lease_take(job)


@pytest.fixture
def running(job: Job, lease: Lease) -> Job:
    story.steps_commit(job, lease, 0, 4)
    job.refresh_from_db()
    return job


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
