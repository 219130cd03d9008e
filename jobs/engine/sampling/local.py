"""Samples in this process, on the plain forward pass of a transformers model.

All rollouts that want a turn share one batch. The decoding runs in a thread of its own, in bursts
of a few tokens, and the event loop stays free for tools; new requests join between bursts. In
lock step the sampler waits until every running rollout waits for it, and samples them all in
their canonical order, so that the timing of tools changes nothing, to the last bit.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch
from transformers import PretrainedConfig

from jobs.engine.sampling.base import Sampled, SampleRequest
from jobs.engine.sampling.decoder import SlotDecoder
from jobs.engine.sampling.reprefill import ReprefillDecoder
from jobs.engine.sampling.slots import can_use_slots

PERSISTENT_KV = "persistent_kv"
REPREFILL = "reprefill"
_BURST = 16
_DEFAULT_CAPACITY = 4096
_CPU_CACHE_BYTES = 2 << 30
_CUDA_CACHE_SHARE = 0.4

Decoder = SlotDecoder | ReprefillDecoder
Waiting = tuple[SampleRequest, "asyncio.Future[Sampled]"]


class LocalSampler:
    """The sampler of one job. Log-probabilities are those of `logits / temperature`."""

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        *,
        device: torch.device | str,
        lock_step: bool,
        max_batch: int = 128,
        capacity: int | None = None,
        keep_cache: bool = True,
    ) -> None:
        """`capacity`: the most tokens of one rollout, prompt and all turns.

        `keep_cache` off computes every turn from its first token, as models whose attention
        cannot keep rows apart always do.
        """
        self._model = model
        self._lock_step = lock_step
        limit = int(getattr(model.config, "max_position_embeddings", _DEFAULT_CAPACITY))
        room = min(capacity or _DEFAULT_CAPACITY, limit)
        kind = SlotDecoder if keep_cache and can_use_slots(model.config) else ReprefillDecoder
        self._decoder: Decoder = kind(
            model,
            stop_ids=stop_token_ids(model, tokenizer),
            slots=_slots(kind, model, torch.device(device), room, max_batch),
            capacity=room,
            device=torch.device(device),
        )
        self._max_batch = max_batch
        self._running = 0
        self._waiting: list[Waiting] = []
        self._held: dict[int, Waiting] = {}
        self._next_key = 0
        self._pump: asyncio.Task[None] | None = None
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="sampler")

    @property
    def at_once(self) -> int | None:
        """The most rollouts that are worth running: a batch, and as many that wait for tools."""
        return None if self._lock_step else 2 * self._max_batch

    @property
    def name(self) -> str:
        return PERSISTENT_KV if self.cached else REPREFILL

    @property
    def cached(self) -> bool:
        """Whether earlier turns are kept; if not, each turn is computed from its first token."""
        return isinstance(self._decoder, SlotDecoder)

    def weights_changed(self) -> None:
        """Forget everything computed with the old weights."""
        self._decoder.forget()

    def enter(self, rollouts: int) -> None:
        """So many rollouts begin. A lock-step run starts from an empty cache, as a resumed one."""
        if self._lock_step and not self._running:
            self._decoder.forget()
        self._running += rollouts

    def leave(self) -> None:
        """One rollout has ended."""
        self._running -= 1
        self._kick()

    async def generate(self, request: SampleRequest) -> Sampled:
        """Sample one turn."""
        self._check(request)
        future: asyncio.Future[Sampled] = asyncio.get_running_loop().create_future()
        self._waiting.append((request, future))
        self._kick()
        return await future

    def _check(self, request: SampleRequest) -> None:
        if not request.ids:
            raise ValueError("a turn needs at least one token before it, and there is none")
        if request.max_tokens < 1:
            raise ValueError(f"max_tokens is {request.max_tokens}, and must be at least 1")
        needed = len(request.ids) + request.max_tokens
        if needed > self._decoder.capacity:
            raise ValueError(
                f"a turn of up to {request.max_tokens} tokens after {len(request.ids)} needs "
                f"{needed}, and the sampler was made for {self._decoder.capacity}"
            )

    def _kick(self) -> None:
        self._waiting = [entry for entry in self._waiting if not entry[1].done()]
        if not self._waiting or (self._pump is not None and not self._pump.done()):
            return
        if self._lock_step and len(self._waiting) < self._running:
            return
        self._pump = asyncio.get_running_loop().create_task(self._work())

    async def _work(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            if self._lock_step:
                await self._work_through(loop)
                return
            while self._waiting or self._held:
                ended = await loop.run_in_executor(self._thread, self._burst, self._accept())
                self._settle(ended)
        except Exception as error:  # noqa: BLE001 - whoever waits must hear of any failure
            self._fail(error)

    async def _work_through(self, loop: asyncio.AbstractEventLoop) -> None:
        """All waiting turns to their ends, and only then the answers, in canonical order."""
        self._waiting.sort(key=lambda entry: entry[0].order)
        ended: list[tuple[int, Sampled]] = []
        while self._waiting or len(ended) < len(self._held):
            ended += await loop.run_in_executor(
                self._thread, self._burst, self._accept(ended=ended)
            )
        self._pump = None
        self._settle(sorted(ended))

    def _accept(self, ended: list[tuple[int, Sampled]] | None = None) -> list[int]:
        """Hold as many waiting turns as there is room for; returns their keys."""
        room = min(self._decoder.free, self._max_batch - self._decoder.active)
        taken, self._waiting = self._waiting[:room], self._waiting[room:]
        keys = list(range(self._next_key, self._next_key + len(taken)))
        self._next_key += len(taken)
        self._held.update(zip(keys, taken, strict=True))
        if ended is None:
            self._forsake()
        return [key for key in keys if key in self._held]

    def _forsake(self) -> None:
        given_up = {key for key, (_, future) in self._held.items() if future.done()}
        if given_up:
            self._decoder.drop(given_up)
            for key in given_up:
                del self._held[key]

    def _burst(self, keys: list[int]) -> list[tuple[int, Sampled]]:
        """Runs in the thread: a few tokens, fewer where a turn ends or a request arrives."""
        if not self._decoder.active:
            self._model.eval()
        if keys:
            self._decoder.admit([(key, self._held[key][0]) for key in keys])
        for _ in range(_BURST):
            if not self._decoder.active:
                break
            ended = self._decoder.step()
            if ended:
                return ended
            if self._waiting and not self._lock_step and self._decoder.free:
                break
        return []

    def _settle(self, ended: list[tuple[int, Sampled]]) -> None:
        for key, sampled in ended:
            _, future = self._held.pop(key)
            if not future.done():
                future.set_result(sampled)

    def _fail(self, error: Exception) -> None:
        for _, future in (*self._held.values(), *self._waiting):
            if not future.done():
                future.set_exception(error)
        self._decoder.abort()
        self._held.clear()
        self._waiting.clear()


def way_of_sampling(config: PretrainedConfig) -> str:
    """How a model with this configuration is sampled here."""
    return PERSISTENT_KV if can_use_slots(config) else REPREFILL


def stop_token_ids(model: Any, tokenizer: Any) -> list[int]:
    """The tokens that end a turn, by the tokenizer and the model's generation configuration."""
    listed = getattr(getattr(model, "generation_config", None), "eos_token_id", None)
    found = set(listed if isinstance(listed, list) else [listed])
    found.add(getattr(tokenizer, "eos_token_id", None))
    found.discard(None)
    if not found:
        raise ValueError("neither the tokenizer nor the generation config names an end token")
    return sorted(int(token) for token in found)


def _slots(
    kind: type[Decoder], model: Any, device: torch.device, capacity: int, max_batch: int
) -> int:
    if kind is ReprefillDecoder:
        return max_batch
    return _affordable_slots(model, device, capacity, max_batch)


def _affordable_slots(model: Any, device: torch.device, capacity: int, max_batch: int) -> int:
    """Twice the batch, so that rollouts waiting for tools keep theirs, as far as memory allows."""
    config = model.config
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    width = next(model.parameters()).element_size()
    row_bytes = 2 * config.num_hidden_layers * heads * size * width * capacity
    budget = _CPU_CACHE_BYTES
    if device.type == "cuda":
        budget = int(torch.cuda.mem_get_info(device)[0] * _CUDA_CACHE_SHARE)
    return max(1, min(2 * max_batch, budget // int(row_bytes)))
