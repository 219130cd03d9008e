"""The forward pass of a small decoder on a CPU, without what stands between its products.

A tiny model spends most of a pass in the modules around its matrices. Here a layer is its matrices
alone, with the adapter folded in, those of one input stacked, and nothing computed that nobody
reads: while beginnings are fed, no logits, and of the last layer only keys and values. For the
architectures that are built alike; all others run as they are.

Legend: N rows of this pass, W new tokens a row, H heads (Q of queries, K of keys and of values),
D head size, E width, V vocabulary, C columns.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn.functional import linear, scaled_dot_product_attention

from jobs.engine.sampling.merged import COPY_MAX, MergedAdapter, folded_weight
from jobs.engine.sampling.slots import SlotCache, attention_masks

BUILT_ALIKE = frozenset(
    {"LlamaForCausalLM", "MistralForCausalLM", "Qwen2ForCausalLM", "Qwen3ForCausalLM"}
)
_FIXED_ROTATIONS = frozenset({"default", "linear", "llama3"})
"""Those that depend on a token's position alone."""
_WORTH_SPLITTING = 0.8

IntArray = npt.NDArray[np.int64]


class Pass(Protocol):
    """A pass over new tokens, whose keys and values go to the cache, as far as it was aimed."""

    def feed(self, tokens_NW: Tensor, positions_NW: Tensor, cache: SlotCache, columns: int) -> None:
        """Fill the cache."""

    def logits(
        self, tokens_NW: Tensor, positions_NW: Tensor, cache: SlotCache, columns: int
    ) -> Tensor:
        """[N, V], after the last token of each row; the cache is filled, too."""
        ...

    def forget(self) -> None:
        """The weights have changed."""


class ModelPass:
    """The pass that transformers computes."""

    def __init__(self, model: Any) -> None:
        self._model = model
        self._dtype = next(model.parameters()).dtype
        self._adapter = MergedAdapter(model)

    def feed(self, tokens_NW: Tensor, positions_NW: Tensor, cache: SlotCache, columns: int) -> None:
        self.logits(tokens_NW, positions_NW, cache, columns)

    def logits(
        self, tokens_NW: Tensor, positions_NW: Tensor, cache: SlotCache, columns: int
    ) -> Tensor:
        with self._adapter.in_force():
            output = self._model(
                input_ids=tokens_NW,
                attention_mask=attention_masks(
                    self._model.config, positions_NW, columns, self._dtype
                ),
                position_ids=positions_NW,
                past_key_values=cache,
                use_cache=True,
                logits_to_keep=1,
            )
        logits_NV: Tensor = output.logits[:, -1]
        return logits_NV

    def forget(self) -> None:
        self._adapter.forget()


class _Product(NamedTuple):
    """What a layer multiplies with, and adds."""

    weight: Tensor
    bias: Tensor | None

    def __call__(self, x: Tensor) -> Tensor:
        return linear(x, self.weight, self.bias)


class _Layer(NamedTuple):
    before: Tensor
    query_key_value: _Product
    head_norm_HD: Tensor | None
    """For the heads of queries, then those of keys."""
    out: _Product
    after: Tensor
    gate_up: _Product
    down: _Product


