"""The doctor names what is wrong with a broker or a storage, and never a password."""

from __future__ import annotations

import pytest
from celery import Celery
from django.core.files.storage import FileSystemStorage
from pytest_django.fixtures import Settings

from jobs import doctor

FILES = "django.core.files.storage.FileSystemStorage"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("foo://x", "foo://x"),
        ("redis://h:abc/0", "redis://h:***"),
        ("redis://me:hu/sh@127.0.0.1:1/0", "redis://me:***@127.0.0.1:1/0"),
        ("redis://:hush@127.0.0.1:1/zz", "redis://:***@127.0.0.1:1/zz"),
    ],
)
def test_a_url_that_names_no_broker_is_shown_without_its_password(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, url: str, shown: str
) -> None:
    settings.BROKER_URL = url
    monkeypatch.setattr(doctor, "app", Celery(broker=url))
    found = doctor._broker()
    assert (found.state, found.what) == (
        "problem",
        f"BROKER_URL is {shown!r}, which names no broker",
    )
    assert found.mend == (
        "Write redis://host:port/number, or unset it to use the broker without a server."
    )


def storage(settings: Settings, backend: str, **options: object) -> doctor.Finding:
    settings.STORAGES = {
        **settings.STORAGES,
        "default": {"BACKEND": backend, "OPTIONS": options},
    }
    return doctor._storage()


class OtherStorage(FileSystemStorage):
    """Another storage."""


def test_the_storage_is_named_as_it_is(settings: Settings) -> None:
    assert storage(settings, FILES).what == "FileSystemStorage"
    found = storage(settings, "tests.jobs.test_jobs_doctor.OtherStorage")
    assert (found.state, found.what) == ("ok", "OtherStorage")


@pytest.mark.parametrize(
    ("backend", "options", "said"),
    [
        ("no.such.Storage", {}, "it does not work: InvalidStorageError: Could not find"),
        (FILES, {"bucket": "x"}, "it does not work: TypeError: FileSystemStorage"),
    ],
)
def test_a_storage_that_cannot_be_made_is_a_finding(
    settings: Settings, backend: str, options: dict[str, object], said: str
) -> None:
    found = storage(settings, backend, **options)
    assert found.state == "problem"
    assert found.what.startswith(said)
    assert found.mend == "Check HONE_STORAGE_BACKEND and HONE_STORAGE_OPTIONS."
