"""Pages and JSON are sent packed where the browser takes it; streamed downloads as they are."""

from __future__ import annotations

import gzip
from typing import Any

import pytest
from django.http import HttpResponse, StreamingHttpResponse
from django.test import Client, RequestFactory

from hone.core.middleware import PackedPagesMiddleware

LONG = b"<p>the same line</p>" * 200


@pytest.mark.django_db
def test_a_page_is_sent_packed_to_a_browser_that_takes_it() -> None:
    plain = Client().get("/login/")
    packed = Client().get("/login/", headers={"accept-encoding": "br, gzip"})
    assert (plain.status_code, "Content-Encoding" in plain.headers) == (200, False)
    assert packed.headers["Content-Encoding"] == "gzip"
    assert "Accept-Encoding" in packed.headers["Vary"]
    assert b"<h1" in gzip.decompress(packed.content)
    assert len(packed.content) < len(plain.content)


def test_two_packed_answers_differ_in_length() -> None:
    request = RequestFactory().get("/", headers={"accept-encoding": "gzip"})
    packing: Any = PackedPagesMiddleware(lambda _: HttpResponse(LONG))
    lengths = {len(packing(request).content) for _ in range(40)}
    assert len(lengths) > 3


def test_a_download_is_streamed_as_it_is() -> None:
    request = RequestFactory().get("/", headers={"accept-encoding": "gzip"})
    packing: Any = PackedPagesMiddleware(lambda _: StreamingHttpResponse([LONG]))
    answer = packing(request)
    assert "Content-Encoding" not in answer.headers
    assert b"".join(answer.streaming_content) == LONG
