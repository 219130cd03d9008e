"""A strong tag for pages that seldom change: of what they say, without the tokens of forms."""

from __future__ import annotations

import hashlib
import re

from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.utils.cache import get_conditional_response

_FORM_TOKEN = re.compile(rb'name="csrfmiddlewaretoken" value="[^"]*"')


def tagged(request: HttpRequest, response: HttpResponse) -> HttpResponseBase:
    """The response, or 304 where the browser has it. The token of a form is another one each time
    and each of them stays good, so two pages that differ in nothing else are the same page."""
    if response.status_code != 200:
        return response
    said = _FORM_TOKEN.sub(b"", response.content)
    tag = f'"{hashlib.sha256(said).hexdigest()[:32]}"'
    response["ETag"] = tag
    response["Cache-Control"] = "private, no-cache"
    answer = get_conditional_response(request, etag=tag, response=response)
    if answer is None:
        return response
    # A browser puts the headers of a 304 over those it kept, so they have to be a page's.
    answer.headers.setdefault("Content-Type", response["Content-Type"])
    return answer
