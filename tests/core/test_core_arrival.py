"""How much of a form is read: nothing from a stranger, nothing beyond the limit of its address."""

from __future__ import annotations

import io
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.urls import reverse
from pytest_django.fixtures import Settings

from hone.accounts.models import User

MB = 1_000_000
HEAD = b'--x\r\nContent-Disposition: form-data; name="upload"; filename="a.jsonl"\r\n\r\n'
MULTIPART = "multipart/form-data; boundary=x"


class Counted(io.RawIOBase):
    """A body that counts what is read of it."""

    def __init__(self, size: int) -> None:
        self.left = io.BytesIO(HEAD + b"a" * (size - len(HEAD)))

    @property
    def taken(self) -> int:
        return self.left.tell()

    def read(self, size: int = -1) -> bytes:
        return self.left.read(size)


def send(client: Client, path: str, body: Counted, length: str) -> Any:
    extra = {"wsgi.input": body, "CONTENT_LENGTH": length, "CONTENT_TYPE": MULTIPART}
    return client.generic("POST", path, b"", **extra)


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("path", "status"),
    [("/login/", 413), ("/healthz", 413), ("/datasets/new/", 302), ("/tools/new/", 302)],
)
@pytest.mark.parametrize("length", [str(20 * MB), ""])
def test_nothing_is_read_of_what_a_stranger_sends(path: str, status: int, length: str) -> None:
    body = Counted(20 * MB)
    reply = send(Client(enforce_csrf_checks=True), path, body, length)
    assert body.taken == 0
    if length:
        assert reply.status_code == status


@pytest.mark.django_db
def test_a_body_longer_than_its_announced_length_is_cut_there() -> None:
    body = Counted(20 * MB)
    send(Client(enforce_csrf_checks=True), "/login/", body, "1000")
    assert 0 < body.taken <= 1000


def test_a_form_of_a_member_has_the_limit_of_forms(bob: User) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(bob)
    body = Counted(20 * MB)
    reply = send(client, "/tools/new/", body, str(20 * MB))
    assert (reply.status_code, body.taken) == (413, 0)
    page = reply.content.decode().replace("\u202f", " ")
    assert "What was sent has 20.0 MB; at most 4.2 MB are taken here. Nothing was kept." in page


def test_an_upload_has_the_limit_of_files(bob: User, settings: Settings) -> None:
    settings.MAX_DATASET_BYTES = 5 * MB
    client = Client(enforce_csrf_checks=True)
    client.force_login(bob)
    body = Counted(7 * MB)
    reply = send(client, "/datasets/new/", body, str(7 * MB))
    assert (reply.status_code, body.taken) == (413, 0)
    assert "HONE_MAX_DATASET_BYTES" in reply.content.decode()
    body = Counted(5 * MB)
    assert send(client, "/datasets/new/", body, str(5 * MB)).status_code == 403
    assert body.taken == 5 * MB


def test_a_field_that_is_larger_than_a_form_is_refused(bob: User, settings: Settings) -> None:
    settings.DATA_UPLOAD_MAX_MEMORY_SIZE = 1000
    client = Client()
    client.force_login(bob)
    upload = SimpleUploadedFile("a.jsonl", b"{}\n")
    reply = client.post("/datasets/new/", {"name": "n" * 2000, "upload": upload})
    assert reply.status_code == 413


def test_the_addresses_that_take_a_file_exist(settings: Settings) -> None:
    found = {
        reverse("dataset-new"),
        reverse("dataset-version-new", args=["ds-1"]),
    }
    assert found == {"/datasets/new/", "/datasets/ds-1/new/"}
    assert {"dataset-new", "dataset-version-new"} == settings.UPLOAD_ADDRESSES
