"""Live checks of what this installation can do: reach the tools, isolate Python, write chats."""

from __future__ import annotations

import functools
import socket
import time
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as LookupTimeout
from contextlib import suppress
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from django.conf import settings

from graders.sandbox import probe
from hone.core.net.addresses import Address
from hone.core.net.errors import OutboundError
from hone.core.net.policy import OutboundPolicy
from hone.core.net.target import Target, parse_url
from hone.tools.models import ToolVersion
from jobs.models import BaseModel
from jobs.selectors import inputs
from jobs.services.chat import chat_template
from jobs.services.request import Check

LOOKUP_S = 1.0
REMEMBERED_S = 60.0
_LOOKUPS = ThreadPoolExecutor(max_workers=4, thread_name_prefix="look-up")


def tool_checks(tools: Iterable[ToolVersion]) -> Iterator[Check]:
    """Whether each tool's address may be called from here."""
    places = [(f"`{inputs.tool_name(tool)}`", tool.url) for tool in tools]
    return address_checks(places, "Tools", "tool_versions", "tool")


def address_checks(
    places: Iterable[tuple[str, str]], topic: str, field: str, code: str
) -> Iterator[Check]:
    """Whether each URL may be called from here, by what it is called; names are looked up, nothing
    is sent."""
    policy = OutboundPolicy.parse(settings.OUTBOUND_ALLOW)
    addresses: dict[tuple[str, int], tuple[Address, ...] | None] = {}
    refused = False
    for name, url in places:
        try:
            target = parse_url(url)
            place = (target.host, target.port)
            if place not in addresses:
                addresses[place] = _addresses(target)
            found = addresses[place]
            if found is not None:
                policy.check(target.host, target.port, found)
                continue
        except OutboundError as error:
            sentence = f"{name} at {url}: {error.message}"
            yield Check(topic, "problem", sentence, field, f"{code}_blocked")
        else:
            sentence = (
                f"{name}: the host name {target.host} is not known here, so calls may fail. Check "
                f"the {code}'s URL."
            )
            yield Check(topic, "warning", sentence, field, f"{code}_unresolved")
        refused = True
    if addresses and not refused:
        yield Check(topic, "ok", f"Every {code}'s address may be called.")


def _addresses(target: Target) -> tuple[Address, ...] | None:
    """The addresses of a target; None where its name is not known in time."""
    with suppress(ValueError):
        return (ip_address(target.host),)
    window = int(time.monotonic() / REMEMBERED_S)
    try:
        return _asked(target.host, target.port, window).result(timeout=LOOKUP_S)
    except (LookupTimeout, OSError, UnicodeError):
        return None


@functools.lru_cache(maxsize=256)
def _asked(host: str, port: int, window: int) -> Future[tuple[Address, ...]]:
    """One look-up of a name a window of time, however often a form is checked."""
    return _LOOKUPS.submit(_look_up, host, port)


def _look_up(host: str, port: int) -> tuple[Address, ...]:
    rows = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return tuple(dict.fromkeys(ip_address(row[4][0]) for row in rows))


def isolation_checks(
    spec: Mapping[str, Any], topic: str = "Grader", field: str = "grader_version"
) -> Iterator[Check]:
    """Whether the grader's Python, if it has any, can be kept out of reach here."""
    if not _has_python(spec):
        return
    isolation = probe()
    if isolation.level == "none":
        sentence = f"Its Python cannot be isolated here. {isolation.reason}"
        yield Check(topic, "problem", sentence, field, "sandbox_unavailable")
    else:
        yield Check(topic, "ok", f"Its Python runs isolated: {isolation.level}.")


def _has_python(spec: Mapping[str, Any]) -> bool:
    if spec.get("type") == "python":
        return True
    parts = spec.get("graders", ())
    return any(map(_has_python, parts.values() if isinstance(parts, Mapping) else parts))


def template_checks(model: BaseModel) -> Iterator[Check]:
    """Whether the tokeniser has a chat template; the engine tries the template itself at start."""
    folder = Path(model.folder)
    if folder.is_dir() and not chat_template(folder):
        sentence = (
            f"{model.name} has no chat template, so conversations with tools cannot be written "
            "for it. Choose an instruction-tuned model."
        )
        yield Check("Base model", "problem", sentence, "base_model", "template_missing")
