"""Decodes many turns in one batch over a slot cache. Synchronous; `local.py` gives it a thread.

Legend: S slots, N active rows (always slots 0..N-1), C columns, W tokens of a chunk, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from jobs.engine.sampling.base import Sampled, SampleRequest
from jobs.engine.sampling.draw import draw
from jobs.engine.sampling.fused import ModelPass, Pass, fused_pass
from jobs.engine.sampling.lanes import Lanes
from jobs.engine.sampling.slots import SlotCache, round_columns

IntArray = npt.NDArray[np.int64]

_CHUNK_WIDTH = 512
_PASS_TOKENS = 4096
_WORTH_WAITING = 16


class SlotDecoder:
    """Admits requests, feeds what is new of them, then samples one token a row a step.

    A request goes on in the slot that holds the longest beginning of it: its own earlier turn, or
    a copy of a sibling's. Requests that share a beginning not yet computed wait for the first of
    them, so that it is computed once.
    """

    def __init__(
        self,
        model: Any,
        *,
        stop_ids: Sequence[int],
        slots: int,
        capacity: int,
        device: torch.device,
    ) -> None:
        self._pass: Pass = fused_pass(model, capacity) or ModelPass(model)
        self._device = device
        self._cache = SlotCache(slots, capacity, device)
        self._lanes = Lanes(slots, stop_ids)
        self.capacity = capacity
        self._tokens_SC: IntArray = np.full((slots, capacity + 1), -1, dtype=np.int64)
        self._cached_S: IntArray = np.zeros(slots, dtype=np.int64)
        self._known_S: IntArray = np.zeros(slots, dtype=np.int64)
        self._used_S: IntArray = np.zeros(slots, dtype=np.int64)
        self._keys_S: list[int | None] = [None] * slots
        self._active = 0
        self._clock = 0

    @property
    def active(self) -> int:
        return self._active

    @property
    def free(self) -> int:
        return len(self._keys_S) - self._active

    def forget(self) -> None:
        """Drop every cached beginning; the weights are new."""
        if self._active:
            raise RuntimeError("the weights changed while rollouts were being sampled")
        self._pass.forget()
        self._cached_S[:] = 0
        self._known_S[:] = 0
        self._used_S[:] = 0
        self._clock = 0

    def abort(self) -> None:
        """Give up everything, after a pass that failed half-way."""
        self._active = 0
        self._keys_S = [None] * len(self._keys_S)
        self.forget()

    @torch.inference_mode()
    def admit(self, requests: Sequence[tuple[int, SampleRequest]]) -> None:
        """Take in requests, each under a key, no more than `free`."""
        waiting = list(requests)
        busy = np.zeros(len(self._keys_S), dtype=bool)
        busy[: self._active] = True
        while waiting:
            later: list[tuple[int, SampleRequest]] = []
            placed: list[int] = []
            for key, request in waiting:
                slot = self._place(request, busy)
                if slot is None:
                    later.append((key, request))
                    continue
                self._keys_S[slot] = key
                self._lanes.begin(slot, request)
                placed.append(slot)
            self._prefill(placed)
            waiting = later
        self._gather(busy)

    def _place(self, request: SampleRequest, busy: npt.NDArray[np.bool_]) -> int | None:
        """A slot for the request, holding what is known of it; None: wait for a sibling."""
        ids = np.asarray(request.ids, dtype=np.int64)
        usable = len(ids) - 1
        same_SC = self._tokens_SC[:, :usable] == ids[:usable]
        common_S = np.where(same_SC.all(axis=1), usable, same_SC.argmin(axis=1) if usable else 0)
        ready_S = np.minimum(common_S, self._cached_S)
        source = int(ready_S.argmax())
        ready = int(ready_S[source])
        if int(np.minimum(common_S, self._known_S).max()) >= ready + _WORTH_WAITING:
            return None
        continues = not busy[source] and ready == self._cached_S[source]
        slot = source if continues else self._victim(busy)
        if slot != source and ready:
            self._cache.copy_prefix(source, slot, ready)
        self._tokens_SC[slot, : len(ids)] = ids
        self._tokens_SC[slot, len(ids) :] = -1
        self._cached_S[slot] = ready
        self._known_S[slot] = usable
        busy[slot] = True
        return slot

    def _victim(self, busy: npt.NDArray[np.bool_]) -> int:
        """The idle slot that was used longest ago; empty ones come first."""
        age_S = np.where(self._cached_S == 0, -1, self._used_S)
        return int(np.where(busy, np.iinfo(np.int64).max, age_S).argmin())

    def _prefill(self, slots: list[int]) -> None:
        """Feed all tokens but the last of each slot, longest first, in passes of bounded size."""
        todo = sorted(slots, key=lambda slot: (self._cached_S[slot] - self._known_S[slot], slot))
        todo = [slot for slot in todo if self._cached_S[slot] < self._known_S[slot]]
        while todo:
            longest = int((self._known_S[todo] - self._cached_S[todo]).max())
            width = min(longest, _CHUNK_WIDTH)
            rows = todo[: max(1, _PASS_TOKENS // width)]
            self._feed(np.asarray(rows), width)
            todo = [slot for slot in todo if self._cached_S[slot] < self._known_S[slot]]

    def _feed(self, slots_N: IntArray, width: int) -> None:
        starts_N = self._cached_S[slots_N]
        positions_NW = np.minimum(starts_N[:, None] + np.arange(width), self.capacity - 1)
        tokens_NW = self._tokens_SC[slots_N[:, None], positions_NW]
        self._pass.feed(*self._aim(slots_N, np.maximum(tokens_NW, 0), positions_NW))
        self._cached_S[slots_N] = np.minimum(starts_N + width, self._known_S[slots_N])

    def _aim(
        self, slots_N: IntArray, tokens_NW: IntArray, positions_NW: IntArray
    ) -> tuple[torch.Tensor, torch.Tensor, SlotCache, int]:
        """Point the cache at these rows and columns; what a pass is called with."""
        columns = round_columns(int(positions_NW.max()) + 1, self.capacity)
        positions = torch.from_numpy(positions_NW).to(self._device)
        self._cache.aim(torch.from_numpy(slots_N).to(self._device), positions, columns)
        return torch.from_numpy(tokens_NW).to(self._device), positions, self._cache, columns

    @torch.inference_mode()
    def step(self) -> list[tuple[int, Sampled]]:
        """Sample one token for every active row; returns the turns that ended, by key."""
        lanes_N = np.arange(self._active)
        positions_N = self._cached_S[: self._active].copy()
        tokens_N = self._tokens_SC[lanes_N, positions_N]
        aimed = self._aim(lanes_N, tokens_N[:, None], positions_N[:, None])
        logits_NV = self._pass.logits(*aimed)
        temperatures_N, uniforms_N = self._lanes.next_draws(self._active)
        drawn = draw(
            logits_NV,
            torch.from_numpy(temperatures_N).to(self._device, torch.float32),
            torch.from_numpy(uniforms_N).to(self._device),
        )
        new_N, logprobs_N, entropies_N = (part.cpu().numpy() for part in drawn)
        self._cached_S[: self._active] += 1
        self._tokens_SC[lanes_N, positions_N + 1] = new_N
        self._known_S[: self._active] = self._cached_S[: self._active]
        ended = self._lanes.push(new_N, logprobs_N, entropies_N)
        return self._release(ended) if ended else []

    def _release(self, ended: dict[int, Sampled]) -> list[tuple[int, Sampled]]:
        results = [(self._key(slot), sampled) for slot, sampled in sorted(ended.items())]
        self._retire(list(ended))
        return results

    def drop(self, keys: set[int]) -> None:
        """Give up turns that nobody waits for any more."""
        slots = [slot for slot in range(self._active) if self._keys_S[slot] in keys]
        if slots:
            self._retire(slots)

    def _key(self, slot: int) -> int:
        key = self._keys_S[slot]
        if key is None:
            raise RuntimeError(f"slot {slot} is sampled for nobody")
        return key

    def _retire(self, slots: list[int]) -> None:
        busy = np.zeros(len(self._keys_S), dtype=bool)
        busy[: self._active] = True
        self._clock += 1
        for slot in slots:
            busy[slot] = False
            self._keys_S[slot] = None
            self._used_S[slot] = self._clock
        self._gather(busy)

    def _gather(self, busy: npt.NDArray[np.bool_]) -> None:
        """Move the busy slots to the front, so that a step reads one block of memory."""
        self._active = int(busy.sum())
        holes = np.flatnonzero(~busy[: self._active]).tolist()
        strays = (np.flatnonzero(busy[self._active :]) + self._active).tolist()
        if not holes:
            return
        columns_N = np.maximum(self._cached_S[holes], self._cached_S[strays])
        self._cache.swap(holes, strays, columns_N.tolist())
        self._lanes.swap(holes, strays)
        to, of = holes + strays, strays + holes
        for array in (self._tokens_SC, self._cached_S, self._known_S, self._used_S):
            array[to] = array[of]
        for hole, stray in zip(holes, strays, strict=True):
            self._keys_S[hole], self._keys_S[stray] = self._keys_S[stray], self._keys_S[hole]
