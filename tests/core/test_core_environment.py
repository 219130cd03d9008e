"""A variable that cannot be is a sentence with its name, its value and the way out."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from django.core.exceptions import ImproperlyConfigured

from hone.core import environment

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("value", ["abc", "0", "-1", "1.5", "²", "9" * 19])
def test_what_is_no_whole_number_is_named(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("HONE_X", value)
    with pytest.raises(ImproperlyConfigured) as caught:
        environment.whole_number("HONE_X", 7)
    assert str(caught.value) == (
        f"HONE_X is {value!r}, which is no whole number above 0. Set it to one, as 7, or unset it."
    )


@pytest.mark.parametrize("value", ["abc", "-1", "nan", "inf", "30 s"])
def test_what_is_no_length_of_time_is_named(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("HONE_X", value)
    with pytest.raises(ImproperlyConfigured) as caught:
        environment.seconds("HONE_X", 30.0)
    assert str(caught.value) == (
        f"HONE_X is {value!r}, which is no number of seconds. Set it to one, as 30, or unset it."
    )


@pytest.mark.parametrize("value", ["abc", "-1", "nan", "inf", "2,50"])
def test_what_is_no_amount_is_named(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("HONE_X", value)
    with pytest.raises(ImproperlyConfigured) as caught:
        environment.amount("HONE_X")
    assert str(caught.value) == (
        f"HONE_X is {value!r}, which is no amount. Set it to one, as 2.5, or unset it."
    )


def test_an_amount_may_be_unset(monkeypatch: pytest.MonkeyPatch) -> None:
    assert environment.amount("HONE_X") is None
    monkeypatch.setenv("HONE_X", "2.5")
    assert environment.amount("HONE_X") == 2.5


def test_a_length_of_time_may_be_a_part_of_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HONE_X", "0.25")
    assert environment.seconds("HONE_X", 30.0) == 0.25


def test_what_is_unset_or_empty_has_its_default(monkeypatch: pytest.MonkeyPatch) -> None:
    assert environment.whole_number("HONE_X", 7) == 7
    for value in ("", "7"):
        monkeypatch.setenv("HONE_X", value)
        assert environment.whole_number("HONE_X", 7) == 7
    monkeypatch.setenv("HONE_X", "")
    assert environment.json_object("HONE_X") == {}
    assert environment.one_of("HONE_X", ("A", "B"), "B") == "B"
    assert environment.words("HONE_X") == []


def test_a_word_that_is_not_known_is_named_with_the_known_ones(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HONE_X", "loud")
    with pytest.raises(
        ImproperlyConfigured, match=r"^HONE_X is 'loud'\. Set it to one of A, B, or"
    ):
        environment.one_of("HONE_X", ("A", "B"), "B")


@pytest.mark.parametrize("value", ["{secret", '["secret"]', '{"a": 1e999, "key": "secret"}'])
def test_options_that_cannot_be_read_are_named_and_not_shown(
    monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.setenv("HONE_X", value)
    with pytest.raises(ImproperlyConfigured, match="^HONE_X cannot be read; ") as caught:
        environment.json_object("HONE_X")
    assert "secret" not in str(caught.value).replace("secrets", "")


def test_a_folder_that_cannot_be_made_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("HONE_X", str(tmp_path / "file" / "data"))
    with pytest.raises(ImproperlyConfigured) as caught:
        environment.folder("HONE_X", tmp_path)
    assert str(caught.value) == (
        f"HONE_X is {tmp_path}/file/data, and no folder can be made there: Not a directory. "
        "Set it to a folder that you may write to."
    )


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("foo://x", "foo://x"),
        ("mysql://me:hush@h/n", "mysql://me:***@h/n"),
        ("postgres://me:hu/sh@h:1/n", "postgres://me:***@h:1/n"),
        ("postgres://me:hu?sh@h/n", "postgres://me:***@h/n"),
        ("mysql://me:hu@sh@h/n?password=hush", "mysql://me:***@h/n"),
        ("postgres://me:hush", "postgres://me:***"),
        ("postgres://me:hush@h", "postgres://me:***@h"),
        ("postgres://h:70000x/n", "postgres://h:***"),
    ],
)
def test_a_database_that_cannot_be_is_named_without_its_password(
    monkeypatch: pytest.MonkeyPatch, url: str, shown: str
) -> None:
    monkeypatch.setenv("HONE_X", url)
    with pytest.raises(ImproperlyConfigured) as caught:
        environment.database("HONE_X", "")
    assert str(caught.value).startswith(
        f"HONE_X is {shown!r}, which names no PostgreSQL or SQLite database. Write postgres://"
    )


def test_a_database_that_can_be_is_djangos_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HONE_X", "postgres://me:p%40ss@db:6432/n")
    found = environment.database("HONE_X", "")
    assert (found["USER"], found["PASSWORD"], found["HOST"], found["PORT"], found["NAME"]) == (
        *("me", "p@ss", "db"),
        6432,
        "n",
    )


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("DATABASE_URL", "foo://x", "DATABASE_URL is 'foo://x', which names no PostgreSQL or"),
        ("HONE_MAX_DATASET_ROWS", "abc", "HONE_MAX_DATASET_ROWS is 'abc', which is no whole"),
        ("HONE_STORAGE_OPTIONS", "{", "HONE_STORAGE_OPTIONS cannot be read; its value may hold"),
        ("HONE_LOG_LEVEL", "loud", "HONE_LOG_LEVEL is 'loud'. Set it to one of DEBUG, INFO,"),
        ("HONE_OUTBOUND_ALLOW", "x", "HONE_OUTBOUND_ALLOW: 'x' is no entry for allowed"),
    ],
)
def test_a_command_ends_with_the_sentence_alone(
    tmp_path: Path, name: str, value: str, said: str
) -> None:
    ran = subprocess.run(
        [sys.executable, str(ROOT / "manage.py"), "doctor"],
        env={**os.environ, "HONE_DATA_DIR": str(tmp_path), name: value},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (ran.returncode, ran.stdout) == (1, "")
    assert ran.stderr.startswith(f"✗ settings  {said}")
    assert ran.stderr.count("\n") == 1


def test_a_server_s_address_is_whole_or_named_without_its_password(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HONE_X", "")
    assert environment.server_url("HONE_X") == ""
    monkeypatch.setenv("HONE_X", "http://10.1.2.3:8000/")
    assert environment.server_url("HONE_X") == "http://10.1.2.3:8000"
    for value, reason in (
        ("10.1.2.3:8000", "The URL's scheme is"),
        ("http://me:pa55@10.1.2.3", "The URL holds a user name or password."),
        ("http://", "The URL names no host."),
    ):
        monkeypatch.setenv("HONE_X", value)
        with pytest.raises(ImproperlyConfigured) as caught:
            environment.server_url("HONE_X")
        assert str(caught.value).startswith(f"HONE_X cannot be used. {reason}")
        assert str(caught.value).endswith("Write http://host:port, or unset it.")
        assert "pa55" not in str(caught.value)
