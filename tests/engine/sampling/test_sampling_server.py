"""Sampling on a server: what it says is handed over exactly, or refused with a reason."""

from __future__ import annotations

import asyncio
import math
import socket
from contextlib import aclosing

import pytest
import torch
from transformers import Qwen3ForCausalLM

from hone.core.net.client import AsyncGuardedClient
from hone.core.net.policy import OutboundPolicy
from jobs.engine.errors import RunFailed
from jobs.engine.sampling.base import Sampler, SampleRequest
from jobs.engine.sampling.server import SamplerUnavailable, Server, ServerSampler
from tests.engine.sampling.fake_completions import (
    Adapters,
    FakeServer,
    model_answer,
    spoiled,
    table,
)

STOP = 1
DIALECTS = ["vllm", "sglang"]
TURN = {"vllm": "/v1/completions", "sglang": "/generate"}
LOAD = {
    "vllm": ["/v1/load_lora_adapter"],
    "sglang": ["/unload_lora_adapter", "/load_lora_adapter"],
}
REQUEST = SampleRequest([9, 8, 7], 200, 1.0, seed=3)


def with_sampler(fake, use, *, adapters=None, stop_ids=(STOP,), temperature=1.0, **options):
    """Runs `use(sampler)` against the fake, and returns what it returns."""

    async def run() -> object:
        async with fake.serving() as url:
            policy = OutboundPolicy.parse([f"127.0.0.1:{fake.port}"])
            async with aclosing(AsyncGuardedClient(policy)) as client:
                sampler = ServerSampler(
                    Server(f"{url}/", **{"pauses": (0.01, 0.01, 0.01)} | options),
                    client,
                    adapter="job-7",
                    write_adapter=adapters or Adapters(),
                    stop_ids=stop_ids,
                    temperature=temperature,
                )
                return await use(sampler)

    return asyncio.run(run())


def sample(fake, request=REQUEST, **options):
    return with_sampler(fake, lambda sampler: sampler.generate(request), **options)


@pytest.mark.parametrize("dialect", DIALECTS)
def test_ids_and_logprobs_are_handed_over_exactly(dialect):
    turn = sample(FakeServer(table([5, 6, STOP], "stop")), dialect=dialect)
    assert (turn.ids, turn.logprobs) == ([5, 6, STOP], [-0.1, -0.225, -0.35])
    assert (turn.finish, turn.loop_start, turn.entropies) == ("stop", None, [0.0] * 3)


def test_it_is_a_sampler_that_reports_no_entropy():
    async def use(sampler: Sampler):
        return sampler.name, sampler.reports_entropy

    assert with_sampler(FakeServer(table([5], "length")), use) == ("server", False)


def test_the_vllm_request_has_the_documented_shape():
    fake = FakeServer(table([5, STOP], "stop"))
    sample(fake, api_key="secret")
    (_, load), (path, body) = fake.requests
    assert load == {"lora_name": "job-7", "lora_path": "/adapters/v1", "load_inplace": True}
    assert len(body.pop("cache_salt")) == 32
    assert path == "/v1/completions"
    assert body == {
        "model": "job-7",
        "prompt": [9, 8, 7],
        "max_tokens": 200,
        "temperature": 1.0,
        "seed": 3,
        "logprobs": 1,
        "return_token_ids": True,
        "stop_token_ids": [STOP],
        "skip_special_tokens": False,
        "top_p": 1.0,
        "top_k": -1,
        "min_p": 0.0,
        "repetition_penalty": 1.0,
    }
    assert fake.headers[-1]["authorization"] == "Bearer secret"


def test_the_sglang_request_has_the_documented_shape():
    fake = FakeServer(table([5, STOP], "stop"))
    sample(fake, dialect="sglang")
    (_, unload), (_, load), (path, body) = fake.requests
    assert unload == {"lora_name": "job-7"}
    assert load == {"lora_name": "job-7", "lora_path": "/adapters/v1"}
    assert (path, body["input_ids"], body["lora_path"]) == ("/generate", [9, 8, 7], "job-7")
    assert body["return_logprob"] is True
    told = body["sampling_params"]
    assert (told["max_new_tokens"], told["stop_token_ids"]) == (200, [STOP])


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_logprobs_are_those_that_the_model_recomputes(tiny_model_dir, dialect, temperature):
    model = Qwen3ForCausalLM.from_pretrained(tiny_model_dir).eval()
    finishes = set()
    for seed in range(8):
        request = SampleRequest([40, 41, 42], 12, temperature, seed=seed)
        turn = sample(
            FakeServer(model_answer(model)),
            request,
            dialect=dialect,
            stop_ids=range(12),
            temperature=temperature,
            processed_logprobs=True,
        )
        with torch.no_grad():
            logits = model(torch.tensor([[40, 41, 42, *turn.ids]])).logits[0, 2:-1].float()
        spread = (logits / temperature).log_softmax(-1)
        again = spread.gather(1, torch.tensor(turn.ids)[:, None])[:, 0]
        assert torch.allclose(again, torch.tensor(turn.logprobs), atol=1e-5)
        assert (turn.ids[-1] in range(12)) is (turn.finish == "stop")
        finishes.add(turn.finish)
    assert finishes == {"stop", "length"}


