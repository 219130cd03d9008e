"""The adapter folded into the weights while turns are sampled; the model itself stays as it is.

A LoRA layer computes five small products where one does. For a tiny model on a CPU that is a third
of a pass; for a large one the copy would cost more than it saves, and in bf16 it would round the
adapter away.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from peft.tuners.lora import Linear as LoraLinear
from torch import Tensor
from torch.nn.functional import linear

COPY_MAX = 256 << 20
"""Bytes of all merged weights."""


class MergedAdapter:
    """Merged copies of a model's LoRA layers, made anew after each change of weights."""

    def __init__(self, model: Any) -> None:
        found = [module for module in model.modules() if isinstance(module, LoraLinear)]
        weights: list[Tensor] = [_base_weight(module) for module in found]
        plain = all(weight.dtype is torch.float32 and not weight.is_cuda for weight in weights)
        small = sum(weight.nbytes for weight in weights) <= COPY_MAX
        self._layers: list[Any] = found if plain and small else []
        self._merged: list[Tensor] = []

    def forget(self) -> None:
        self._merged = []

    @contextmanager
    def in_force(self) -> Iterator[None]:
        """Without gradients only."""
        if not self._merged:
            self._merged = [folded_weight(layer) for layer in self._layers]
        for layer, weight in zip(self._layers, self._merged, strict=True):
            layer.forward = partial(linear, weight=weight, bias=layer.get_base_layer().bias)
        try:
            yield
        finally:
            for layer in self._layers:
                del layer.forward


def _base_weight(layer: Any) -> Tensor:
    weight: Tensor = layer.get_base_layer().weight
    return weight


@torch.no_grad()
def folded_weight(layer: Any) -> Tensor:
    """The weight of a linear layer, with its adapter if it has one.

    Summed in double precision, so that the only error is that of rounding once.
    """
    if not isinstance(layer, LoraLinear):
        plain: Tensor = layer.weight.detach()
        return plain
    weight = _base_weight(layer).double()
    for name in layer.active_adapters:
        down: Any = layer.lora_A[name]
        up: Any = layer.lora_B[name]
        weight = weight + layer.scaling[name] * (up.weight.double() @ down.weight.double())
    rounded: Tensor = weight.float()
    return rounded
