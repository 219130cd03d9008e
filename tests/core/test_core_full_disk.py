"""A disk that is full while a form arrives: a page that says so, not a fault."""

from __future__ import annotations

import errno
from typing import Any, NoReturn

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.core.files.uploadhandler import FileUploadHandler
from django.test import Client

SENTENCE = "The disk is full, so nothing was kept. Ask the operator to free some space."


class _Breaking(FileUploadHandler):
    """Raises where a file's first bytes arrive."""

    number = errno.EIO

    def receive_data_chunk(self, raw_data: bytes, start: int) -> NoReturn:
        raise OSError(self.number, "as the kernel says")

    def file_complete(self, file_size: int) -> None:
        return None


class NoSpace(_Breaking):
    number = errno.ENOSPC


class NoQuota(_Breaking):
    number = errno.EDQUOT


class BrokenDisk(_Breaking):
    number = errno.EIO


def send(client: Client, settings: Any, handler: str) -> Any:
    settings.FILE_UPLOAD_HANDLERS = [f"tests.core.test_core_full_disk.{handler}"]
    client.raise_request_exception = False
    return client.post("/login/", {"file": SimpleUploadedFile("tasks.jsonl", b"{}\n")})


@pytest.mark.django_db
@pytest.mark.parametrize("handler", ["NoSpace", "NoQuota"])
@pytest.mark.parametrize("enforce", [True, False])
def test_a_full_disk_on_arrival_is_507_with_the_sentence(
    settings: Any, handler: str, enforce: bool
) -> None:
    response = send(Client(enforce_csrf_checks=enforce), settings, handler)
    assert response.status_code == 507
    assert SENTENCE in response.content.decode()


@pytest.mark.django_db
def test_another_fault_of_the_disk_stays_a_fault(settings: Any) -> None:
    assert send(Client(enforce_csrf_checks=True), settings, "BrokenDisk").status_code == 500
