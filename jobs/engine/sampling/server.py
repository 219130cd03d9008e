"""Samples on an inference server: vLLM's completions or SGLang's native `/generate`. Torch-free.

Requests and replies have the documented shapes of both servers; the tests speak with a stand-in
of the same shape. A reply that is not as documented is refused with the name of the field.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import uuid
from collections.abc import Callable, Collection
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np

from hone.core.net.client import MIB, AsyncGuardedClient, NetResponse
from hone.core.net.errors import OutboundError, OutboundFailed, OutboundTimeout
from hone.core.net.line import passes
from jobs.engine.errors import RunFailed, RunPaused
from jobs.engine.rollout.loops import TokenLoopDetector
from jobs.engine.sampling.base import Sampled, SampleRequest

Dialect = Literal["vllm", "sglang"]
Body = dict[str, Any]

_SHOWN = 500
_FINISHES = Literal["stop", "length"]
# A token comes with its text, its log-probability and, in vLLM, the likeliest token beside it.
_BYTES_A_TOKEN = 4096
# Servers fill in what is not sent from the model's generation_config.json. A filter would make
# the log-probabilities those of another distribution than the one sampled from.
_UNFILTERED: Body = {"top_p": 1.0, "top_k": -1, "min_p": 0.0, "repetition_penalty": 1.0}


class SamplerUnavailable(RunPaused):
    """The server did not answer, however often it was asked; later it may."""

    def __init__(self, text: str) -> None:
        super().__init__("sampler_unavailable", text)


@dataclass(frozen=True)
class Server:
    """Where the server is and how it was started.

    `processed_logprobs`: vLLM runs with `--logprobs-mode processed_logprobs`. SGLang reports
    those of the temperature-scaled distribution unless SGLANG_RETURN_ORIGINAL_LOGPROB is set, and
    that must not be. `pauses`: the waits, in seconds, before each new try.
    """

    base_url: str
    dialect: Dialect = "vllm"
    processed_logprobs: bool = False
    api_key: str = ""
    timeout_s: float = 600.0
    pauses: tuple[float, ...] = (0.5, 2.0, 5.0)


class ServerSampler:
    """The sampler of one job whose adapter is served elsewhere.

    The adapter is loaded before the first turn and again before the first turn after
    `weights_changed`. `write_adapter` writes it to a folder that the server can read and returns
    the folder, a new one each time, as servers may remember a path.
    """

    name = "server"
    # The APIs give no entropies: those of `Sampled` are all 0.0 and mean nothing.
    reports_entropy = False

    def __init__(
        self,
        server: Server,
        client: AsyncGuardedClient,
        *,
        adapter: str,
        write_adapter: Callable[[], Path],
        stop_ids: Collection[int],
        temperature: float = 1.0,
    ) -> None:
        """`temperature`: the one that the job samples its training turns with."""
        if server.dialect not in {"vllm", "sglang"}:
            raise ValueError(f"dialect is {server.dialect!r}; it must be 'vllm' or 'sglang'")
        self._server = server
        self._client = client
        self._adapter = adapter
        self._write_adapter = write_adapter
        self._stop_ids = frozenset(stop_ids)
        self._check_temperature(temperature)
        self._stale = True
        self._folder: Path | None = None
        self._failure: Exception | None = None
        self._salt = ""
        self._lock = asyncio.Lock()

    def weights_changed(self) -> None:
        """The next turn is sampled only after the adapter has been written and loaded again."""
        self._stale = True
        self._folder = None

    async def generate(self, request: SampleRequest) -> Sampled:
        """Sample one turn."""
        if not request.ids or request.max_tokens < 1:
            raise ValueError("a turn needs at least one token before it, and room for one more")
        self._check_temperature(request.temperature)
        await self._refresh()
        room = MIB + _BYTES_A_TOKEN * request.max_tokens
        if self._server.dialect == "vllm":
            path, body, read = "/v1/completions", self._completion(request), _read_completion
        else:
            path, body, read = "/generate", self._native(request), _read_native
        try:
            response = await self._post(path, body, max_bytes=room)
        except _Forgotten:
            # The server began anew, and knows the adapter no more: it gets it once again.
            self._stale = True
            await self._refresh()
            response = await self._post(path, body, max_bytes=room)
        return self._sampled(request, *read(_parsed(response.body)))

    def _check_temperature(self, temperature: float) -> None:
        # At 0 both servers report the plain distribution, which is what `Sampled` asks for.
        if self._server.dialect == "sglang" or self._server.processed_logprobs:
            return
        if temperature not in {0.0, 1.0}:
            raise RunFailed(
                "sampling_server_logprobs",
                f"temperature is {temperature:g}, and vLLM reports the log-probabilities of "
                "temperature 1 unless it was started with --logprobs-mode processed_logprobs. "
                "Start it so and set SAMPLER_PROCESSED_LOGPROBS=1, or sample at temperature 1.",
            )

    def _completion(self, request: SampleRequest) -> Body:
        return {
            "model": self._adapter,
            "prompt": list(request.ids),
            "max_tokens": request.max_tokens,
            "temperature": request.temperature,
            "seed": request.seed,
            "logprobs": 1,
            "return_token_ids": True,
            "stop_token_ids": sorted(self._stop_ids),
            "skip_special_tokens": False,
            # The prefix cache knows an adapter by its name: keys and values of the old weights
            # under the same name must not be found again.
            "cache_salt": self._salt,
            **_UNFILTERED,
        }

    def _native(self, request: SampleRequest) -> Body:
        return {
            "input_ids": list(request.ids),
            "sampling_params": {
                "max_new_tokens": request.max_tokens,
                "temperature": request.temperature,
                "sampling_seed": request.seed,
                "stop_token_ids": sorted(self._stop_ids),
                "skip_special_tokens": False,
                **_UNFILTERED,
            },
            "return_logprob": True,
            "lora_path": self._adapter,
        }

    async def _refresh(self) -> None:
        """Load the adapter if it is stale; of many turns that wait, the first does it for all."""
        before = self._failure
        async with self._lock:
            if not self._stale:
                return
            if self._failure is not None and self._failure is not before:
                # Tried while this turn waited: asking in turn would multiply the waits.
                raise self._failure
            try:
                if self._folder is None:
                    self._folder = await asyncio.to_thread(self._write_adapter)
                await self._load(self._folder)
            except (RunFailed, SamplerUnavailable) as error:
                self._failure = error
                raise
            self._salt = uuid.uuid4().hex
            self._stale = False

    async def _load(self, folder: Path) -> None:
        body: Body = {"lora_name": self._adapter, "lora_path": str(folder)}
        if self._server.dialect == "vllm":
            await self._post("/v1/load_lora_adapter", {**body, "load_inplace": True})
            return
        # Refused where nothing of the name is loaded, as at first; if it went wrong otherwise,
        # the loading after it is refused.
        with contextlib.suppress(RunFailed):
            await self._post("/unload_lora_adapter", {"lora_name": self._adapter})
        response = await self._post("/load_lora_adapter", body)
        reply = _parsed(response.body)
        if isinstance(reply, dict) and reply.get("success") is False:
            raise _refused("/load_lora_adapter", response)

    async def _post(self, path: str, body: Body, *, max_bytes: int = MIB) -> NetResponse:
        """Ask until there is an answer other than a server's own failure."""
        url, content = self._server.base_url.rstrip("/") + path, json.dumps(body).encode()
        headers = {"Content-Type": "application/json"}
        if self._server.api_key:
            headers["Authorization"] = f"Bearer {self._server.api_key}"
        said, limit = "", self._server.timeout_s
        for pause in (0.0, *self._server.pauses):
            await asyncio.sleep(pause)
            try:
                response = await self._client.post(
                    url, headers=headers, content=content, timeout_s=limit, max_bytes=max_bytes
                )
            except (OutboundTimeout, OutboundFailed) as error:
                said = error.message
                continue
            except OutboundError as error:
                raise RunFailed("sampling_server_refused", f"{url}: {error.message}") from error
            if 200 <= response.status < 300:
                return response
            if not passes(response.status):
                raise _refused(path, response)
            said = f"status {response.status}: {_shown(response)}"
        raise SamplerUnavailable(
            f"{url} failed {len(self._server.pauses) + 1} times: {said}. The job goes on by itself "
            "when the sampling server answers again."
        )

    def _sampled(
        self, request: SampleRequest, ids: list[int], logprobs: list[float], told: str
    ) -> Sampled:
        stopped = bool(ids) and ids[-1] in self._stop_ids
        wrongs = {
            "it has no token ids": not ids,
            "a token id is negative": any(token < 0 for token in ids),
            f"{len(ids)} token_ids have {len(logprobs)} token_logprobs": len(ids) != len(logprobs),
            "one of token_logprobs is not finite": not all(map(math.isfinite, logprobs)),
            f"it has over {request.max_tokens} token_ids": len(ids) > request.max_tokens,
            "token_ids go on after a stop token": not self._stop_ids.isdisjoint(ids[:-1]),
            "finish_reason is stop, and token_ids do not end so": told == "stop" and not stopped,
        }
        if found := [what for what, wrong in wrongs.items() if wrong]:
            raise _malformed(found[0])
        count, loop_start = _cut(ids, stopped=stopped)
        # A stop token in the last place allowed is a stop, as in local sampling.
        finish: Literal["stop", "length"] = "stop" if stopped else "length"
        return Sampled(
            ids=ids[:count],
            logprobs=logprobs[:count],
            entropies=[0.0] * count,
            finish=finish if loop_start is None else "loop",
            loop_start=loop_start,
        )


