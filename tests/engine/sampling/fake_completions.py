"""A stand-in for vLLM and SGLang on loopback: real HTTP, replies of the documented shape."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from contextlib import asynccontextmanager
from pathlib import Path

import torch

Answer = Callable[[list[int], int, float, int, list[int]], tuple[list[int], list[float], str]]

NOT_LOADED = (404, {"message": "The model `job-7` does not exist."})


class Adapters:
    """Stands for the job's export: a new folder for every version."""

    def __init__(self) -> None:
        self.versions = 0

    def __call__(self) -> Path:
        self.versions += 1
        return Path(f"/adapters/v{self.versions}")


class FakeServer:
    """Answers with `answer`, and records every request in the order of arrival.

    `troubles` are used up first, one a request: a status, a status with a body, or "drop" and
    "hang" for what their names say. `spoil` changes a turn's reply before it is sent.
    """

    def __init__(self, answer: Answer, *, troubles=(), spoil=None, load_seconds=0.0) -> None:
        self.answer = answer
        self.troubles = list(troubles)
        self.spoil = spoil
        self.load_seconds = load_seconds
        self.requests: list[tuple[str, dict]] = []
        self.headers: list[dict[str, str]] = []
        self.loaded: dict[str, str] = {}
        self.port = 0

    def paths(self) -> list[str]:
        return [path for path, _ in self.requests]

    @asynccontextmanager
    async def serving(self):
        self._writers: list[asyncio.StreamWriter] = []
        self._talks: list[asyncio.Task] = []
        self._closing = asyncio.Event()
        server = await asyncio.start_server(self._talk, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield f"http://127.0.0.1:{self.port}"
        finally:
            server.close()
            self._closing.set()
            for writer in self._writers:
                writer.close()
            await asyncio.gather(*self._talks)

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.append(writer)
        self._talks.append(asyncio.current_task())
        try:
            while await self._one(reader, writer):
                pass
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().splitlines()
        path = head[0].split()[1]
        headers = {
            name.lower(): value for name, value in (line.split(": ", 1) for line in head[1:-1])
        }
        body = json.loads(await reader.readexactly(int(headers["content-length"])))
        self.requests.append((path, body))
        self.headers.append(headers)
        trouble = self.troubles.pop(0) if self.troubles else None
        if trouble == "drop":
            return False
        if trouble == "hang":
            await self._closing.wait()
            return False
        if trouble is None:
            status, reply = await self._reply(path, body)
        else:
            status, reply = trouble if isinstance(trouble, tuple) else (trouble, "overloaded")
        content = reply.encode() if isinstance(reply, str) else json.dumps(reply).encode()
        writer.write(f"HTTP/1.1 {status} X\r\nContent-Length: {len(content)}\r\n\r\n".encode())
        writer.write(content)
        await writer.drain()
        return True

    async def _reply(self, path: str, body: dict):
        if path.endswith("/unload_lora_adapter"):
            known = self.loaded.pop(body["lora_name"], None)
            return (400, {"success": False}) if known is None else (200, {"success": True})
        if path.endswith("/load_lora_adapter"):
            await asyncio.sleep(self.load_seconds)
            name = body["lora_name"]
            if name in self.loaded and not body.get("load_inplace"):
                return 400, {"success": False, "error_message": f"{name} is already loaded"}
            self.loaded[name] = body["lora_path"]
            return 200, f"Success: {name}" if path.startswith("/v1/") else {"success": True}
        reply = self._completion(body) if path == "/v1/completions" else self._native(body)
        return NOT_LOADED if reply is None else (200, self.spoil(reply) if self.spoil else reply)

    def _completion(self, body: dict):
        if body["model"] not in self.loaded:
            return None
        ids, logprobs, finish = self.answer(
            body["prompt"],
            body["max_tokens"],
            body["temperature"],
            body["seed"],
            body["stop_token_ids"],
        )
        choice = {
            "index": 0,
            "text": "",
            "token_ids": ids,
            "logprobs": {"token_logprobs": logprobs, "tokens": [f"<{token}>" for token in ids]},
            "finish_reason": finish,
        }
        return {"id": "cmpl-1", "object": "text_completion", "choices": [choice]}

    def _native(self, body: dict):
        if body["lora_path"] not in self.loaded:
            return None
        told = body["sampling_params"]
        ids, logprobs, finish = self.answer(
            body["input_ids"],
            told["max_new_tokens"],
            told["temperature"],
            told["sampling_seed"],
            told["stop_token_ids"],
        )
        entries = [[number, token, None] for number, token in zip(logprobs, ids, strict=True)]
        meta = {"output_token_logprobs": entries, "finish_reason": {"type": finish}}
        return {"text": "", "meta_info": meta}


def table(ids: list[int], finish: str) -> Answer:
    """Says the same whatever is asked, with a log-probability for each place."""
    return lambda *_: (ids, [-0.1 - 0.125 * place for place in range(len(ids))], finish)


def model_answer(model) -> Answer:
    """Samples from a model, one plain forward pass a token."""

    @torch.no_grad()
    def answer(prompt, max_tokens, temperature, seed, stop_ids):
        generator = torch.Generator().manual_seed(seed)
        ids, logprobs = [], []
        while len(ids) < max_tokens and not (ids and ids[-1] in stop_ids):
            logits = model(torch.tensor([[*prompt, *ids]])).logits[0, -1].float()
            spread = (logits / temperature).log_softmax(-1)
            token = int(torch.multinomial(spread.exp(), 1, generator=generator))
            ids.append(token)
            logprobs.append(float(spread[token]))
        return ids, logprobs, "stop" if ids[-1] in stop_ids else "length"

    return answer


def spoiled(path, value=None):
    """Sets what lies at `path` of a reply, or takes it away."""

    def spoil(reply):
        holder = reply
        for step in path[:-1]:
            holder = holder[step]
        if value is None:
            del holder[path[-1]]
        else:
            holder[path[-1]] = value
        return reply

    return spoil
