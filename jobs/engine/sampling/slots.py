"""A key-value cache of slots: each row of the batch owns one, of any length, without padding.

Position p of a row lies in column p of its slot. A forward pass writes each row's new tokens at
their own positions and reads columns 0..C; the mask hides what lies after a token's position. So
rows of different lengths share a batch, and a finished conversation stays until its slot is
needed, for its next turn or for a sibling with the same beginning.

Legend: S slots, N rows of this pass, H key-value heads, W new tokens a row, C columns, D head size.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
import torch
from transformers import PretrainedConfig
from transformers.cache_utils import Cache

Mask = TypeVar("Mask")

_MIXED_TYPES = frozenset({"full_attention", "sliding_attention"})
_COLUMN_STEP = 32


class SlotCache(Cache):
    """What a model sees as its cache. `aim` says which rows and positions come next."""

    def __init__(self, slots: int, capacity: int, device: torch.device) -> None:
        super().__init__(layers=[])
        self.slots = slots
        self.capacity = capacity
        self._device = device
        self._keys_SHCD: list[torch.Tensor] = []
        self._values_SHCD: list[torch.Tensor] = []
        self._rows_N = torch.zeros(0, dtype=torch.long)
        self._positions_NW = torch.zeros(0, 0, dtype=torch.long)
        self._columns = 0
        self._leading = False

    def aim(self, rows_N: torch.Tensor, positions_NW: torch.Tensor, columns: int) -> None:
        """Set where the next pass writes, and how many columns it reads."""
        self._rows_N = rows_N
        self._positions_NW = positions_NW
        self._columns = columns
        self._leading = bool((rows_N == torch.arange(len(rows_N), device=self._device)).all())

    def update(
        self,
        key_states: torch.Tensor,
        value_states: torch.Tensor,
        layer_idx: int,
        *_args: Any,
        **_kwargs: Any,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Write the new keys and values, and hand back all that the rows may look at."""
        while len(self._keys_SHCD) <= layer_idx:
            self._keys_SHCD.append(self._empty(key_states))
            self._values_SHCD.append(self._empty(value_states))
        return (
            self._write(self._keys_SHCD[layer_idx], key_states),
            self._write(self._values_SHCD[layer_idx], value_states),
        )

    def _empty(self, like_NHWD: torch.Tensor) -> torch.Tensor:
        shape = (self.slots, like_NHWD.shape[1], self.capacity, like_NHWD.shape[3])
        if like_NHWD.dtype is torch.float32 and not like_NHWD.is_cuda:
            # The system gives numpy's zeros as they are touched: slots that no rollout ever needs
            # take no memory.
            return torch.from_numpy(np.zeros(shape, dtype=np.float32))
        return torch.zeros(shape, dtype=like_NHWD.dtype, device=like_NHWD.device)

    def _write(self, store_SHCD: torch.Tensor, new_NHWD: torch.Tensor) -> torch.Tensor:
        store_SHCD[self._rows_N[:, None], :, self._positions_NW] = new_NHWD.transpose(1, 2)
        seen_SHCD = store_SHCD[:, :, : self._columns]
        if self._leading:
            return seen_SHCD[: len(self._rows_N)]
        return seen_SHCD.index_select(0, self._rows_N)

    def copy_prefix(self, source: int, target: int, length: int) -> None:
        """Give `target` the first `length` columns of `source`."""
        for store_SHCD in (*self._keys_SHCD, *self._values_SHCD):
            store_SHCD[target, :, :length] = store_SHCD[source, :, :length]

    def swap(self, first_N: list[int], second_N: list[int], columns_N: list[int]) -> None:
        """Exchange the first columns of slots, pair by pair."""
        if self._device.type != "cpu":
            self._swap_at_once(first_N, second_N, max(columns_N))
            return
        for store_SHCD in (*self._keys_SHCD, *self._values_SHCD):
            for first, second, columns in zip(first_N, second_N, columns_N, strict=True):
                one_HCD, other_HCD = store_SHCD[first, :, :columns], store_SHCD[second, :, :columns]
                kept_HCD = one_HCD.clone()
                one_HCD.copy_(other_HCD)
                other_HCD.copy_(kept_HCD)

    def _swap_at_once(self, first_N: list[int], second_N: list[int], columns: int) -> None:
        """In few kernels, each of which takes longer to start than to run."""
        to = torch.tensor(first_N + second_N, device=self._device)
        of = torch.tensor(second_N + first_N, device=self._device)
        for store_SHCD in (*self._keys_SHCD, *self._values_SHCD):
            seen_SHCD = store_SHCD[:, :, :columns]
            seen_SHCD[to] = seen_SHCD[of]

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """The columns that the current pass reads."""
        return self._columns


def layer_kinds(config: PretrainedConfig) -> frozenset[str]:
    """The kinds of layer that a model's configuration names; empty where it names none."""
    return frozenset(getattr(config, "layer_types", None) or ())


def can_use_slots(config: PretrainedConfig) -> bool:
    """Whether all layers are plain or sliding-window attention, whose cache is by position."""
    return layer_kinds(config) <= _MIXED_TYPES


def round_columns(needed: int, capacity: int) -> int:
    """A few more columns than needed, so that shapes repeat from one pass to the next."""
    return min(-(-needed // _COLUMN_STEP) * _COLUMN_STEP, capacity)


def attention_masks(
    config: PretrainedConfig, positions_NW: torch.Tensor, columns: int, dtype: torch.dtype
) -> torch.Tensor | dict[str, torch.Tensor]:
    """Additive masks: a token sees the columns up to its own, within the window if there is one."""
    columns_C = torch.arange(columns, device=positions_NW.device)

    def make(window: int | None) -> torch.Tensor:
        seen_NWC = columns_C <= positions_NW[:, :, None]
        if window is not None:
            seen_NWC &= columns_C > positions_NW[:, :, None] - window
        return additive_mask(seen_NWC, dtype)

    return masks_by_layer(config, make)


def masks_by_layer(
    config: PretrainedConfig, make: Callable[[int | None], Mask]
) -> Mask | dict[str, Mask]:
    """The mask of all layers, or one by each kind of layer where some have a window.

    `make` gives the mask for a window, or for none.
    """
    window = getattr(config, "sliding_window", None)
    kinds = layer_kinds(config)
    if not window or (kinds and "sliding_attention" not in kinds):
        return make(None)
    if not kinds:
        return make(window)
    return {"full_attention": make(None), "sliding_attention": make(window)}


def additive_mask(seen_NWC: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """[N, 1, W, C]: 0 where a token sees a column, else the lowest number."""
    mask_NWC = torch.zeros(seen_NWC.shape, dtype=dtype, device=seen_NWC.device)
    mask_NWC.masked_fill_(~seen_NWC, torch.finfo(dtype).min)
    return mask_NWC[:, None]