def _cut(ids: list[int], *, stopped: bool) -> tuple[int, int | None]:
    """How many tokens local sampling would have kept, and where a loop begins."""
    detector, slot = TokenLoopDetector(1), np.zeros(1, dtype=np.int64)
    watched = len(ids) - 1 if stopped else len(ids)
    for count, token in enumerate(ids[:watched], start=1):
        if detector.push(slot, np.asarray([token], dtype=np.int64)).size:
            start = detector.loop_start(0, ids[:count])
            if start is not None:
                return count, start
    return len(ids), None


def _read_completion(reply: object) -> tuple[list[int], list[float], str]:
    ids = _field(reply, "choices.0.token_ids", list[int])
    logprobs = _field(reply, "choices.0.logprobs.token_logprobs", list[float])
    return ids, logprobs, _field(reply, "choices.0.finish_reason", _FINISHES)


def _read_native(reply: object) -> tuple[list[int], list[float], str]:
    kind = list[tuple[float, int, str | None]]
    entries = _field(reply, "meta_info.output_token_logprobs", kind)
    finish = _field(reply, "meta_info.finish_reason.type", _FINISHES)
    return [entry[1] for entry in entries], [entry[0] for entry in entries], finish


def _field(reply: Any, path: str, kind: Any) -> Any:
    try:
        for step in path.split("."):
            reply = reply[int(step) if step.isdigit() else step]
        return msgspec.convert(reply, kind)
    except (KeyError, IndexError, TypeError):
        raise _malformed(f"{path} is missing") from None
    except msgspec.ValidationError as error:
        raise _malformed(f"{path}: {error}") from error


def _parsed(body: bytes) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as error:
        raise _malformed("the body is no JSON") from error


class _Forgotten(RunFailed):
    """The server does not know the adapter, or the path."""


def _refused(path: str, response: NetResponse) -> RunFailed:
    told = f"{path} was refused with status {response.status}: {_shown(response)}"
    kind = _Forgotten if response.status == HTTPStatus.NOT_FOUND else RunFailed
    return kind("sampling_server_refused", told)


def _shown(response: NetResponse) -> str:
    return response.body[:_SHOWN].decode("utf-8", "replace").strip() or "no text"


def _malformed(what: str) -> RunFailed:
    return RunFailed("sampling_server_reply", f"the server's reply is malformed: {what}")
