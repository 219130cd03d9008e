"""Checks headers that people write for their endpoints."""

from __future__ import annotations

import re
from collections.abc import Mapping

from hone.core.net.errors import OutboundInvalid

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_RESERVED = {
    "accept-encoding",
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "expect",
    "host",
    "idempotency-key",
    "keep-alive",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
}
MOST_HEADERS = 32
LONGEST_VALUE = 8192


def validate_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """The headers as given; `OutboundInvalid` names a bad one, never its value."""
    if len(headers) > MOST_HEADERS:
        raise OutboundInvalid(f"There are {len(headers)} headers; at most {MOST_HEADERS} are sent.")
    seen: set[str] = set()
    for name, value in headers.items():
        lowered = name.lower()
        if len(name) > 200 or _TOKEN.fullmatch(name) is None:
            raise OutboundInvalid(
                f"{name[:60]!r} is no header name. Use letters, digits and hyphens."
            )
        if lowered in _RESERVED or lowered.startswith("proxy-"):
            raise OutboundInvalid(f"The header {name} is set by the platform. Remove it.")
        if lowered in seen:
            raise OutboundInvalid(f"The header {name} is given twice. Remove one.")
        seen.add(lowered)
        _check_value(name, value)
    return dict(headers)


def _check_value(name: str, value: str) -> None:
    if _CONTROL.search(value):
        raise OutboundInvalid(f"The value of {name} holds a control character. Remove it.")
    if value != value.strip():
        raise OutboundInvalid(f"The value of {name} begins or ends with a space. Remove it.")
    try:
        size = len(value.encode("latin-1"))
    except UnicodeEncodeError as error:
        raise OutboundInvalid(
            f"The value of {name} holds a character that headers cannot carry."
        ) from error
    if size > LONGEST_VALUE:
        raise OutboundInvalid(
            f"The value of {name} has {size} bytes; at most {LONGEST_VALUE} are sent."
        )