def test_a_stop_token_in_the_last_place_is_a_stop():
    request = SampleRequest([9], 2, 1.0, seed=1)
    assert sample(FakeServer(table([5, STOP], "length")), request).finish == "stop"
    assert sample(FakeServer(table([5, 6], "length")), request).finish == "length"


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_loop_is_cut_where_local_sampling_would_have_stopped(dialect):
    turn = sample(FakeServer(table([7] * 200, "length")), dialect=dialect)
    assert (turn.finish, len(turn.ids), turn.loop_start) == ("loop", 96, 2)
    assert len(turn.logprobs) == len(turn.entropies) == 96


@pytest.mark.parametrize("dialect", DIALECTS)
def test_new_weights_are_loaded_once_before_any_turn(dialect):
    fake, adapters = FakeServer(table([5, STOP], "stop"), load_seconds=0.05), Adapters()

    async def use(sampler):
        for _ in range(2):
            sampler.weights_changed()
            await asyncio.gather(*(sampler.generate(REQUEST) for _ in range(8)))

    with_sampler(fake, use, adapters=adapters, dialect=dialect)
    assert fake.paths() == 2 * (LOAD[dialect] + 8 * [TURN[dialect]])
    assert adapters.versions == 2
    assert fake.loaded == {"job-7": "/adapters/v2"}
    salts = [body.get("cache_salt") for _, body in fake.requests if "lora_name" not in body]
    assert len(set(salts)) == (2 if dialect == "vllm" else 1)


def test_an_adapter_that_cannot_be_loaded_fails_every_waiting_turn_at_once():
    fake, adapters = FakeServer(table([5], "length"), troubles=[503] * 4), Adapters()

    async def use(sampler):
        turns = (sampler.generate(REQUEST) for _ in range(8))
        failed = await asyncio.gather(*turns, return_exceptions=True)
        return failed, await sampler.generate(REQUEST)

    failed, later = with_sampler(fake, use, adapters=adapters)
    assert [type(error) for error in failed] == [SamplerUnavailable] * 8
    assert fake.paths() == 5 * LOAD["vllm"] + [TURN["vllm"]]
    assert (later.ids, adapters.versions) == ([5], 1)


@pytest.mark.parametrize("trouble", [500, 503, "drop", "hang"])
def test_passing_trouble_is_waited_out(trouble):
    fake = FakeServer(table([5, STOP], "stop"), troubles=[trouble, trouble])
    assert sample(fake, timeout_s=0.3).ids == [5, STOP]
    assert fake.paths() == 3 * LOAD["vllm"] + [TURN["vllm"]]


def test_lasting_trouble_is_given_up():
    fake = FakeServer(table([5], "length"))

    async def use(sampler):
        await sampler.generate(REQUEST)
        fake.troubles = [503] * 9
        await sampler.generate(REQUEST)

    with pytest.raises(SamplerUnavailable, match="failed 4 times: status 503: overloaded"):
        with_sampler(fake, use)
    assert len(fake.requests) == 2 + 4


@pytest.fixture
def free_port():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return taken.getsockname()[1]


def sample_unserved(url, policy):
    async def run():
        async with aclosing(AsyncGuardedClient(policy)) as client:
            server = Server(url, pauses=(0.01, 0.01, 0.01))
            made = {"adapter": "a", "write_adapter": Adapters(), "stop_ids": [STOP]}
            await ServerSampler(server, client, **made).generate(REQUEST)

    asyncio.run(run())


def test_a_refused_connection_is_given_up(free_port):
    policy = OutboundPolicy.parse([f"127.0.0.1:{free_port}"])
    with pytest.raises(SamplerUnavailable, match="failed 4 times: No connection could be made"):
        sample_unserved(f"http://127.0.0.1:{free_port}", policy)


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_refusal_says_what_the_server_said(dialect):
    fake = FakeServer(table([5], "length"))

    async def use(sampler):
        await sampler.generate(REQUEST)
        fake.troubles = [(400, "This model's maximum context length is 4 tokens.")]
        await sampler.generate(REQUEST)

    with pytest.raises(RunFailed, match="status 400: This model's maximum context length") as told:
        with_sampler(fake, use, dialect=dialect)
    assert told.value.code == "sampling_server_refused"


