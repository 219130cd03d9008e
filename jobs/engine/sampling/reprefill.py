"""The decoder for models whose cache cannot be slotted (linear attention, state spaces, chunks).

Every turn is computed from its first token, in batches padded on the left, as transformers itself
does it. Slower, and right for every model that transformers can generate with.

Legend: N rows, W prompt columns, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from transformers.cache_utils import DynamicCache

from jobs.engine.sampling.base import Sampled, SampleRequest
from jobs.engine.sampling.draw import draw
from jobs.engine.sampling.lanes import Lanes
from jobs.engine.sampling.merged import MergedAdapter

IntArray = npt.NDArray[np.int64]


class ReprefillDecoder:
    """The same face as `SlotDecoder`; new requests wait until the batch in hand has ended."""

    def __init__(
        self,
        model: Any,
        *,
        stop_ids: Sequence[int],
        slots: int,
        capacity: int,
        device: torch.device,
    ) -> None:
        self._model = model
        self._adapter = MergedAdapter(model)
        self._device = device
        self._stop_ids = stop_ids
        self._slots = slots
        self.capacity = capacity
        self._waiting: list[tuple[int, SampleRequest]] = []
        self._keys: list[int] = []
        self._open: set[int] = set()
        self._lanes = Lanes(slots, stop_ids)
        self._cache: DynamicCache | None = None
        self._next_NW: IntArray = np.zeros((0, 0), dtype=np.int64)
        self._seen_NC: IntArray = np.zeros((0, 0), dtype=np.int64)

    @property
    def active(self) -> int:
        return len(self._open) + len(self._waiting)

    @property
    def free(self) -> int:
        return self._slots - self.active

    def forget(self) -> None:
        """Nothing outlives a batch."""
        if self.active:
            raise RuntimeError("the weights changed while rollouts were being sampled")
        self._adapter.forget()

    def abort(self) -> None:
        """Give up everything, after a pass that failed half-way."""
        self._waiting.clear()
        self._open.clear()

    def admit(self, requests: Sequence[tuple[int, SampleRequest]]) -> None:
        """Take in requests, each under a key, no more than `free`."""
        self._waiting.extend(requests)

    def drop(self, keys: set[int]) -> None:
        """Give up turns that nobody waits for any more."""
        self._waiting = [entry for entry in self._waiting if entry[0] not in keys]
        self._open -= keys

    @torch.inference_mode()
    def step(self) -> list[tuple[int, Sampled]]:
        """Sample one token for every row of the batch; returns the turns that ended, by key."""
        if not self._open:
            self._begin()
        if not self._open:
            return []
        logits_NV = self._forward()
        temperatures_N, uniforms_N = self._lanes.next_draws(len(self._keys))
        drawn = draw(
            logits_NV,
            torch.from_numpy(temperatures_N).to(self._device, torch.float32),
            torch.from_numpy(uniforms_N).to(self._device),
        )
        new_N, logprobs_N, entropies_N = (part.cpu().numpy() for part in drawn)
        self._next_NW = new_N[:, None]
        self._seen_NC = np.pad(self._seen_NC, ((0, 0), (0, 1)), constant_values=1)
        ended = self._lanes.push(new_N, logprobs_N, entropies_N)
        results = [(self._keys[row], sampled) for row, sampled in sorted(ended.items())]
        return [entry for entry in results if self._close(entry[0])]

    def _close(self, key: int) -> bool:
        if key not in self._open:
            return False
        self._open.discard(key)
        return True

    def _begin(self) -> None:
        batch, self._waiting = self._waiting, []
        self._keys = [key for key, _ in batch]
        self._open = set(self._keys)
        if not batch:
            return
        # A row that has ended stays in the batch: each lane may go on to the longest limit.
        longest = max(request.max_tokens for _, request in batch)
        self._lanes = Lanes(self._slots, self._stop_ids)
        self._lanes.reserve(longest + 1)
        width = max(len(request.ids) for _, request in batch)
        self._next_NW = np.zeros((len(batch), width), dtype=np.int64)
        self._seen_NC = np.zeros((len(batch), width), dtype=np.int64)
        for row, (_, request) in enumerate(batch):
            self._next_NW[row, width - len(request.ids) :] = request.ids
            self._seen_NC[row, width - len(request.ids) :] = 1
            self._lanes.begin(row, request)
        self._cache = DynamicCache(config=self._model.config)

    def _forward(self) -> torch.Tensor:
        width = self._next_NW.shape[1]
        positions_NC = np.maximum(self._seen_NC.cumsum(axis=1) - 1, 0)
        with self._adapter.in_force():
            output = self._model(
                input_ids=torch.from_numpy(self._next_NW).to(self._device),
                attention_mask=torch.from_numpy(self._seen_NC).to(self._device),
                position_ids=torch.from_numpy(positions_NC[:, -width:].copy()).to(self._device),
                past_key_values=self._cache,
                use_cache=True,
                logits_to_keep=1,
            )
        logits_NV: torch.Tensor = output.logits[:, -1]
        return logits_NV
