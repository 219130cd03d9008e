"""Machines ask whether a process is alive and whether it can work."""

from __future__ import annotations

import pytest
from django.db import connection
from django.db.migrations.recorder import MigrationRecorder
from django.test import Client

from hone.core.health import not_ready
from hone.core.ids import new_id


@pytest.mark.django_db
def test_a_process_with_its_database_is_ready() -> None:
    client = Client()
    alive, ready = client.get("/healthz"), client.get("/readyz")
    assert (alive.status_code, alive.content) == (200, b"ok\n")
    assert (ready.status_code, ready.content) == (200, b"ready\n")
    assert "no-store" in ready["Cache-Control"]


@pytest.mark.django_db
def test_a_missing_migration_is_named() -> None:
    MigrationRecorder(connection).record_unapplied("sessions", "0001_initial")
    reply = Client().get("/readyz")
    assert (reply.status_code, reply.content) == (
        503,
        not_ready().encode() + b"\n",
    )
    assert not_ready().endswith("migrations are missing. Run `python manage.py migrate`.")


def test_an_id_says_what_it_is_and_is_new_each_time() -> None:
    made = {new_id("ds") for _ in range(1000)}
    assert len(made) == 1000
    assert all(name.startswith("ds-") and len(name) == 19 for name in made)
