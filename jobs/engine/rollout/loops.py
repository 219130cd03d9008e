"""Loop detection: repeated tokens while decoding, and repeated tool calls.

Legend: S slots, N rows of this step, P periods 1..64.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

IntArray = npt.NDArray[np.int64]

MAX_PERIOD = 64
MIN_REPEATS = 4
MIN_LOOP_TOKENS = 96
KEPT_PERIODS = 2
NGRAM = 8
NOVELTY_WINDOW = 512
MIN_NOVELTY = 0.2
_NOVELTY_EVERY = 32


class TokenLoopDetector:
    """Watches the sampled tokens of many rows; a token costs the same however long the row is.

    For each period p it counts how many tokens in a row equalled the token p before them. A row
    loops once that run, with the first period, holds 4 repeats and 96 tokens. Rows that repeat
    without a short period are found by the share of new 8-grams in their last 512 tokens, which
    is looked at every 32 tokens.
    """

    def __init__(self, slots: int) -> None:
        self._periods_P: IntArray = np.arange(1, MAX_PERIOD + 1)
        self._needed_P: IntArray = np.maximum(
            (MIN_REPEATS - 1) * self._periods_P, MIN_LOOP_TOKENS - self._periods_P
        )
        self._recent_SP: IntArray = np.full((slots, MAX_PERIOD), -1, dtype=np.int64)
        self._runs_SP: IntArray = np.zeros((slots, MAX_PERIOD), dtype=np.int64)
        self._lengths_S: IntArray = np.zeros(slots, dtype=np.int64)

    def reset(self, slot: int) -> None:
        """Begin a new turn in this slot."""
        self._recent_SP[slot] = -1
        self._runs_SP[slot] = 0
        self._lengths_S[slot] = 0

    def push(self, slots_N: IntArray, tokens_N: IntArray) -> IntArray:
        """Note one sampled token a row; returns the places (in N) of rows now to be looked at."""
        lengths_N = self._lengths_S[slots_N]
        columns_NP = (lengths_N[:, None] - self._periods_P) % MAX_PERIOD
        before_NP = np.take_along_axis(self._recent_SP[slots_N], columns_NP, axis=1)
        runs_NP = np.where(before_NP == tokens_N[:, None], self._runs_SP[slots_N] + 1, 0)
        self._runs_SP[slots_N] = runs_NP
        self._recent_SP[slots_N, lengths_N % MAX_PERIOD] = tokens_N
        lengths_N += 1
        self._lengths_S[slots_N] = lengths_N
        suspect_N = (runs_NP >= self._needed_P).any(axis=1)
        suspect_N |= (lengths_N >= NOVELTY_WINDOW) & (lengths_N % _NOVELTY_EVERY == 0)
        return np.flatnonzero(suspect_N)

    def loop_start(self, slot: int, ids: Sequence[int]) -> int | None:
        """Where the part of a loop begins that is not trained; None where there is no loop."""
        run_P = self._runs_SP[slot]
        found = np.flatnonzero(run_P >= self._needed_P)
        if found.size:
            period = int(self._periods_P[found[0]])
            begin = len(ids) - int(run_P[found[0]]) - period
            return begin + KEPT_PERIODS * period
        if len(ids) >= NOVELTY_WINDOW:
            return _stale_start(ids)
        return None


def _stale_start(ids: Sequence[int]) -> int | None:
    """Where the last 512 tokens, if hardly any 8-gram in them is new, say things a third time."""
    offset = len(ids) - NOVELTY_WINDOW
    window = np.lib.stride_tricks.sliding_window_view(np.asarray(ids[offset:]), NGRAM)
    _, inverse = np.unique(window, axis=0, return_inverse=True)
    order = inverse.ravel().tolist()
    if len(set(order)) >= MIN_NOVELTY * len(order):
        return None
    seen: Counter[int] = Counter()
    for index, gram in enumerate(order):
        seen[gram] += 1
        if seen[gram] > KEPT_PERIODS:
            return offset + index + NGRAM - 1
    return None


WARN_AT = 3
TOOL_LOOP_WARNING = (
    "\n[This call has now returned the same result three times. "
    "Do something else, or give the final answer.]"
)


def canonical_arguments(arguments: str) -> str:
    """One spelling for arguments that mean the same: sorted keys, no blanks."""
    try:
        return json.dumps(json.loads(arguments), sort_keys=True, separators=(",", ":"))
    except (ValueError, RecursionError):
        return arguments


class ToolLoopDetector:
    """Counts the same call with the same result within one rollout."""

    def __init__(self) -> None:
        self._seen: Counter[tuple[str, str, str]] = Counter()

    def note(self, name: str, arguments: str, output: str) -> int:
        """How often this call has had this result by now, this time included."""
        key = (name, canonical_arguments(arguments), output)
        self._seen[key] += 1
        return self._seen[key]
