"""Tree attention: the scores that a trie needs and no others, with SDPA's results."""

from __future__ import annotations

import random
from types import SimpleNamespace

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import (
    Gemma2Config,
    Gemma2ForCausalLM,
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from jobs.engine.learning import logprobs, tree, tree_attention
from jobs.engine.learning.logprobs import attention_of, token_logprobs, tree_logprobs
from jobs.engine.learning.packing import pack
from jobs.engine.learning.recompute import recomputed
from jobs.engine.learning.tree import build_tree
from jobs.engine.learning.tree_attention import segment_pairs, tree_mask
from tests.engine.learning.test_learning_tree import siblings, turns

torch.set_num_threads(1)


def trie(*rollouts):
    """Ends and positions of each place of the row."""
    paths = tree.trie_paths([tree.np.array(ids) for ids in sorted(rollouts)])
    size = paths[-1][-1] + 1
    ends_T, positions_T = torch.zeros(2, size, dtype=torch.long)
    for path_L in paths:
        ends_T[path_L] = int(path_L[-1]) + 1
        positions_T[path_L] = torch.arange(len(path_L))
    return ends_T, positions_T


FORK = trie([1, 2, 3, 4, 5], [1, 2, 3, 6, 7, 8])
"""Three shared tokens, then a branch of two and one of three."""


def wide():
    """Two trees, of which one branches at once and again later."""
    source = random.Random(4)
    start = [source.randrange(9) for _ in range(40)]
    rollouts = [
        start[:cut] + [20 + i, *(source.randrange(9) for _ in range(3 + 5 * i))]
        for i, cut in enumerate((40, 40, 25, 25, 7, 1))
    ]
    return trie(*rollouts, [30, 31, 32], [30, 31, 33, 34])


def seen(ends_T, positions_T, window=None):
    row = SimpleNamespace(ends_T=ends_T, positions_T=positions_T, ids_T=ends_T)
    return tree.dense_mask(row, window, dtype=torch.float32)


def computed(ends_T, positions_T, window):
    """How often each query's score of each key is computed, and kept."""
    count_TT = torch.zeros(len(ends_T), len(ends_T), dtype=torch.long)
    for queries, keys, causal, mask_QK in segment_pairs(tree_mask(ends_T, positions_T, window)):
        part_QK = torch.ones_like(count_TT[queries, keys])
        if mask_QK is not None:
            part_QK = (mask_QK == 0).long()
        count_TT[queries, keys] += part_QK.tril() if causal else part_QK
    return count_TT


def test_a_segment_meets_itself_causally_and_its_followers_without_a_mask():
    found = [(*pair[:3], pair.mask_QK) for pair in segment_pairs(tree_mask(*FORK, None))]
    assert found == [
        (slice(0, 3), slice(0, 3), True, None),
        (slice(3, 8), slice(0, 3), False, None),
        (slice(3, 5), slice(3, 5), True, None),
        (slice(5, 8), slice(5, 8), True, None),
    ]


@pytest.mark.parametrize("window", [None, 1, 2, 7, 33, 500])
def test_every_token_meets_each_of_its_ancestors_within_the_window_once(window):
    assert torch.equal(computed(*wide(), window), (seen(*wide(), window)[0, 0] == 0).long())


def test_keys_that_no_query_reaches_are_left_out():
    ends_T, positions_T = trie(list(range(10)), [*range(8), 20, 21, 22])
    found = [pair[:2] for pair in segment_pairs(tree_mask(ends_T, positions_T, 3))]
    assert (slice(8, 13), slice(6, 8)) in found
    ends_T, positions_T = trie([1, 2], [1, 3])
    found = [pair[:2] for pair in segment_pairs(tree_mask(ends_T, positions_T, 1))]
    assert found == [(slice(0, 1), slice(0, 1)), (slice(1, 2), slice(1, 2)), (slice(2, 3),) * 2]


def test_a_window_that_cuts_nothing_needs_no_mask():
    assert all(pair.mask_QK is None for pair in segment_pairs(tree_mask(*FORK, 6)))
    assert any(pair.mask_QK is not None for pair in segment_pairs(tree_mask(*FORK, 5)))


def results(attention, mask, *, value_size=16):
    """Output and the gradients of queries, keys and values, of four heads in two groups."""
    length = 144
    source = torch.Generator().manual_seed(5)
    query, key, value = (
        torch.randn(1, length, heads, size, generator=source).transpose(1, 2).requires_grad_()
        for heads, size in ((4, 16), (2, 16), (2, value_size))
    )
    out = attention(
        SimpleNamespace(num_key_value_groups=2), query, key, value, mask, scaling=0.3, dropout=0.0
    )[0]
    weight = torch.randn(out.shape, generator=source)
    return out, *torch.autograd.grad((out * weight).sum(), (query, key, value))


@pytest.mark.parametrize("window", [None, 2, 7, 33])
@pytest.mark.parametrize("value_size", [16, 8])
def test_results_and_gradients_are_those_of_sdpa(window, value_size):
    sdpa = tree_attention.AttentionInterface()["sdpa"]
    expected = results(sdpa, seen(*wide(), window), value_size=value_size)
    mask = tree_mask(*wide(), window)
    found = results(tree_attention.tree_attention, mask, value_size=value_size)
    for one, other in zip(found, expected, strict=True):
        assert one.shape == other.shape
        assert (one - other).norm() <= 2e-6 * other.norm()


SIZES = {
    "vocab_size": 256,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
}
MODELS = {
    "qwen3": (Qwen3ForCausalLM, Qwen3Config(**SIZES)),
    "llama": (LlamaForCausalLM, LlamaConfig(**SIZES)),
    "mistral": (MistralForCausalLM, MistralConfig(**SIZES, sliding_window=9)),
    "gemma3": (
        Gemma3ForCausalLM,
        Gemma3TextConfig(
            **SIZES,
            sliding_window=9,
            layer_types=["sliding_attention", "full_attention", "sliding_attention"],
        ),
    ),
}


def make_model(kind, config):
    with torch.random.fork_rng():
        torch.manual_seed(7)
        base = kind(config).requires_grad_(False)
        for parameter in base.parameters():
            if parameter.dim() == 2:
                torch.nn.init.normal_(parameter, std=0.15)
        lora = LoraConfig(r=4, target_modules="all-linear", init_lora_weights=False)
        return get_peft_model(base, lora).eval()


def gradient(model, score, batch):
    """Of the sum of the log-probabilities by advantages."""
    model.zero_grad()
    logprobs_N, _ = score(batch)
    (logprobs_N * batch.advantages_N).sum().backward()
    return torch.cat([p.grad.flatten() for p in model.parameters() if p.requires_grad])


def gradients(model, members):
    """Of one tree and of the padded form."""
    (padded,) = pack(members, token_budget=100_000)
    return (
        gradient(
            model, lambda row: tree_logprobs(model, row, temperature=0.7), build_tree(members)
        ),
        gradient(
            model, lambda b: token_logprobs(model, b.ids_BT, b.mask_BT, temperature=0.7), padded
        ),
    )


@pytest.fixture
def calls(monkeypatch):
    """One entry for each layer that tree attention computed."""
    noted = []
    apply = tree_attention._TreeAttention.apply
    monkeypatch.setattr(
        tree_attention._TreeAttention, "apply", lambda *args: noted.append(1) or apply(*args)
    )
    return noted


@pytest.mark.parametrize("name", MODELS)
def test_the_layers_use_it_and_the_gradient_is_that_of_padded_rollouts(name, calls):
    model = make_model(*MODELS[name])
    found, padded = gradients(model, [*turns(), *siblings()])
    assert (found - padded).norm() <= 1e-5 * padded.norm()
    assert len(calls) == (3 if name.startswith("gemma") else 2)
    assert model.config._attn_implementation == "sdpa"


@pytest.mark.parametrize("name", ["qwen3", "llama", "mistral"])
def test_the_last_layer_computes_only_where_a_token_is_predicted_from(name):
    model = make_model(*MODELS[name])
    layers, rows = model.get_base_model().model.layers, []
    for layer in layers:
        layer.mlp.register_forward_hook(lambda _mlp, args, _out: rows.append(args[0].shape[1]))
    row = build_tree([*turns(), *siblings()])
    tree_logprobs(model, row, temperature=1.0)
    wanted = len(row.pred_N.unique())
    assert wanted < len(row.ids_T)
    assert rows == [len(row.ids_T), len(row.ids_T), wanted]
    assert all("forward" not in layer.__dict__ for layer in layers)


def test_layers_that_are_computed_again_have_the_same_gradient_to_the_bit():
    model, row = make_model(*MODELS["qwen3"]), build_tree(turns())

    def score(row):
        return tree_logprobs(model, row, temperature=1.0)

    usual = gradient(model, score, row)
    with attention_of(model, row), recomputed(model):
        assert torch.equal(gradient(model, score, row), usual)


def test_capped_scores_keep_the_attention_of_their_model(calls):
    """Gemma 2 squeezes its scores, which neither SDPA nor tree attention can."""
    config = Gemma2Config(**SIZES, sliding_window=9, attn_logit_softcapping=1.0)
    found, padded = gradients(make_model(Gemma2ForCausalLM, config), turns())
    assert (found - padded).norm() <= 1e-5 * padded.norm()
    assert not calls


def test_a_pass_that_fails_leaves_the_usual_attention(monkeypatch):
    def broken(*_args):
        raise RuntimeError("broken")

    model = make_model(*MODELS["qwen3"])
    monkeypatch.setattr(tree_attention._TreeAttention, "apply", broken)
    with pytest.raises(RuntimeError, match="broken"):
        tree_logprobs(model, build_tree(turns()), temperature=1.0)
    assert model.config._attn_implementation == "sdpa"


def test_a_token_of_several_owners_is_projected_once():
    model = make_model(*MODELS["qwen3"])
    projected = []
    head = model.get_base_model().get_output_embeddings()
    head.register_forward_hook(lambda _head, args, _out: projected.append(len(args[0])))
    row = build_tree(turns())
    logprobs_N, entropy_N = tree_logprobs(model, row, temperature=1.0)
    assert projected == [9 + 8 + 6 + 9 + 12]
    assert len(logprobs_N) == len(entropy_N) == 3 * 9 + 2 * 8 + 6 + 9 + 12


def test_an_impossible_token_adds_nothing_to_the_entropy():
    logits_NV = torch.tensor([[0.0, 0.0, -torch.inf]])
    _, entropy_N = logprobs._from_logits(logits_NV, torch.tensor([0]), 1.0)
    assert entropy_N.item() == pytest.approx(0.693147, abs=1e-6)
