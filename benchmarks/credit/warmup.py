"""The base model of a world: a small transformer that writes well-formed calls at random.

It imitates transcripts that the world itself writes by habit. A method under test then starts from
a policy that can do everything and prefers nothing, and credit alone decides what it learns.
"""

from __future__ import annotations

import json
import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import Qwen3Config, Qwen3ForCausalLM

from benchmarks.credit.tokens import END, make_tokenizer
from benchmarks.credit.worlds.base import CLOSE, State, World
from jobs.engine.rollout.loops import TOOL_LOOP_WARNING, WARN_AT, ToolLoopDetector
from jobs.engine.rollout.parse import parse_turn
from jobs.engine.rollout.render import ChatRenderer, ToolMessage

HIDDEN, LAYERS, HEADS = 64, 1, 4
STEPS, BATCH, PEAK_RATE = 300, 32, 3e-3


@dataclass(frozen=True)
class Example:
    """Token ids and, for each, whether the model is to learn to write it."""

    ids: list[int]
    learned: list[bool]


def build_base(world: World, folder: Path, *, seed: int = 0) -> float:
    """Teach a new model the world's habit and save it; returns the last batches' mean loss."""
    tokenizer = make_tokenizer([*world.keys, *world.pieces, CLOSE, TOOL_LOOP_WARNING])
    torch.manual_seed(seed)
    model: Any = Qwen3ForCausalLM(_config(tokenizer))
    renderer = ChatRenderer(tokenizer)
    dice = random.Random(f"{world.name}:{seed}")
    optimiser = torch.optim.AdamW(model.parameters(), lr=PEAK_RATE, weight_decay=0.0)
    losses: list[float] = []
    for step in range(STEPS):
        for group in optimiser.param_groups:
            group["lr"] = PEAK_RATE * min(1.0, (step + 1) / 20, (STEPS - step) / (STEPS / 3))
        loss = _loss(model, [transcript(world, tokenizer, renderer, dice) for _ in range(BATCH)])
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        losses.append(float(loss.detach()))
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return sum(losses[-20:]) / 20


def transcript(
    world: World, tokenizer: Any, renderer: ChatRenderer, dice: random.Random
) -> Example:
    """One rollout by habit; only the policy's own turns are learned.

    Every other one with the engine's warnings, as methods run with them and without.
    """
    task = dice.choice(world.task_list())
    state = State(task.item["task"])
    ids = renderer.prompt_ids(task.messages, [])
    learned = [False] * len(ids)
    warned, loops = dice.random() < 0.5, ToolLoopDetector()
    for _ in range(world.budgets.max_turns):
        text = world.habit(state, dice)
        written = tokenizer(text + END, add_special_tokens=False)["input_ids"]
        ids += written
        learned += [True] * len(written)
        calls = parse_turn(text, renderer.tool_format).calls
        if not calls:
            break
        said = world.rehearse(state, calls[0].name, json.loads(calls[0].arguments), dice)
        if warned and loops.note(calls[0].name, calls[0].arguments, said) >= WARN_AT:
            said += TOOL_LOOP_WARNING
        suffix = renderer.tool_suffix([ToolMessage(calls[0].name, said)]).ids
        ids += suffix
        learned += [False] * len(suffix)
    return Example(ids, learned)


def _loss(model: Any, batch: list[Example]) -> torch.Tensor:
    """Cross-entropy a learned token; padding stands behind the tokens, unseen."""
    longest = max(len(example.ids) for example in batch)
    ids_BT = torch.zeros(len(batch), longest, dtype=torch.long)
    learned_BT = torch.zeros(len(batch), longest, dtype=torch.bool)
    for row, example in enumerate(batch):
        ids_BT[row, : len(example.ids)] = torch.tensor(example.ids)
        learned_BT[row, : len(example.ids)] = torch.tensor(example.learned)
    logits_BTV = model(input_ids=ids_BT, use_cache=False).logits[:, :-1]
    wanted_BT = learned_BT[:, 1:]
    return torch.nn.functional.cross_entropy(logits_BTV[wanted_BT], ids_BT[:, 1:][wanted_BT])


def _config(tokenizer: Any) -> Qwen3Config:
    return Qwen3Config(
        vocab_size=len(tokenizer),
        hidden_size=HIDDEN,
        intermediate_size=2 * HIDDEN,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        num_key_value_heads=HEADS,
        head_dim=HIDDEN // HEADS,
        max_position_embeddings=512,
        tie_word_embeddings=True,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=None,
        initializer_range=HIDDEN**-0.5,
        dtype="float32",
    )
