"""Rows on pages: what is short is shown whole, of a giant only the beginning is read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from django.core.files.base import ContentFile, File
from django.core.files.storage import default_storage
from django.test import Client
from pytest_django.fixtures import Settings

from hone.accounts.models import Organisation, User
from hone.datasets import selectors
from hone.datasets.models import DatasetVersion
from hone.datasets.selectors import dataset_heads
from hone.datasets.services import dataset_create


def _row(**keys: Any) -> bytes:
    return json.dumps({"messages": [{"role": "user", "content": "Where?"}]} | keys).encode()


@pytest.fixture
def store(bob: User, organisation: Organisation, settings: Settings, tmp_path: Path) -> Any:
    settings.MEDIA_ROOT = tmp_path / "files"

    def stored(content: bytes) -> DatasetVersion:
        upload = ContentFile(content)
        return dataset_create(
            acting_user=bob, organisation=organisation, name="rows", upload=upload
        )

    return stored


def _page(user: User, version: DatasetVersion, rest: str = "v1/rows/") -> str:
    client = Client()
    client.force_login(user)
    return client.get(f"/datasets/{version.dataset_id}/{rest}").content.decode()


@pytest.mark.parametrize("end", [b"", b"\n", b"\r\n \n"])
def test_heads_hold_whole_rows_up_to_their_limit(store: Any, end: bytes) -> None:
    lines = [_row(n=number, long="x" * number) for number in range(10)]
    version = store((end or b"\n").join(lines) + end)
    heads = list(dataset_heads(version, 0, 10, 1000))
    assert [head.number for head in heads] == list(range(1, 11))
    assert [head.text.strip() for head in heads] == lines
    assert [head.size for head in heads] == [len(head.text) for head in heads]
    (last,) = dataset_heads(version, 9, 5, 1000)
    assert (last.number, last.text.strip()) == (10, lines[9])
    for start, count in ((10, 5), (-1, 5), (3, 0)):
        assert list(dataset_heads(version, start, count, 1000)) == []


def test_of_a_longer_row_the_beginning_is_read_and_its_size_known(store: Any) -> None:
    long = _row(long="x" * 1000)
    version = store(b"\n".join([_row()] * 9 + [long]))
    first, *_, last = dataset_heads(version, 0, 10, 100)
    assert (first.text, first.size) == (_row(), len(_row()))
    assert (last.text, last.size) == (long[:100], len(long))


@pytest.mark.slow
def test_a_giant_row_is_never_read_whole(
    bob: User, store: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    giant = b'{"giant": [' + b",".join([b"[1]"] * 100_000) + b"], " + _row()[1:]
    version = store(b"\n".join([giant] * 9 + [_row(answer=42)]))
    read: list[int] = []
    opened = default_storage.open

    class Counted(File):
        def read(self, size: int) -> bytes:
            read.append(size)
            return self.file.read(size)

    def counted(name: str) -> Any:
        file = opened(name)
        return Counted(file.file) if name == version.storage_key else file

    monkeypatch.setattr(selectors.default_storage, "open", counted)
    page = _page(bob, version).replace("\u202f", " ")
    assert sorted(read) == [len(_row(answer=42)), *[64 * 1024] * 9]
    assert page.count("A row of 400.1 kB; it begins") == 9
    assert page.count("… the row has 400.1 kB; only its beginning is shown") == 9
    assert "{&quot;giant&quot;: [[1],[1]" in page
    assert "&quot;answer&quot;: 42" in page
    assert len(page) < 100_000
    assert _page(bob, version, "").count("it begins") == 5


def test_an_excerpt_ends_between_characters(bob: User, store: Any) -> None:
    rows = [b'{"a": "%s%s", ' % (b"x" * n, "€".encode() * 30_000) + _row()[1:] for n in range(10)]
    assert _page(bob, store(b"\n".join(rows))).count("only its beginning is shown") == 10


def test_a_row_is_shown_indented_with_its_characters_and_long_numbers(
    bob: User, store: Any
) -> None:
    parts = [{"type": "text", "text": "Part 1"}, {"type": "text", "text": "Part 2"}]
    row = _row(name="Zoë", n=9**99, messages=[{"role": "user", "content": parts}])
    assert b"\\u00eb" in row
    page = _page(bob, store(b"\n".join([row] * 10)))
    assert f"\n  &quot;name&quot;: &quot;Zoë&quot;,\n  &quot;n&quot;: {9**99}\n" in page
    assert "<summary>Part 1\nPart 2</summary>" in page
