"""Answers that are the same for everybody who may read a job: made once for all of them.

Whoever calls has asked for the job's mark as that person, which is what lets her read it.
"""

from __future__ import annotations

import gzip
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from django.http import HttpRequest, HttpResponse
from django.utils.cache import patch_vary_headers

from jobs.selectors.marks import Mark
from jobs.selectors.shared import shared

T = TypeVar("T")


@dataclass(frozen=True)
class Packed:
    """A body, plain and packed."""

    plain: bytes
    packed: bytes
    content_type: str

    @staticmethod
    def of(plain: bytes, content_type: str) -> Packed:
        return Packed(plain, gzip.compress(plain, 6, mtime=0), content_type)

    @staticmethod
    def page(text: str) -> Packed:
        """Of HTML that holds nothing of one person: what is packed once has no random padding."""
        return Packed.of(text.encode(), "text/html; charset=utf-8")

    def answer(self, request: HttpRequest) -> HttpResponse:
        packs = "gzip" in request.headers.get("Accept-Encoding", "")
        answer = HttpResponse(self.packed if packs else self.plain, content_type=self.content_type)
        patch_vary_headers(answer, ["Accept-Encoding"])
        if packs:
            answer["Content-Encoding"] = "gzip"
        return answer


def for_all(request: HttpRequest, job_id: str, mark: Mark, what: str, make: Callable[[], T]) -> T:
    """What `make` gives while the job stands where it stands, for this address but for `since`."""
    asked = request.GET.copy()
    asked.pop("since", None)
    return shared((job_id, str(mark), what, asked.urlencode()), make)