class FusedPass:
    """Made by `fused_pass`. Computes without gradients, and as the model does to about 1e-6."""

    def __init__(self, causal: Any, capacity: int) -> None:
        self._model = causal.model
        self._head = causal.lm_head
        self._config = causal.config
        attention = self._model.layers[0].self_attn
        self._size = attention.head_dim
        self._queries = causal.config.num_attention_heads
        self._keys = causal.config.num_key_value_heads
        self._epsilon = float(self._model.norm.variance_epsilon)
        self._act = self._model.layers[0].mlp.act_fn
        kinds = getattr(causal.config, "layer_types", None)
        self._kinds = kinds or ["full_attention"] * len(self._model.layers)
        self._cos_CD, self._sin_CD = _rotations(self._model.rotary_emb, capacity)
        self._layers: list[_Layer] = []
        self._vocabulary_VE = torch.zeros(0)

    def forget(self) -> None:
        self._layers = []

    def _fold(self) -> None:
        self._layers = [self._layer(each) for each in self._model.layers]
        self._vocabulary_VE = folded_weight(self._head)

    def _layer(self, layer: Any) -> _Layer:
        attention, mlp = layer.self_attn, layer.mlp
        return _Layer(
            before=layer.input_layernorm.weight,
            query_key_value=_stacked(attention.q_proj, attention.k_proj, attention.v_proj),
            head_norm_HD=self._head_norm(attention),
            out=_stacked(attention.o_proj),
            after=layer.post_attention_layernorm.weight,
            gate_up=_stacked(mlp.gate_proj, mlp.up_proj),
            down=_stacked(mlp.down_proj),
        )

    def _head_norm(self, attention: Any) -> Tensor | None:
        if not hasattr(attention, "q_norm"):
            return None
        norms = (attention.q_norm.weight, self._queries), (attention.k_norm.weight, self._keys)
        return torch.cat([weight.expand(heads, -1) for weight, heads in norms])

    def feed(self, tokens_NW: Tensor, positions_NW: Tensor, cache: SlotCache, columns: int) -> None:
        self._hidden(tokens_NW, positions_NW, cache, columns, whole=False)

    def logits(
        self, tokens_NW: Tensor, positions_NW: Tensor, cache: SlotCache, columns: int
    ) -> Tensor:
        x_NWE = self._hidden(tokens_NW, positions_NW, cache, columns, whole=True)
        return linear(self._normed(x_NWE[:, -1], self._model.norm.weight), self._vocabulary_VE)

    def _hidden(
        self,
        tokens_NW: Tensor,
        positions_NW: Tensor,
        cache: SlotCache,
        columns: int,
        *,
        whole: bool,
    ) -> Tensor:
        """What the last layer puts out; if it is not `whole`, what the one before it does."""
        if not self._layers:
            self._fold()
        masks = attention_masks(self._config, positions_NW, columns, torch.float32)
        turn = self._cos_CD[positions_NW][:, :, None], self._sin_CD[positions_NW][:, :, None]
        x_NWE: Tensor = self._model.embed_tokens.weight[tokens_NW]
        split = split_by_length(positions_NW[:, -1].numpy() + 1, columns)
        for place, layer in enumerate(self._layers):
            query, key, value = self._heads(layer, x_NWE, turn)
            keys, values = cache.update(key, value, place)
            if not whole and place + 1 == len(self._layers):
                break
            mask = masks[self._kinds[place]] if isinstance(masks, dict) else masks
            seen = _attention(query, keys, values, mask, split)
            x_NWE = layer.out(seen.transpose(1, 2).flatten(2)).add_(x_NWE)
            gate, up = layer.gate_up(self._normed(x_NWE, layer.after)).chunk(2, dim=-1)
            x_NWE = layer.down(self._act(gate).mul_(up)).add_(x_NWE)
        return x_NWE

    def _heads(
        self, layer: _Layer, x_NWE: Tensor, turn: tuple[Tensor, Tensor]
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values, [N, heads, W, D] each; the first two normed and turned."""
        cos, sin = turn
        stacked = layer.query_key_value(self._normed(x_NWE, layer.before))
        both = stacked.view(*stacked.shape[:2], -1, self._size)
        turned = self._queries + self._keys
        qk_NWHD = both[:, :, :turned]
        if layer.head_norm_HD is not None:
            qk_NWHD = self._normed(qk_NWHD, layer.head_norm_HD)
        qk_NWHD = qk_NWHD * cos + qk_NWHD.roll(self._size // 2, -1) * sin
        return (
            qk_NWHD[:, :, : self._queries].transpose(1, 2),
            qk_NWHD[:, :, self._queries :].transpose(1, 2),
            both[:, :, turned:].transpose(1, 2),
        )

    def _normed(self, x: Tensor, weight: Tensor) -> Tensor:
        scale = x.square().mean(-1, keepdim=True).add_(self._epsilon).rsqrt_()
        return (x * scale).mul_(weight)


class Split(NamedTuple):
    """All rows read `columns`; those that need more, the `longer`, read on their own."""

    columns: int
    longer: Tensor


def split_by_length(lengths_N: IntArray, columns: int) -> Split | None:
    """Where one row is long, it must not make all others read as far; None where none is."""
    ordered_N = np.sort(lengths_N)
    longer_N = np.arange(len(ordered_N) - 1, -1, -1)
    # A row that reads on its own is copied first, so its columns count twice.
    costs_N = len(ordered_N) * ordered_N + 2 * columns * longer_N
    best = int(costs_N.argmin())
    if costs_N[best] >= _WORTH_SPLITTING * len(ordered_N) * columns:
        return None
    short = int(ordered_N[best])
    return Split(short, torch.from_numpy(np.flatnonzero(lengths_N > short)))


def _attention(
    query: Tensor, keys: Tensor, values: Tensor, mask_N1WC: Tensor, split: Split | None
) -> Tensor:
    """[N, Q, W, D]."""
    gqa = keys.shape[1] != query.shape[1]
    if split is None:
        return scaled_dot_product_attention(query, keys, values, mask_N1WC, enable_gqa=gqa)
    near, longer = slice(0, split.columns), split.longer
    seen = scaled_dot_product_attention(
        query, keys[:, :, near], values[:, :, near], mask_N1WC[..., near], enable_gqa=gqa
    )
    if len(longer):
        seen[longer] = scaled_dot_product_attention(
            query[longer], keys[longer], values[longer], mask_N1WC[longer], enable_gqa=gqa
        )
    return seen


def fused_pass(model: Any, capacity: int) -> FusedPass | None:
    """For a model with or without a LoRA adapter; None where it must run as it is."""
    causal = model.get_base_model() if hasattr(model, "get_base_model") else model
    if type(causal).__name__ not in BUILT_ALIKE:
        return None
    weights = list(causal.parameters())
    small = sum(weight.nbytes for weight in weights) <= COPY_MAX
    plain = all(weight.dtype is torch.float32 and not weight.is_cuda for weight in weights)
    fixed = causal.model.rotary_emb.rope_type in _FIXED_ROTATIONS
    usual = (
        type(causal.model.embed_tokens) is nn.Embedding
        and not getattr(causal.config, "pretraining_tp", 1) > 1
    )
    return FusedPass(causal, capacity) if small and plain and fixed and usual else None


def _stacked(*parts: Any) -> _Product:
    """The products of one input as a single one."""
    biases = [getattr(part, "base_layer", part).bias for part in parts]
    widths = [getattr(part, "base_layer", part).out_features for part in parts]
    given = any(bias is not None for bias in biases)
    bias = torch.cat(
        [
            torch.zeros(width) if each is None else each
            for each, width in zip(biases, widths, strict=True)
        ]
    )
    return _Product(torch.cat([folded_weight(part) for part in parts]), bias if given else None)


def _rotations(rotary: Any, capacity: int) -> tuple[Tensor, Tensor]:
    """Cosines, and sines of which the first half is negative, so that halves just change places."""
    with torch.no_grad():
        cos_1CD, sin_1CD = rotary(torch.zeros(1), torch.arange(capacity)[None])
    first, second = sin_1CD[0].chunk(2, dim=-1)
    return cos_1CD[0], torch.cat([-first, second], dim=-1)
