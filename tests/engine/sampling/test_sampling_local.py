"""The in-process sampler: its figures are the model's own, whatever shares the batch."""

from __future__ import annotations

import asyncio

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
    Qwen3NextConfig,
    Qwen3NextForCausalLM,
)

from jobs.engine.sampling.base import SampleRequest
from jobs.engine.sampling.local import LocalSampler, stop_token_ids, way_of_sampling

torch.set_num_threads(1)

SIZES = {
    "vocab_size": 64,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 512,
    "eos_token_id": 1,
    "pad_token_id": 0,
    "bos_token_id": None,
}


class Tokenizer:
    eos_token_id = 1


def make_model(name):
    torch.manual_seed(0)
    if name == "qwen3":
        model = Qwen3ForCausalLM(Qwen3Config(**SIZES))
    elif name == "llama":
        model = LlamaForCausalLM(LlamaConfig(**SIZES))
    elif name == "gemma2":
        kinds = ["sliding_attention", "full_attention"]
        model = Gemma2ForCausalLM(Gemma2Config(**SIZES, sliding_window=6, layer_types=kinds))
    elif name == "gemma3":
        kinds = ["sliding_attention", "full_attention"]
        model = Gemma3ForCausalLM(Gemma3TextConfig(**SIZES, sliding_window=6, layer_types=kinds))
    elif name == "mistral_window":
        model = MistralForCausalLM(MistralConfig(**SIZES, sliding_window=6))
    elif name == "qwen3_window":
        kinds = ["full_attention", "sliding_attention"]
        model = Qwen3ForCausalLM(
            Qwen3Config(**SIZES, use_sliding_window=True, sliding_window=6, layer_types=kinds)
        )
    else:
        model = Qwen3NextForCausalLM(
            Qwen3NextConfig(
                **SIZES,
                layer_types=["linear_attention", "full_attention"],
                linear_num_value_heads=2,
                linear_num_key_heads=2,
                linear_key_head_dim=8,
                linear_value_head_dim=8,
                num_experts=2,
                num_experts_per_tok=1,
                moe_intermediate_size=16,
                shared_expert_intermediate_size=16,
            )
        )
    # Untrained weights are nearly uniform; larger ones make the choice of a token matter.
    for parameter in model.parameters():
        if parameter.ndim > 1:
            parameter.data *= 4
    return model.eval()


def make_sampler(model, *, lock_step=False, max_batch=8, capacity=256):
    return LocalSampler(
        model,
        Tokenizer(),
        device="cpu",
        lock_step=lock_step,
        max_batch=max_batch,
        capacity=capacity,
    )


def plain(model, ids, sampled, temperature=1.0):
    """Log-probabilities and entropies of a plain forward pass over the whole row."""
    with torch.no_grad():
        logits = model(torch.tensor([[*ids, *sampled]])).logits[0, len(ids) - 1 : -1].float()
    logprobs = (logits / temperature).log_softmax(-1)
    chosen = logprobs.gather(1, torch.tensor(sampled)[:, None])[:, 0]
    return chosen, -(logprobs.exp() * logprobs).sum(-1)


async def converse(sampler, start, *, turns, order, temperature=1.0, delay=0.0):
    """Several turns with a tool's tokens between them, as a rollout would."""
    ids, seen = list(start), []
    for turn in range(turns):
        request = SampleRequest(ids, 9, temperature, seed=100 * order + turn, order=order)
        sampled = await sampler.generate(request)
        seen.append((list(ids), sampled))
        await asyncio.sleep(delay)
        ids += [*sampled.ids, 5, 6 + order % 7, 7]
    if sampler._lock_step:
        sampler.leave()
    return seen


def converse_all(sampler, starts, **options):
    async def run():
        if sampler._lock_step:
            sampler.enter(len(starts))
        return await asyncio.gather(
            *(converse(sampler, s, order=order, **options) for order, s in enumerate(starts))
        )

    return asyncio.run(run())


