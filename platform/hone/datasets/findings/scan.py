"""One pass over a version's rows in bounded memory; what costs more looks at evenly spaced rows."""

from __future__ import annotations

import json
from array import array
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any

import numpy as np

from hone.datasets.findings.known import KnownModel
from hone.datasets.findings.leaks import Leaks
from hone.datasets.findings.lengths import Lengths
from hone.datasets.findings.near import Signatures, near_pairs, signature
from hone.datasets.findings.prints import Hashes, Prints

MOST_ROWS = 2_000_000
"""Duplicates are looked for among so many rows from the beginning."""
MOST_SAMPLED = 20_000
MOST_MEASURED = 5_000
MOST_EXAMPLES = 10
LONGEST_TEXT = 20_000
AT_ONCE = 64


@dataclass
class Scan:
    """What was seen so far."""

    every: int
    lengths: list[Lengths]
    measured_every: int
    rows: int = 0
    repeated: int = 0
    repeated_at: list[dict[str, Any]] = field(default_factory=list)
    whole: array[int] = field(default_factory=lambda: array("Q"))
    prompts: array[int] = field(default_factory=lambda: array("Q"))
    sampled: array[int] = field(default_factory=lambda: array("Q"))
    signatures: list[Signatures] = field(default_factory=list)
    leaks: Leaks = field(default_factory=Leaks)
    texts: list[str] = field(default_factory=list)

    def see(self, line: bytes) -> None:
        """Take in one row."""
        self.rows += 1
        twice: list[str] = []
        item = json.loads(line, object_pairs_hook=lambda pairs: _object(pairs, twice))
        if twice:
            self.repeated += 1
            if len(self.repeated_at) < MOST_EXAMPLES:
                self.repeated_at.append({"row": self.rows, "key": twice[0][:100]})
        if len(self.whole) < MOST_ROWS:
            self.whole.append(_hash(item))
            self.prompts.append(_hash(item["messages"]))
        self._look_closely(item)

    def _look_closely(self, item: dict[str, Any]) -> None:
        place = self.rows - 1
        if place % self.every and place % self.measured_every:
            return
        said, heard = texts_of(item)
        if place % self.every == 0:
            self.sampled.append(self.rows)
            self.signatures.append(signature(asked(item)))
            self.leaks.see(self.rows, item, said, heard)
        if place % self.measured_every == 0:
            tools = json.dumps(item["tools"], ensure_ascii=False) if item.get("tools") else ""
            self.texts.append("\n".join(filter(None, (said, heard, tools))))
            if len(self.texts) >= AT_ONCE:
                self.measure()

    def measure(self) -> None:
        """Count the tokens of the texts that wait."""
        for each in self.lengths:
            if self.texts:
                each.see(self.texts)
        self.texts.clear()


def scan(
    lines: Iterable[bytes], rows: int, models: Sequence[KnownModel]
) -> tuple[dict[str, Any], Prints]:
    """The report, and what comparisons with other versions need."""
    seen = Scan(
        every=max(1, -(-rows // MOST_SAMPLED)),
        measured_every=max(1, -(-rows // MOST_MEASURED)),
        lengths=[Lengths(model) for model in models],
    )
    for line in lines:
        seen.see(line)
    seen.measure()
    prints = Prints(
        np.array(seen.prompts, np.uint64),
        np.array(seen.sampled, np.uint64),
        np.array(seen.signatures, np.uint64),
    )
    return _report(seen, prints), prints


def _report(seen: Scan, prints: Prints) -> dict[str, Any]:
    whole = np.array(seen.whole, np.uint64)
    near = near_pairs(prints.signatures)
    same = {
        row for row, other in near.items()
        if prints.prompts[_place(prints, row)] == prints.prompts[_place(prints, other)]
    }  # fmt: skip
    pairs = [
        [int(prints.sampled[other]), int(prints.sampled[row])]
        for row, other in sorted(near.items())
        if row not in same
    ]
    return {
        "rows": seen.rows,
        "compared": len(whole),
        "sampled": len(prints.sampled),
        "duplicates": _repeats(whole),
        "same_prompt": _repeats(prints.prompts),
        "near": {"rows": len(pairs), "examples": pairs[:MOST_EXAMPLES]},
        "repeated_keys": {"rows": seen.repeated, "examples": seen.repeated_at},
        "leaks": seen.leaks.report(),
        "lengths": [each.report() for each in seen.lengths],
    }


def _place(prints: Prints, sampled: int) -> int:
    """Where the hash of a sampled row is; past the compared rows the last stands for it."""
    return min(int(prints.sampled[sampled]) - 1, len(prints.prompts) - 1)


def _repeats(hashes: Hashes) -> dict[str, Any]:
    """How many rows repeat an earlier one, and the first of them."""
    order = np.argsort(hashes, kind="stable")
    again = np.flatnonzero(hashes[order][1:] == hashes[order][:-1]) + 1
    examples = sorted([int(order[at - 1]) + 1, int(order[at]) + 1] for at in again[:1000])
    return {"rows": len(again), "examples": examples[:MOST_EXAMPLES]}


def texts_of(item: dict[str, Any]) -> tuple[str, str]:
    """What people and instructions say in the messages, and what tools answered."""
    said: list[str] = []
    heard: list[str] = []
    for message in item["messages"]:
        (heard if message["role"] == "tool" else said).append(_content(message))
    return "\n".join(said)[:LONGEST_TEXT], "\n".join(heard)[:LONGEST_TEXT]


def asked(item: dict[str, Any]) -> str:
    """What the user says; instructions are often the same in every row."""
    said = [_content(message) for message in item["messages"] if message["role"] == "user"]
    return "\n".join(said)[:LONGEST_TEXT]


def _content(message: dict[str, Any]) -> str:
    content = message.get("content")
    if isinstance(content, list):
        return "\n".join(str(part.get("text", "")) for part in content)
    return content or ""


def _object(pairs: list[tuple[str, Any]], twice: list[str]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        twice += [name for name, times in Counter(name for name, _ in pairs).items() if times > 1]
    return found


def _hash(value: Any) -> int:
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "little")
