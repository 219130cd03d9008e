"""Recorded tool traffic: the same call with the same arguments gets the same reply.

A recording is JSON lines in a zstd frame. It holds what the model asked and was shown, and never a
header. Faults are not recorded: they are nobody's answer.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any, Literal

import msgspec
import zstandard

from hone.core.net.calls import CallOutcome

LARGEST = 256 * 1024 * 1024
"""Unpacked. A recording is held in memory as a whole where it is played."""


class Entry(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One call and its answer. `row`: which dataset row it belonged to, as a hash."""

    tool: str
    arguments: str
    row: str
    status: Literal["ok", "tool_error"]
    output: str
    http_status: int | None = None
    error: str = ""


def entry_of(
    tool: str, arguments: str, item: Mapping[str, Any], outcome: CallOutcome
) -> Entry | None:
    """The entry of a call that was answered; None for a fault."""
    if outcome.status == "fault":
        return None
    return Entry(
        tool=tool,
        arguments=canonical(arguments),
        row=row_hash(item),
        status=outcome.status,
        output=outcome.output or "",
        http_status=outcome.http_status,
        error=outcome.error,
    )


def canonical(arguments: str) -> str:
    """Equal for arguments that say the same: keys in order, no spaces; else the text itself."""
    try:
        value = json.loads(arguments)
        return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    except (ValueError, RecursionError):
        return arguments.strip()


def row_hash(item: Mapping[str, Any]) -> str:
    """Which row a call belonged to, without a word of it."""
    told = json.dumps(item, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(told.encode()).hexdigest()[:16]


def packed(entries: Iterable[Entry]) -> bytes:
    """The bytes to store: equal for equal entries."""
    lines = b"".join(msgspec.json.encode(entry) + b"\n" for entry in entries)
    return zstandard.ZstdCompressor(level=9).compress(lines)


def unpacked(content: bytes) -> list[Entry]:
    """The entries of stored bytes; ValueError where they are none."""
    if not content:
        return []
    try:
        lines = zstandard.ZstdDecompressor().stream_reader(content).read(LARGEST + 1)
        if len(lines) > LARGEST:
            raise ValueError(f"This recording has more than {LARGEST} bytes.")
        return [msgspec.json.decode(line, type=Entry) for line in lines.splitlines()]
    except (zstandard.ZstdError, msgspec.MsgspecError) as error:
        raise ValueError(f"This is no recording: {error}.") from error


def without_doubles(entries: Iterable[Entry]) -> list[Entry]:
    """Each different entry once, in the order of the first."""
    return list(dict.fromkeys(entries))


class Answers:
    """What a recording answers. A call of the same row comes first; else rows must agree."""

    def __init__(self, name: str, entries: Iterable[Entry]) -> None:
        self._name = name
        self._exact: dict[tuple[str, str, str], list[Entry]] = {}
        self._any: dict[tuple[str, str], list[Entry]] = {}
        for entry in without_doubles(entries):
            self._exact.setdefault((entry.tool, entry.arguments, entry.row), []).append(entry)
            self._any.setdefault((entry.tool, entry.arguments), []).append(entry)

    def find(self, tool: str, arguments: str, item: Mapping[str, Any]) -> Entry | str:
        """The recorded answer, or why there is none, as a sentence."""
        arguments = canonical(arguments)
        found = self._exact.get((tool, arguments, row_hash(item)))
        if found is None:
            found = self._any.get((tool, arguments), [])
        replies = {(entry.status, entry.output) for entry in found}
        shown = arguments if len(arguments) <= 200 else f"{arguments[:200]}…"
        if not replies:
            return f"The recording {self._name!r} has no answer to {tool} with {shown}."
        if len(replies) > 1:
            return (
                f"The recording {self._name!r} has {len(replies)} different answers to {tool} "
                f"with {shown}, so it gives none."
            )
        return found[0]
