"""Texts that are almost the same, by MinHash over runs of words: linear in the number of texts."""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

Signatures = NDArray[np.uint64]

HASHES = 64
BANDS = 16
RUN = 3
MOST_WORDS = 2000
SAME = 0.8
"""Two texts are near-duplicates from this share of common runs on, as estimated."""

_WORD = re.compile(r"\w+")
_random = np.random.default_rng(20260701)
_FACTORS = _random.integers(1, 2**63, HASHES, dtype=np.uint64) | np.uint64(1)
_SHIFTS = _random.integers(0, 2**63, HASHES, dtype=np.uint64)
_MIX = _random.integers(1, 2**63, HASHES // BANDS, dtype=np.uint64) | np.uint64(1)


def signature(text: str) -> Signatures:
    """The smallest of each hash over the text's runs of three words."""
    words = _WORD.findall(text.lower())[:MOST_WORDS]
    runs = {" ".join(words[at : at + RUN]) for at in range(max(1, len(words) - RUN + 1))}
    hashes = np.fromiter((zlib.crc32(run.encode()) for run in runs), np.uint64, len(runs))
    with np.errstate(over="ignore"):
        mixed = hashes[:, None] * _FACTORS + _SHIFTS
    smallest: Signatures = mixed.min(axis=0)
    return smallest


def near_pairs(first: Signatures, second: Signatures | None = None) -> dict[int, int]:
    """For each row of `first` that has one, a row of `second` (or an earlier one of `first`) that
    is nearly the same."""
    if not len(first) or (second is not None and not len(second)):
        return {}
    found: dict[int, int] = {}
    for mine, other in _candidates(first, second):
        if mine in found:
            continue
        signatures = first if second is None else second
        if np.mean(first[mine] == signatures[other]) >= SAME:
            found[mine] = other
    return found


def _candidates(first: Signatures, second: Signatures | None) -> Iterator[tuple[int, int]]:
    """Pairs that agree in a whole band."""
    ours = _bands(first)
    theirs = ours if second is None else _bands(second)
    for band in range(BANDS):
        known: dict[int, list[int]] = {}
        if second is not None:
            for row, key in enumerate(theirs[:, band].tolist()):
                _add(known.setdefault(key, []), row)
        for row, key in enumerate(ours[:, band].tolist()):
            group = known.get(key, [])
            yield from ((row, other) for other in group)
            if second is None:
                _add(known.setdefault(key, group), row)


def _add(group: list[int], row: int) -> None:
    """A few of a large group stand for it."""
    if len(group) < 3:
        group.append(row)


def _bands(signatures: Signatures) -> Signatures:
    parts = signatures.reshape(len(signatures), BANDS, HASHES // BANDS)
    with np.errstate(over="ignore"):
        mixed: Signatures = (parts * _MIX).sum(axis=2, dtype=np.uint64)
    return mixed