def test_an_address_that_may_not_be_called_fails_at_once():
    with pytest.raises(RunFailed, match="may not be called from here"):
        sample_unserved("http://127.0.0.1:9", OutboundPolicy())


CHOICE = ("choices", 0)
LOGPROBS = (*CHOICE, "logprobs", "token_logprobs")
ENTRIES = ("meta_info", "output_token_logprobs")


@pytest.mark.parametrize(
    ("dialect", "path", "value", "named"),
    [
        ("vllm", ("choices",), None, "choices"),
        ("vllm", ("choices",), [], "choices"),
        ("vllm", (*CHOICE, "token_ids"), None, "token_ids"),
        ("vllm", (*CHOICE, "token_ids"), [], "no token ids"),
        ("vllm", (*CHOICE, "token_ids"), [5, "six"], "token_ids: Expected"),
        ("vllm", (*CHOICE, "token_ids"), [5, True], "token_ids: Expected"),
        ("vllm", (*CHOICE, "token_ids"), [-5, STOP], "token id is negative"),
        ("vllm", (*CHOICE, "token_ids"), [5], "1 token_ids have 2 token_logprobs"),
        ("vllm", (*CHOICE, "token_ids"), [STOP, STOP], "token_ids go on after a stop token"),
        ("vllm", (*CHOICE, "token_ids"), [5, 6], "token_ids do not end so"),
        ("vllm", (*CHOICE, "logprobs"), None, "logprobs"),
        ("vllm", LOGPROBS, None, "token_logprobs"),
        ("vllm", LOGPROBS, [-1.0], "2 token_ids have 1 token_logprobs"),
        ("vllm", LOGPROBS, [-1.0, math.nan], "token_logprobs is not finite"),
        ("vllm", LOGPROBS, [-1.0, -math.inf], "token_logprobs is not finite"),
        ("vllm", (*CHOICE, "finish_reason"), "abort", "finish_reason"),
        ("sglang", ("meta_info",), None, "meta_info"),
        ("sglang", ENTRIES, None, "output_token_logprobs"),
        ("sglang", ENTRIES, [[-1.0]], "output_token_logprobs"),
        ("sglang", ENTRIES, [[-1.0, STOP, ""]] * 300, "over 200 token_ids"),
        ("sglang", ENTRIES, [[math.nan, STOP, ""]], "token_logprobs is not finite"),
        ("sglang", ("meta_info", "finish_reason"), {"type": "abort"}, "finish_reason.type"),
    ],
)
def test_a_malformed_reply_is_refused_by_the_name_of_its_field(dialect, path, value, named):
    fake = FakeServer(table([5, STOP], "stop"), spoil=spoiled(path, value))
    with pytest.raises(RunFailed, match=named) as told:
        sample(fake, dialect=dialect)
    assert told.value.code == "sampling_server_reply"


def test_a_reply_that_is_no_json_is_refused():
    with pytest.raises(RunFailed, match="the body is no JSON"):
        sample(FakeServer(table([5], "length"), spoil=lambda reply: "<html>"))


def test_vllm_without_processed_logprobs_refuses_other_temperatures():
    fake = FakeServer(table([5], "length"))
    with pytest.raises(RunFailed, match="--logprobs-mode processed_logprobs"):
        sample(fake, temperature=0.7)
    with pytest.raises(RunFailed, match="temperature is 0.7"):
        sample(fake, SampleRequest([9], 4, 0.7, seed=1))
    assert fake.requests == []
    assert sample(fake, SampleRequest([9], 4, 0.0, seed=1)).ids == [5]


@pytest.mark.parametrize(("ids", "tokens"), [([], 4), ([3], 0)])
def test_an_impossible_request_is_refused_before_it_is_sent(ids, tokens):
    with pytest.raises(ValueError):
        sample(FakeServer(table([5], "length")), SampleRequest(ids, tokens, 1.0, seed=1))


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_server_that_began_anew_gets_the_adapter_again(dialect):
    async def use(sampler: Sampler):
        await sampler.generate(REQUEST)
        fake.loaded.clear()
        return await sampler.generate(REQUEST)

    fake = FakeServer(table([5, STOP], "stop"))
    turn = with_sampler(fake, use, dialect=dialect)
    assert turn.ids == [5, STOP]
    loads = [path for path in fake.paths() if path.endswith("/load_lora_adapter")]
    assert len([path for path in loads if "unload" not in path]) == 2


@pytest.mark.parametrize("status", [408, 429])
def test_a_server_with_too_much_to_do_is_asked_again(status):
    turn = sample(FakeServer(table([5, STOP], "stop"), troubles=[status]))
    assert turn.ids == [5, STOP]
