"""The bookkeeping of turns being sampled, one lane a row, in arrays.

Legend: S lanes, N active lanes (always the first N), T tokens of a turn.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from jobs.engine.rollout.loops import TokenLoopDetector
from jobs.engine.sampling.base import Sampled, SampleRequest
from jobs.engine.sampling.draw import uniforms

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]


class Lanes:
    """What each lane has sampled so far, its random numbers and its limits."""

    def __init__(self, lanes: int, stop_ids: Sequence[int]) -> None:
        self._stop_ids: IntArray = np.asarray(sorted(stop_ids), dtype=np.int64)
        self._loops = TokenLoopDetector(lanes)
        self._uniforms_ST: FloatArray = np.zeros((lanes, 0))
        self._ids_ST: IntArray = np.zeros((lanes, 0), dtype=np.int64)
        self._logprobs_ST: FloatArray = np.zeros((lanes, 0))
        self._entropies_ST: FloatArray = np.zeros((lanes, 0))
        self._counts_S: IntArray = np.zeros(lanes, dtype=np.int64)
        self._limits_S: IntArray = np.zeros(lanes, dtype=np.int64)
        self._temperatures_S: FloatArray = np.zeros(lanes)
        self._looked_S: IntArray = np.arange(lanes)

    def begin(self, lane: int, request: SampleRequest) -> None:
        """Start a turn in this lane."""
        self._widen(request.max_tokens)
        self._uniforms_ST[lane, : request.max_tokens] = uniforms(request.seed, request.max_tokens)
        self._counts_S[lane] = 0
        self._limits_S[lane] = request.max_tokens
        self._temperatures_S[lane] = request.temperature
        self._loops.reset(int(self._looked_S[lane]))

    def reserve(self, tokens: int) -> None:
        """Make room for turns of this many tokens."""
        self._widen(tokens)

    def _widen(self, tokens: int) -> None:
        missing = tokens - self._ids_ST.shape[1]
        if missing <= 0:
            return
        pad = ((0, 0), (0, missing))
        self._uniforms_ST = np.pad(self._uniforms_ST, pad)
        self._ids_ST = np.pad(self._ids_ST, pad)
        self._logprobs_ST = np.pad(self._logprobs_ST, pad)
        self._entropies_ST = np.pad(self._entropies_ST, pad)

    def next_draws(self, active: int) -> tuple[FloatArray, FloatArray]:
        """Temperatures and random numbers of the next token of each active lane."""
        lanes_N = np.arange(active)
        return self._temperatures_S[:active], self._uniforms_ST[lanes_N, self._counts_S[:active]]

    def push(
        self, tokens_N: IntArray, logprobs_N: FloatArray, entropies_N: FloatArray
    ) -> dict[int, Sampled]:
        """Note one token for each active lane; returns the turns that ended with it."""
        lanes_N = np.arange(len(tokens_N))
        places_N = self._counts_S[: len(tokens_N)]
        self._ids_ST[lanes_N, places_N] = tokens_N
        self._logprobs_ST[lanes_N, places_N] = logprobs_N
        self._entropies_ST[lanes_N, places_N] = entropies_N
        self._counts_S[: len(tokens_N)] += 1
        ended: dict[int, Sampled] = {}
        for lane in np.flatnonzero(np.isin(tokens_N, self._stop_ids)).tolist():
            ended[lane] = self._sampled(lane, "stop", None)
        for lane in self._loops.push(self._looked_S[: len(tokens_N)], tokens_N).tolist():
            count = int(self._counts_S[lane])
            ids = self._ids_ST[lane, :count].tolist()
            start = self._loops.loop_start(int(self._looked_S[lane]), ids)
            if start is not None and lane not in ended:
                ended[lane] = self._sampled(lane, "loop", start)
        full_N = self._counts_S[: len(tokens_N)] >= self._limits_S[: len(tokens_N)]
        for lane in np.flatnonzero(full_N).tolist():
            if lane not in ended:
                ended[lane] = self._sampled(lane, "length", None)
        return ended

    def _sampled(self, lane: int, finish: str, loop_start: int | None) -> Sampled:
        count = int(self._counts_S[lane])
        return Sampled(
            ids=self._ids_ST[lane, :count].tolist(),
            logprobs=self._logprobs_ST[lane, :count].tolist(),
            entropies=self._entropies_ST[lane, :count].tolist(),
            finish="stop" if finish == "stop" else "loop" if finish == "loop" else "length",
            loop_start=loop_start,
        )

    def swap(self, first_N: list[int], second_N: list[int]) -> None:
        """Exchange lanes, pair by pair."""
        to, of = first_N + second_N, second_N + first_N
        for array in (
            self._uniforms_ST,
            self._ids_ST,
            self._logprobs_ST,
            self._entropies_ST,
            self._counts_S,
            self._limits_S,
            self._temperatures_S,
            self._looked_S,
        ):
            array[to] = array[of]
