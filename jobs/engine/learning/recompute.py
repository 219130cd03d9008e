"""Activations that would not fit are computed again on the way back, layer by layer."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from torch.utils.checkpoint import checkpoint
from transformers.modeling_layers import GradientCheckpointingLayer

ROOM_SHARE = 0.5
"""Of what is free when the learner is made; gradients and the head need some of it too."""


def activation_bytes(config: Any, tokens: int, width: int) -> int:
    """What a forward pass keeps for the way back; an estimate. `width`: bytes of a number.

    A layer keeps about twelve vectors of the hidden size (norms, queries, keys, values, outputs,
    residuals) and five of the size between (gate, up, activation, product, down's input).
    """
    between = getattr(config, "intermediate_size", None) or 4 * config.hidden_size
    numbers = 12 * int(config.hidden_size) + 5 * int(between)
    return tokens * int(config.num_hidden_layers) * numbers * width


@contextmanager
def recomputed(model: Any) -> Iterator[None]:
    """Every layer of the model keeps its input alone. What it computes is the same to the bit.

    Only the layers themselves are put into training mode, as transformers asks of them, and nothing
    in them: no module may behave differently in sampling and in training.
    """
    layers = [each for each in model.modules() if isinstance(each, GradientCheckpointingLayer)]
    before = [(layer.gradient_checkpointing, layer.training) for layer in layers]
    for layer in layers:
        recompute: Any = partial(checkpoint, use_reentrant=False)
        layer._gradient_checkpointing_func = recompute
        layer.gradient_checkpointing, layer.training = True, True
    try:
        yield
    finally:
        for layer, (gradient_checkpointing, training) in zip(layers, before, strict=True):
            layer.gradient_checkpointing, layer.training = gradient_checkpointing, training
