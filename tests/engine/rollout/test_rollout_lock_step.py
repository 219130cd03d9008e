"""A real model, a real tool server, and the same bits however long the tools take."""

from __future__ import annotations

import asyncio
import json
from contextlib import aclosing

import pytest
import torch
from transformers import Qwen3Config, Qwen3ForCausalLM

from hone.core.net.client import AsyncGuardedClient
from hone.core.net.policy import OutboundPolicy
from jobs.engine.rollout.episode import EpisodeSettings
from jobs.engine.rollout.render import ChatRenderer
from jobs.engine.rollout.runner import RolloutRequest, RolloutRunner
from jobs.engine.rollout.tools import ToolExecutor
from jobs.engine.sampling.local import LocalSampler
from jobs.engine.spec import Budgets, ToolSpec
from jobs.engine.types import StopReason, Task

torch.set_num_threads(1)


class EagerToStop(Qwen3ForCausalLM):
    """An untrained model that ends its turns, as a trained one would."""

    def forward(self, *args, **kwargs):
        output = super().forward(*args, **kwargs)
        output.logits[..., self.config.eos_token_id] += 4
        return output


class CallingRenderer(ChatRenderer):
    """Reads two turns of three as a call, whatever the model babbles."""

    def turn_text(self, ids):
        if len(ids) % 3 == 0:
            return "done"
        call = {"name": "echo", "arguments": {"said": list(ids[:3])}}
        return f"<tool_call>{json.dumps(call)}</tool_call>"


async def serve(delays, reader, writer):
    """Answers calls, the n-th after the n-th delay."""
    try:
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
            length = int(head.split("content-length: ")[1].split("\r\n")[0])
            body = json.loads(await reader.readexactly(length))
            await asyncio.sleep(next(delays))
            reply = json.dumps({"output": body["arguments"]}).encode()
            writer.write(
                f"HTTP/1.1 200 OK\r\nContent-Length: {len(reply)}\r\n\r\n".encode() + reply
            )
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        pass
    finally:
        writer.close()


def delays_of(seconds):
    while True:
        yield from seconds


@pytest.fixture(scope="module")
def model(make_tokenizer):
    tokenizer = make_tokenizer("qwen3")
    torch.manual_seed(3)
    config = Qwen3Config(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        max_position_embeddings=1024,
        eos_token_id=tokenizer.eos_token_id,
        bos_token_id=None,
    )
    return EagerToStop(config).eval()


def roll_out(model, tokenizer, *, delays, lock_step=True):
    sampler = LocalSampler(model, tokenizer, device="cpu", lock_step=lock_step, capacity=1024)
    source = delays_of(delays)

    async def run():
        server = await asyncio.start_server(lambda r, w: serve(source, r, w), "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        policy = OutboundPolicy.parse([f"127.0.0.1:{port}"])
        async with server, aclosing(AsyncGuardedClient(policy)) as client:
            tool = ToolSpec(name="echo", url=f"http://127.0.0.1:{port}/")
            runner = RolloutRunner(
                sampler,
                CallingRenderer(tokenizer),
                ToolExecutor([tool], {}, client),
                EpisodeSettings(
                    budgets=Budgets(max_total_tokens=1024, wall_s=None),
                    seed=5,
                    temperature=1.0,
                    run_id="run",
                    context_length=1024,
                ),
            )
            requests = [
                RolloutRequest(
                    task=Task(
                        row=row,
                        messages=({"role": "user", "content": f"Question {row}"},),
                        tools=(),
                        item={},
                    ),
                    group=f"g{row}",
                    sample=sample,
                    split="train",
                    step=1,
                )
                for row in range(4)
                for sample in range(4)
            ]
            return await runner.run(requests)

    return asyncio.run(run())


def record(trajectory):
    """All of a trajectory that is not a duration."""
    calls = [(call.id, call.arguments, call.output) for call in trajectory.calls]
    return (
        trajectory.uid,
        trajectory.trace_id,
        trajectory.ids,
        trajectory.kinds,
        trajectory.logprobs,
        trajectory.entropies,
        trajectory.stop,
        calls,
    )


def test_tool_latencies_change_nothing_in_lock_step(model, make_tokenizer):
    tokenizer = make_tokenizer("qwen3")
    quick = roll_out(model, tokenizer, delays=[0.0])
    slow = roll_out(model, tokenizer, delays=[0.03, 0.0, 0.05, 0.01, 0.02])
    assert [record(one) for one in quick] == [record(one) for one in slow]
    assert sum(len(trajectory.calls) for trajectory in quick) > 8
    assert len({trajectory.stop for trajectory in quick} & {StopReason.FINAL_ANSWER}) == 1


@pytest.mark.parametrize("lock_step", [True, False])
def test_the_recorded_figures_of_whole_trajectories_are_the_models(
    model, make_tokenizer, lock_step
):
    tokenizer = make_tokenizer("qwen3")
    worst = 0.0
    for one in roll_out(model, tokenizer, delays=[0.0, 0.01], lock_step=lock_step):
        with torch.no_grad():
            logits = model(torch.tensor([one.ids])).logits[0, :-1]
        chosen = logits.log_softmax(-1).gather(1, torch.tensor(one.ids[1:])[:, None])[:, 0]
        for turn in one.turns:
            recorded = torch.tensor(one.logprobs[turn.start : turn.end])
            computed = chosen[turn.start - 1 : turn.end - 1]
            worst = max(worst, float((computed - recorded).abs().max()))
    assert worst <= 1e-5