STARTS = [[9, 8, 7] * (1 + row // 3) + [10 + row // 3] * 20 for row in range(12)]


FAMILIES = ["qwen3", "llama", "mistral_window", "qwen3_window", "gemma2", "gemma3", "hybrid"]


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("lock_step", [False, True])
def test_recorded_figures_are_those_of_a_plain_forward_pass(name, lock_step):
    model = make_model(name)
    sampler = make_sampler(model, lock_step=lock_step)
    assert sampler.name == ("reprefill" if name == "hybrid" else "persistent_kv")
    assert sampler.name == way_of_sampling(model.config)
    worst = 0.0
    for row in converse_all(sampler, STARTS, turns=3, temperature=0.7):
        for ids, sampled in row:
            logprobs, entropies = plain(model, ids, sampled.ids, 0.7)
            worst = max(
                worst,
                float((logprobs - torch.tensor(sampled.logprobs)).abs().max()),
                float((entropies - torch.tensor(sampled.entropies)).abs().max()),
            )
    assert worst <= 1e-5


def test_an_adapter_takes_part_in_what_is_sampled():
    base = make_model("qwen3")
    before = sample_once(base, SampleRequest(STARTS[0], 30, 1.0, seed=1))
    adapted = get_peft_model(base, LoraConfig(r=4, target_modules="all-linear"))
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.3)
    after = sample_once(adapted, SampleRequest(STARTS[0], 30, 1.0, seed=1))
    logprobs, _ = plain(adapted, STARTS[0], after.ids)
    assert torch.allclose(logprobs, torch.tensor(after.logprobs), atol=1e-5)
    assert before.ids != after.ids


def test_a_rollout_does_not_depend_on_who_shares_the_batch():
    model = make_model("qwen3")
    together = converse_all(make_sampler(model), STARTS, turns=3)
    for order in (0, 5, 11):
        alone = asyncio.run(converse(make_sampler(model), STARTS[order], turns=3, order=order))
        assert [s.ids for _, s in alone] == [s.ids for _, s in together[order]]


def test_lock_step_gives_the_same_bits_whatever_the_tools_take():
    model = make_model("qwen3")
    quick = converse_all(make_sampler(model, lock_step=True), STARTS, turns=3)

    async def uneven():
        sampler = make_sampler(model, lock_step=True)
        sampler.enter(len(STARTS))
        return await asyncio.gather(
            *(
                converse(sampler, s, turns=3, order=order, delay=0.002 * ((order * 7) % 5))
                for order, s in enumerate(STARTS)
            )
        )

    assert asyncio.run(uneven()) == quick


def test_a_lock_step_run_starts_afresh():
    model = make_model("qwen3")
    sampler = make_sampler(model, lock_step=True)
    first = converse_all(sampler, STARTS, turns=2)
    assert converse_all(sampler, STARTS, turns=2) == first


def test_more_requests_than_the_batch_holds_are_all_answered():
    model = make_model("qwen3")
    wide = converse_all(make_sampler(model, max_batch=64), STARTS, turns=2)
    narrow = converse_all(make_sampler(model, max_batch=2), STARTS, turns=2)
    assert [[s.ids for _, s in row] for row in narrow] == [[s.ids for _, s in r] for r in wide]


def test_new_weights_are_used_after_they_changed():
    model = make_model("qwen3")
    sampler = make_sampler(model)
    converse_all(sampler, STARTS, turns=1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    sampler.weights_changed()
    for row in converse_all(sampler, STARTS, turns=2):
        for ids, sampled in row:
            logprobs, _ = plain(model, ids, sampled.ids)
            assert torch.allclose(logprobs, torch.tensor(sampled.logprobs), atol=1e-5)


def test_temperature_zero_takes_the_likeliest_token():
    model = make_model("llama")
    sampled = asyncio.run(make_sampler(model).generate(SampleRequest([3, 4, 5], 6, 0.0, seed=1)))
    with torch.no_grad():
        logits = model(torch.tensor([[3, 4, 5, *sampled.ids]])).logits[0, 2:-1]
    assert sampled.ids == logits.argmax(-1).tolist()


def sample_once(model, request):
    return asyncio.run(make_sampler(model).generate(request))


def test_the_stop_token_is_the_last_of_the_turn():
    model = make_model("qwen3")
    turns = [sample_once(model, SampleRequest([3, 4], 200, 1.0, seed=seed)) for seed in range(6)]
    stopped = [turn for turn in turns if turn.finish == "stop"]
    assert stopped
    assert all(turn.ids[-1] == 1 and 1 not in turn.ids[:-1] for turn in stopped)


def test_a_turn_ends_at_its_length():
    turn = sample_once(make_model("qwen3"), SampleRequest([3, 4], 3, 1.0, seed=3))
    assert (turn.finish, len(turn.ids), len(turn.logprobs)) == ("length", 3, 3)


def test_a_loop_is_stopped_while_decoding():
    model = make_model("qwen3")
    with torch.no_grad():
        model.lm_head.weight.zero_()
    turn = sample_once(model, SampleRequest([3, 4], 200, 0.0, seed=3))
    assert (turn.finish, len(turn.ids), turn.loop_start) == ("loop", 96, 2)


def test_a_request_that_does_not_fit_says_so():
    with pytest.raises(ValueError, match="needs 260, and the sampler was made for 256"):
        sample_once(make_model("qwen3"), SampleRequest([3] * 60, 200, 1.0, seed=1))


def test_a_cancelled_request_leaves_the_others_alone():
    model = make_model("qwen3")

    async def run():
        sampler = make_sampler(model)
        doomed = asyncio.create_task(sampler.generate(SampleRequest([4] * 9, 200, 1.0, seed=8)))
        other = asyncio.create_task(sampler.generate(SampleRequest([3, 4], 40, 1.0, seed=3)))
        await asyncio.sleep(0.01)
        doomed.cancel()
        return await other

    alone = sample_once(model, SampleRequest([3, 4], 40, 1.0, seed=3))
    assert asyncio.run(run()).ids == alone.ids


def test_a_failing_model_is_reported_to_whoever_waits():
    model = make_model("qwen3")
    sampler = make_sampler(model)
    with pytest.raises(IndexError):
        asyncio.run(sampler.generate(SampleRequest([3, 4000], 4, 1.0, seed=1)))
    good = asyncio.run(sampler.generate(SampleRequest([3, 4], 4, 1.0, seed=1)))
    assert good.ids == sample_once(model, SampleRequest([3, 4], 4, 1.0, seed=1)).ids


def test_stop_tokens_come_from_tokenizer_and_generation_config():
    model = make_model("qwen3")
    model.generation_config.eos_token_id = [7, 9]
    assert stop_token_ids(model, Tokenizer()) == [1, 7, 9]


def test_draws_follow_the_distribution():
    model = make_model("qwen3")
    sampler = make_sampler(model, max_batch=64)

    async def run():
        return await asyncio.gather(
            *(sampler.generate(SampleRequest([3, 4, 5], 1, 1.0, seed=s)) for s in range(2000))
        )

    drawn = torch.tensor([turn.ids[0] for turn in asyncio.run(run())])
    with torch.no_grad():
        expected = model(torch.tensor([[3, 4, 5]])).logits[0, -1].softmax(-1)
    share = torch.bincount(drawn, minlength=64) / 2000
    assert float((share - expected).abs().max()) < 0.04
