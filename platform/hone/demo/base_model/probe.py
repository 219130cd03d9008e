"""The probe: how likely the tiny model takes each right step, by teacher forcing.

For every step of right solutions: the probability of the whole right turn (`right`), and of its
second half once begun (`finish`). A vice is a choice where `right` is below one and `finish` is
near one; an inability is the reverse.
"""

from __future__ import annotations

import math
import random
from collections import defaultdict
from statistics import fmean
from typing import Any

import torch
from transformers import Qwen3ForCausalLM

from hone.demo.base_model.examples import BASE_COMPANIES, Writer
from hone.demo.base_model.teacher import PERFECT, perform
from hone.demo.world.company import company
from hone.demo.world.questions import FAMILIES, ask

QUESTIONS_A_FAMILY = 40
LEAST = 0.2


@torch.no_grad()
def probe(model: Qwen3ForCausalLM, writer: Writer, dice: random.Random) -> list[dict[str, Any]]:
    """One row for each family and step."""
    found: dict[tuple[str, int], list[tuple[float, float]]] = defaultdict(list)
    for family in FAMILIES:
        for _ in range(QUESTIONS_A_FAMILY):
            firm = company(dice.choice(BASE_COMPANIES))
            question = ask(firm, family, dice)
            example = writer.episode(question, perform(firm, question, PERFECT, dice))
            for index, turn in enumerate(turn_chances(model, example.ids, example.learned)):
                found[family, index].append((math.prod(turn), math.prod(turn[len(turn) // 2 :])))
    return [
        {
            "family": family,
            "step": index + 1,
            "right": round(fmean(right for right, _ in pairs), 3),
            "finish": round(fmean(finish for _, finish in pairs), 3),
        }
        for (family, index), pairs in found.items()
    ]


def turn_chances(model: Qwen3ForCausalLM, ids: list[int], learned: list[bool]) -> list[list[float]]:
    """For each turn of the model, the probability of each of its tokens."""
    ids_1T = torch.tensor([ids])
    logits_TV = model(input_ids=ids_1T).logits[0, :-1]
    chances_T = logits_TV.softmax(-1).gather(1, ids_1T[0, 1:, None]).flatten().tolist()
    turns: list[list[float]] = []
    for place in range(1, len(ids)):
        if learned[place]:
            if not learned[place - 1]:
                turns.append([])
            turns[-1].append(chances_T[place - 1])
    return turns
