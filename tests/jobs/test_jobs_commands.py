"""The commands of operators: before the first migration, and when all is well."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from hone.accounts.models import Membership
from jobs import doctor
from jobs.management.commands.sweep import beat_file

ROOT = Path(__file__).parents[2]
NO_TABLES = (
    "CommandError: The database has no tables yet. Run `make up` or `python manage.py migrate`.\n"
)


@pytest.mark.parametrize(
    "words",
    [
        ("create_owner", "ada@example.org", "--organisation", "Acme"),
        ("add_base_model", "tiny", "acme/tiny"),
    ],
)
def test_before_the_first_migration_a_command_says_what_to_run(
    tmp_path: Path, words: tuple[str, ...]
) -> None:
    kept = {key: value for key, value in os.environ.items() if key != "DATABASE_URL"}
    ran = subprocess.run(
        [sys.executable, str(ROOT / "manage.py"), *words],
        env={**kept, "HONE_DATA_DIR": str(tmp_path)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (ran.returncode, ran.stderr) == (1, NO_TABLES)


@pytest.mark.django_db
def test_create_owner_makes_a_person_who_owns_an_organisation(monkeypatch, capsys) -> None:
    monkeypatch.setenv("HONE_OWNER_PASSWORD", "correct horse battery")
    call_command("create_owner", "ada@example.org", "--organisation", "Acme")
    owner = Membership.objects.get()
    assert (owner.user.email, owner.organisation.name, owner.role) == (
        "ada@example.org",
        "Acme",
        "owner",
    )
    assert owner.user.check_password("correct horse battery")
    assert capsys.readouterr().out == f"ada@example.org owns Acme ({owner.organisation.pk}).\n"


@pytest.mark.django_db
def test_create_owner_refuses_with_the_sentence(monkeypatch) -> None:
    monkeypatch.setenv("HONE_OWNER_PASSWORD", "short")
    with pytest.raises(CommandError, match="password"):
        call_command("create_owner", "ada@example.org", "--organisation", "Acme")


@pytest.mark.django_db(transaction=True)
@pytest.mark.slow
def test_the_doctor_finds_nothing_wrong_with_this_database_broker_and_storage(
    settings: Any, tmp_path: Path
) -> None:
    settings.MEDIA_ROOT = tmp_path / "files"
    found = {finding.topic: finding for finding in doctor.findings()}
    assert list(found) == [
        "python", "device", "database", "broker", "storage", "disk", "sandbox",
        "libraries",
    ]  # fmt: skip
    for topic in ("python", "database", "broker", "storage"):
        assert (found[topic].state, found[topic].mend) == ("ok", ""), found[topic]
    assert found["database"].what.endswith("all migrations applied")


def test_the_doctor_command_prints_each_finding_and_fails_on_a_problem(monkeypatch, capsys) -> None:
    well = doctor.Finding("python", "ok", "Python 3.11")
    ill = doctor.Finding("broker", "problem", "redis does not answer", "Start it.")
    monkeypatch.setattr("jobs.management.commands.doctor.findings", lambda: [well])
    call_command("doctor")
    assert capsys.readouterr().out == "✓ python    Python 3.11\n"
    monkeypatch.setattr("jobs.management.commands.doctor.findings", lambda: [well, ill])
    with pytest.raises(CommandError, match="^Not working: broker.$"):
        call_command("doctor")
    assert "✗ broker    redis does not answer\n            → Start it.\n" in capsys.readouterr().out


@pytest.mark.django_db(transaction=True)
def test_the_sweeper_is_healthy_while_its_beat_is_fresh(settings: Any, tmp_path, capsys) -> None:
    settings.DATA_DIR = tmp_path
    with pytest.raises(CommandError, match="No sweep has ended yet"):
        call_command("sweep", "--healthy")
    call_command("sweep", "--once")
    assert capsys.readouterr().out == "rung 0, settled 0, woken 0, downloads 0\n"
    beat_file().touch()
    call_command("sweep", "--healthy")
    assert capsys.readouterr().out == "The last sweep ended 0 s ago.\n"
    old = time.time() - 31
    os.utime(beat_file(), (old, old))
    with pytest.raises(CommandError, match="The last sweep ended 31 s ago"):
        call_command("sweep", "--healthy")
