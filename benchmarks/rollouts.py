"""Rollouts of the demo's tiny model over HTTP tools: two ways of doing the same work.

`python -m benchmarks.rollouts` prints a table and one JSON object as the last line.

Each pair runs the same requests with the same seeds in the same process, alternating, and the
medians of three runs are compared.
"""

from __future__ import annotations

import asyncio
import json
import platform
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import aclosing
from dataclasses import asdict, dataclass
from functools import partial
from http import HTTPStatus

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from hone.core.net.client import AsyncGuardedClient
from hone.core.net.policy import OutboundPolicy
from hone.demo.base_model import WEIGHTS
from hone.demo.server import respond
from hone.demo.world.tasks import validation_rows
from hone.demo.world.tools import definitions
from jobs.engine.rollout.episode import EpisodeSettings
from jobs.engine.rollout.render import ChatRenderer
from jobs.engine.rollout.runner import RolloutRequest, RolloutRunner
from jobs.engine.rollout.tools import ToolExecutor
from jobs.engine.sampling.local import LocalSampler
from jobs.engine.spec import Budgets, ToolSpec
from jobs.engine.types import Task

ROLLOUTS = 48
REPEATS = 3
CONTEXT = 1024
BUDGETS = Budgets(max_turn_tokens=64, max_sampled_tokens=512, max_total_tokens=CONTEXT)


@dataclass(frozen=True)
class Row:
    """One comparison: seconds of the other way and of ours, for the same work."""

    key: str
    name: str
    other_s: float
    ours_s: float

    @property
    def ratio(self) -> float:
        return self.other_s / self.ours_s

    def as_dict(self) -> dict[str, float]:
        return {**{k: v for k, v in asdict(self).items() if k.endswith("_s")}, "ratio": self.ratio}


def overlapped_against_serial(*, latencies_s: Sequence[float]) -> Iterator[Row]:
    """All rollouts at once against one rollout after the other, per tool latency."""
    for latency_s in latencies_s:
        others, ours = _alternate(
            partial(_roll_out, latency_s=latency_s, at_once=1),
            partial(_roll_out, latency_s=latency_s, at_once=ROLLOUTS),
        )
        label = f"{1000 * latency_s:.0f} ms"
        yield Row(
            f"overlapped_{1000 * latency_s:.0f}ms",
            f"{ROLLOUTS} rollouts, tools answer in {label}: serial | overlapped",
            others,
            ours,
        )


def cached_against_reprefill() -> Row:
    """Turns that keep their keys and values against turns that are prefilled anew."""
    others, ours = _alternate(
        partial(_roll_out, latency_s=0.0, at_once=ROLLOUTS, cached=False),
        partial(_roll_out, latency_s=0.0, at_once=ROLLOUTS),
    )
    return Row("cached", f"{ROLLOUTS} rollouts: prefill every turn | keep the cache", others, ours)


def _alternate(other: Callable[[], float], ours: Callable[[], float]) -> tuple[float, float]:
    pairs = [(other(), ours()) for _ in range(REPEATS)]
    return statistics.median(a for a, _ in pairs), statistics.median(b for _, b in pairs)


async def _handle(
    latency_s: float, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    """The demo's tools, answering late."""
    try:
        while head := (await reader.readuntil(b"\r\n\r\n")).decode().lower():
            length = int(head.split("content-length:")[1].split("\r\n")[0])
            status, reply = respond("POST", "/", await reader.readexactly(length))
            await asyncio.sleep(latency_s)
            body = json.dumps(reply)
            writer.write(_head(status, len(body)).encode() + body.encode())
            await writer.drain()
    except (EOFError, OSError, asyncio.CancelledError):
        # The caller is gone, or the measurement is over.
        return
    finally:
        writer.close()


def _head(status: HTTPStatus, length: int) -> str:
    return (
        f"HTTP/1.1 {status.value} {status.phrase}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {length}\r\n\r\n"
    )


def _roll_out(*, latency_s: float, at_once: int, cached: bool = True) -> float:
    return asyncio.run(_measure(latency_s, at_once, cached))


async def _measure(latency_s: float, at_once: int, cached: bool) -> float:
    server = await asyncio.start_server(partial(_handle, latency_s), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with (
        server,
        aclosing(AsyncGuardedClient(OutboundPolicy.parse([f"127.0.0.1:{port}"]))) as client,
    ):
        runner = _runner(port, client, cached)
        requests = [
            RolloutRequest(Task(row, tuple(item["messages"]), (), item), f"g{row}", 0, "train", 1)
            for row, item in enumerate(validation_rows(count=ROLLOUTS))
        ]
        begun = time.monotonic()
        for place in range(0, ROLLOUTS, at_once):
            await runner.run(requests[place : place + at_once])
        return time.monotonic() - begun


def _runner(port: int, client: AsyncGuardedClient, cached: bool) -> RolloutRunner:
    model = AutoModelForCausalLM.from_pretrained(WEIGHTS)
    tokenizer = AutoTokenizer.from_pretrained(WEIGHTS)
    sampler = LocalSampler(
        model, tokenizer, device="cpu", lock_step=False, capacity=CONTEXT, keep_cache=cached
    )
    tools = [
        ToolSpec(
            name=tool["function"]["name"],
            url=f"http://127.0.0.1:{port}/",
            description=tool["function"]["description"],
            parameters=tool["function"]["parameters"],
            max_concurrency=64,
        )
        for tool in definitions()
    ]
    return RolloutRunner(
        sampler,
        ChatRenderer(tokenizer),
        ToolExecutor(tools, {}, client),
        EpisodeSettings(
            budgets=BUDGETS,
            seed=1,
            temperature=1.0,
            run_id="bench",
            context_length=CONTEXT,
        ),
    )


def main() -> None:
    torch.set_num_threads(1)
    rows = [
        *overlapped_against_serial(latencies_s=(0.0, 0.05)),
        cached_against_reprefill(),
    ]
    print(f"{platform.machine()}, torch {torch.__version__}, {torch.get_num_threads()} thread")
    print(f"{'measurement':58s}{'one way':>12s}{'ours':>12s}{'ratio':>8s}")
    for row in rows:
        print(f"{row.name:58s}{row.other_s:10.2f} s{row.ours_s:10.2f} s{row.ratio:8.2f}")
    print(json.dumps({row.key: row.as_dict() for row in rows}))


if __name__ == "__main__":
    main()
