"""The fused pass computes what the model computes, for every architecture that it takes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import (
    Gemma2Config,
    Gemma2ForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from jobs.engine.sampling import fused
from jobs.engine.sampling.fused import ModelPass, fused_pass, split_by_length
from jobs.engine.sampling.slots import SlotCache
from tests.engine.sampling.test_sampling_local import SIZES

torch.set_num_threads(1)
CAPACITY = 256
LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 10000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}
YARN = {"rope_type": "yarn", "rope_theta": 10000.0, "factor": 4.0}
MODELS = {
    "qwen3": lambda: Qwen3ForCausalLM(Qwen3Config(**SIZES)),
    "qwen3, tied": lambda: Qwen3ForCausalLM(Qwen3Config(**SIZES, tie_word_embeddings=True)),
    "qwen2, biases": lambda: Qwen2ForCausalLM(Qwen2Config(**SIZES)),
    "llama": lambda: LlamaForCausalLM(LlamaConfig(**SIZES)),
    "llama, biases everywhere": lambda: LlamaForCausalLM(
        LlamaConfig(**SIZES, attention_bias=True, mlp_bias=True)
    ),
    "llama, stretched": lambda: LlamaForCausalLM(LlamaConfig(**SIZES, rope_parameters=LLAMA3)),
    "mistral": lambda: MistralForCausalLM(MistralConfig(**SIZES, sliding_window=None)),
    "mistral, window": lambda: MistralForCausalLM(MistralConfig(**SIZES, sliding_window=6)),
    "qwen3, both kinds": lambda: Qwen3ForCausalLM(
        Qwen3Config(
            **SIZES,
            use_sliding_window=True,
            sliding_window=6,
            layer_types=["sliding_attention", "full_attention"],
        )
    ),
}


def make(name):
    """With weights, biases and an adapter that all differ from their beginnings."""
    torch.manual_seed(0)
    model = get_peft_model(
        MODELS[name](), LoraConfig(r=4, lora_alpha=8, target_modules="all-linear")
    ).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape))
    return model


@torch.no_grad()
def passes(each, lengths=(20, 9, 33, 21)):
    """Beginnings in one pass, the last row from its middle, and then two tokens a row."""
    generator = torch.Generator().manual_seed(1)
    cache = SlotCache(6, CAPACITY, torch.device("cpu"))
    rows, ends = torch.tensor([4, 1, 0, 2]), torch.tensor(lengths)
    positions = torch.arange(max(lengths))[None].repeat(len(lengths), 1)
    tokens = torch.randint(2, 64, positions.shape, generator=generator)
    cache.aim(rows, positions, 64)
    each.feed(tokens, positions, cache, 64)
    found = []
    for step in range(2):
        places = (ends + step)[:, None]
        cache.aim(rows, places, 64)
        found.append(each.logits(tokens[:, step : step + 1], places, cache, 64))
    return torch.stack(found)


@pytest.mark.parametrize("name", MODELS)
def test_it_is_the_model_s_own_pass(name):
    model = make(name)
    ours, theirs = passes(fused_pass(model, CAPACITY)), passes(ModelPass(model))
    assert float((ours - theirs).abs().max()) <= 1e-5 * float(theirs.abs().max())


def test_rows_that_are_split_by_length_come_to_the_same(monkeypatch):
    model = make("qwen3")
    splits = []

    def noted(*args):
        splits.append(split_by_length(*args))
        return splits[-1]

    monkeypatch.setattr(fused, "split_by_length", noted)
    lengths = (3, 4, 60, 5)
    ours, theirs = passes(fused_pass(model, CAPACITY), lengths), passes(ModelPass(model), lengths)
    assert [split and split.columns for split in splits] == [None, 6, 7]
    assert [split.longer.tolist() for split in splits[1:]] == [[2], [2]]
    assert float((ours - theirs).abs().max()) <= 1e-5 * float(theirs.abs().max())


@pytest.mark.parametrize(
    ("lengths", "columns", "short", "longer"),
    [
        ([100, 100, 100, 100], 128, 100, []),
        ([10, 10, 10, 100], 128, 10, [3]),
        ([100, 10, 12, 100, 11, 10, 10, 10], 128, 12, [0, 3]),
    ],
)
def test_the_split_reads_the_fewest_columns(lengths, columns, short, longer):
    split = split_by_length(np.array(lengths), columns)
    assert (split.columns, split.longer.tolist()) == (short, longer)


def test_rows_of_like_length_are_not_split():
    assert split_by_length(np.array([100, 110, 120, 126]), 128) is None


def test_new_weights_count_once_it_was_told():
    model = make("qwen3")
    each = fused_pass(model, CAPACITY)
    before = passes(each)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.mul_(-2)
    assert torch.equal(passes(each), before)
    each.forget()
    after, theirs = passes(each), passes(ModelPass(model))
    assert float((after - theirs).abs().max()) <= 1e-5 * float(theirs.abs().max())
    assert not torch.equal(after, before)


def test_other_models_run_as_they_are(monkeypatch):
    kinds = ["sliding_attention", "full_attention"]
    gemma = Gemma2ForCausalLM(Gemma2Config(**SIZES, sliding_window=6, layer_types=kinds))
    stretched = LlamaForCausalLM(LlamaConfig(**SIZES, rope_parameters=YARN))
    halved = make("qwen3").to(torch.bfloat16)
    assert [fused_pass(model, CAPACITY) for model in (gemma, stretched, halved)] == [None] * 3
    large = make("qwen3")
    monkeypatch.setattr(fused, "COPY_MAX", 1000)
    assert fused_pass(large, CAPACITY) is None
