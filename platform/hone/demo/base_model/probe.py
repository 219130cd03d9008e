"""The probe: how likely the tiny model takes each right step, by teacher forcing.

For every step of right solutions: the probability of the whole right turn (`right`), and of what
is left of it once it can be no other tool's call and no repetition (`finish`). A low `right` beside
a high `finish` is a choice, hence a vice that training can take away; a low `finish` is an
inability. The choice must not count as one: of two invoices the first digit tells which is read.
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
from hone.demo.base_model.teacher import PERFECT, call_text, perform
from hone.demo.world.company import company
from hone.demo.world.questions import FAMILIES, Question, Step, ask
from hone.demo.world.tools import TOOLS

QUESTIONS_A_FAMILY = 40
LEAST = {"right": 0.2, "finish": 0.7}
"""Below these a step is hardly found by trial, or hardly written once found."""


@torch.no_grad()
def probe(model: Qwen3ForCausalLM, writer: Writer, dice: random.Random) -> list[dict[str, Any]]:
    """One row for each family and step."""
    found: dict[tuple[str, int], list[tuple[float, float]]] = defaultdict(list)
    for family in FAMILIES:
        for _ in range(QUESTIONS_A_FAMILY):
            firm = company(dice.choice(BASE_COMPANIES))
            question = ask(firm, family, dice)
            episode = perform(firm, question, PERFECT, dice)
            example = writer.episode(question, episode)
            turns = [writer.turn(text) for text in episode.written]
            for index, chances in enumerate(turn_chances(model, example.ids, example.learned)):
                rivals = [*turns[:index], *_calls_of_other_tools(writer, question, index)]
                begun = parting(turns[index], rivals)
                found[family, index].append((math.prod(chances), math.prod(chances[begun:])))
    return [
        {
            "family": family,
            "step": index + 1,
            "right": round(fmean(right for right, _ in pairs), 3),
            "finish": round(fmean(finish for _, finish in pairs), 3),
        }
        for (family, index), pairs in found.items()
    ]


def _calls_of_other_tools(writer: Writer, question: Question, index: int) -> list[list[int]]:
    right = question.steps[index].tool if index < len(question.steps) else None
    return [writer.turn(call_text(Step(tool, ""))) for tool in TOOLS if tool != right]


def parting(turn: list[int], rivals: list[list[int]]) -> int:
    """How many tokens of the turn it takes until it can be none of its rivals any more."""
    return max(_shared(turn, rival) for rival in rivals) + 1


def _shared(one: list[int], other: list[int]) -> int:
    pairs = enumerate(zip(one, other, strict=False))
    return next(place for place, (mine, theirs) in pairs if mine != theirs)


def weaknesses(table: list[dict[str, Any]]) -> list[str]:
    """What the model can hardly do, in a sentence each."""
    return [
        f"Step {row['step']} of {row['family']} has {figure} {row[figure]}; "
        f"at least {least} is needed. Teach it longer or drill it more."
        for row in table
        for figure, least in LEAST.items()
        if row[figure] < least
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
