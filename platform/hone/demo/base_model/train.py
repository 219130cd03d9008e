"""Trains the tiny base model in two lessons: echo, and the desk itself.

Legend: B batch, T tokens, H hidden, N tokens to be learned, V vocabulary.
"""

from __future__ import annotations

import logging
import math
import random
import time
from collections.abc import Iterator

import torch
from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

from hone.demo.base_model.drills import echo, exchanges
from hone.demo.base_model.examples import Example, Writer, episode_example
from hone.demo.base_model.teacher import Habits

ECHO_STEPS = 200
BATCH = 32
POOL = 16
TYPICAL_TOKENS = 40
PEAK_RATE = 2e-3
WARM_UP = 50
log = logging.getLogger(__name__)


def new_model(tokenizer: PreTrainedTokenizerFast, seed: int) -> Qwen3ForCausalLM:
    """The untrained model, of about a million parameters."""
    torch.manual_seed(seed)
    config = Qwen3Config(
        vocab_size=len(tokenizer),
        hidden_size=128,
        intermediate_size=384,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=4,
        head_dim=32,
        max_position_embeddings=2048,
        rope_parameters={"rope_type": "default", "rope_theta": 10_000.0},
        tie_word_embeddings=True,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=None,
        dtype="float32",
    )
    return Qwen3ForCausalLM(config)


def lessons(writer: Writer, seed: int) -> Iterator[list[Example]]:
    """Batches without end: echo first, then attempts and drills two to one."""
    dice = random.Random(seed)
    for _ in range(ECHO_STEPS):
        yield [echo(writer, dice) for _ in range(BATCH + BATCH // 2)]
    while True:
        for batch in attempts(writer, dice):
            yield batch
            if dice.random() < 0.5:
                yield [exchanges(writer, dice) for _ in range(BATCH)]


def attempts(writer: Writer, dice: random.Random) -> list[list[Example]]:
    """Several batches of attempts, each of like lengths, in random order: little padding."""
    habits = Habits()
    pool = [episode_example(writer, habits, dice) for _ in range(BATCH * POOL)]
    pool.sort(key=lambda example: len(example.ids))
    batches = [pool[place : place + BATCH] for place in range(0, len(pool), BATCH)]
    dice.shuffle(batches)
    return batches


def batch_loss(model: Qwen3ForCausalLM, batch: list[Example]) -> torch.Tensor:
    """Cross-entropy of the tokens to be learned; padding stands behind them, unseen.

    Divided by the batch's size and not by its tokens: else the tokens of batches of short
    attempts, which are the guesses, would weigh more than others.
    """
    longest = max(len(example.ids) for example in batch)
    ids_BT = torch.zeros(len(batch), longest, dtype=torch.long)
    learned_BT = torch.zeros(len(batch), longest, dtype=torch.bool)
    for row, example in enumerate(batch):
        ids_BT[row, : len(example.ids)] = torch.tensor(example.ids)
        learned_BT[row, : len(example.ids)] = torch.tensor(example.learned)
    hidden_BTH = model.model(input_ids=ids_BT, use_cache=False).last_hidden_state
    wanted_BT = learned_BT[:, 1:]
    logits_NV = model.lm_head(hidden_BTH[:, :-1][wanted_BT])
    targets_N = ids_BT[:, 1:][wanted_BT]
    total = torch.nn.functional.cross_entropy(logits_NV, targets_N, reduction="sum")
    return total / (len(batch) * TYPICAL_TOKENS)


def rate(step: int, steps: int) -> float:
    """Linear warm-up, the peak until the desk begins, then a cosine down to a twentieth."""
    if step < ECHO_STEPS:
        return PEAK_RATE * min(1.0, (step + 1) / WARM_UP)
    along = min(1.0, (step - ECHO_STEPS) / max(1, steps - ECHO_STEPS))
    return PEAK_RATE * (0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * along)))


def train(model: Qwen3ForCausalLM, writer: Writer, *, steps: int, seed: int) -> None:
    """All lessons; logs the loss now and then."""
    optimiser = torch.optim.AdamW(
        model.parameters(), lr=PEAK_RATE, betas=(0.9, 0.98), weight_decay=0.01
    )
    begun = time.monotonic()
    model.train()
    for step, batch in zip(range(steps), lessons(writer, seed), strict=False):
        for group in optimiser.param_groups:
            group["lr"] = rate(step, steps)
        loss = batch_loss(model, batch)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        if step % 25 < 2:
            log.info("step %d: loss %.3f, %.0f s", step, loss, time.monotonic() - begun)
    model.eval()  # type: ignore[no-untyped-call]
