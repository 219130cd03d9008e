"""Secrets at rest: they open at their place, with their key, and nowhere else."""

from __future__ import annotations

import base64
import multiprocessing
import os
import stat
import threading
from pathlib import Path

import pytest
from pytest_django.fixtures import Settings

from hone.core.errors import UserError
from hone.core.secrets import SecretUnreadable, decrypt, encrypt

PLACE = "org-1|tool-headers|toolv-1"


def _key(name: str, byte: bytes) -> str:
    return f"{name}:{base64.urlsafe_b64encode(byte * 32).decode().rstrip('=')}"


@pytest.fixture(autouse=True)
def _own_folder(settings: Settings, tmp_path: Path) -> None:
    settings.DATA_DIR = tmp_path / "data"
    settings.SECRETS_KEYS = []


@pytest.mark.parametrize("plain", ["", "Bearer abc", "ü" * 5000, "a\nb"])
def test_a_secret_comes_back_whole(plain: str) -> None:
    stored = encrypt(plain, place=PLACE)
    assert decrypt(stored, place=PLACE) == plain
    assert stored.startswith("v1:file:")
    assert not plain or plain not in stored
    assert encrypt(plain, place=PLACE) != stored


def test_a_secret_does_not_open_at_another_place() -> None:
    stored = encrypt("Bearer abc", place=PLACE)
    with pytest.raises(SecretUnreadable) as caught:
        decrypt(stored, place="org-2|tool-headers|toolv-1")
    assert caught.value.message == (
        "A stored secret does not match its key 'file'. Enter the secret anew."
    )
    assert caught.value.code == "secret_changed"


def test_a_changed_secret_does_not_open() -> None:
    stored = encrypt("Bearer abc", place=PLACE)
    flipped = stored[:-6] + ("A" if stored[-6] != "A" else "B") + stored[-5:]
    for text in (flipped, stored[:-8], "v1:file:", "v1:file:!!!", "v1:file:QUJD"):
        with pytest.raises(SecretUnreadable) as caught:
            decrypt(text, place=PLACE)
        assert caught.value.code == "secret_changed"


@pytest.mark.parametrize("text", ["", "x", "v2:file:QUJD", "v1:gone:QUJD"])
def test_a_missing_key_is_named(text: str) -> None:
    with pytest.raises(SecretUnreadable) as caught:
        decrypt(text, place=PLACE)
    assert caught.value.code == "secret_key_missing"
    named = text.split(":")[1] if ":" in text else ""
    assert caught.value.message == (
        f"A stored secret was written with the key {named!r}, which SECRETS_KEYS does not hold. "
        "Add that key again, or enter the secret anew."
    )


def test_the_first_key_writes_and_all_keys_read(settings: Settings) -> None:
    settings.SECRETS_KEYS = [_key("old", b"1")]
    old = encrypt("Bearer abc", place=PLACE)
    settings.SECRETS_KEYS = [_key("new", b"2"), _key("old", b"1")]
    new = encrypt("Bearer abc", place=PLACE)
    assert (old.split(":")[1], new.split(":")[1]) == ("old", "new")
    assert decrypt(old, place=PLACE) == decrypt(new, place=PLACE) == "Bearer abc"
    settings.SECRETS_KEYS = [_key("new", b"2")]
    with pytest.raises(SecretUnreadable, match="the key 'old', which SECRETS_KEYS does not hold"):
        decrypt(old, place=PLACE)


@pytest.mark.parametrize("entry", ["abc", ":abc", "a:", "a:abc", "a:é", f":{'A' * 43}"])
def test_a_key_that_is_none_is_refused_without_showing_it(settings: Settings, entry: str) -> None:
    settings.SECRETS_KEYS = [entry]
    with pytest.raises(UserError) as caught:
        encrypt("x", place=PLACE)
    assert caught.value.code == "secrets_keys_invalid"
    assert "`id:key` with a key of 32 bytes in URL-safe base64." in caught.value.message
    assert "AAAA" not in caught.value.message


def test_the_key_file_is_its_owners_alone(settings: Settings) -> None:
    encrypt("x", place=PLACE)
    (path,) = Path(settings.DATA_DIR).iterdir()
    assert path.name == "secrets.key"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    before = path.read_bytes()
    encrypt("y", place=PLACE)
    assert path.read_bytes() == before


def test_a_damaged_key_file_is_named(settings: Settings) -> None:
    path = Path(settings.DATA_DIR) / "secrets.key"
    path.parent.mkdir()
    path.write_bytes(b"\xffhalf")
    with pytest.raises(UserError, match="is not a key of 32 bytes") as caught:
        encrypt("x", place=PLACE)
    assert str(path) in caught.value.message


def _seal(start: threading.Barrier, sealed: multiprocessing.Queue[str]) -> None:
    start.wait()
    sealed.put(encrypt(f"from {os.getpid()}", place=PLACE))


def test_processes_that_come_first_at_once_agree_on_one_key(settings: Settings) -> None:
    context = multiprocessing.get_context("fork")
    for attempt in range(5):
        settings.DATA_DIR = Path(settings.DATA_DIR).parent / f"data-{attempt}"
        start, sealed = context.Barrier(4), context.Queue()
        people = [context.Process(target=_seal, args=(start, sealed)) for _ in range(4)]
        for person in people:
            person.start()
        found = [sealed.get(timeout=30) for _ in people]
        for person in people:
            person.join()
        opened = {decrypt(text, place=PLACE) for text in found}
        assert opened == {f"from {person.pid}" for person in people}
        assert [path.name for path in settings.DATA_DIR.iterdir()] == ["secrets.key"]


def test_threads_that_come_first_at_once_agree_on_one_key(settings: Settings) -> None:
    for attempt in range(20):
        settings.DATA_DIR = Path(settings.DATA_DIR).parent / f"data-{attempt}"
        start = threading.Barrier(8)
        sealed: list[str] = []

        def seal(start: threading.Barrier = start, sealed: list[str] = sealed) -> None:
            start.wait()
            sealed.append(encrypt("mine", place=PLACE))

        threads = [threading.Thread(target=seal) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert [decrypt(text, place=PLACE) for text in sealed] == ["mine"] * 8
