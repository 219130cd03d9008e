"""Training sequences for the tiny model: whole episodes with vices, and dense copying drills."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

from transformers import PreTrainedTokenizerFast

from hone.demo.base_model.teacher import Episode, Habits, perform
from hone.demo.world.company import Company, company
from hone.demo.world.questions import FAMILIES, Question, ask
from hone.demo.world.tools import definitions

BASE_COMPANIES = range(100_000, 1_000_000)
"""Companies of the base model's own schooling: neither training nor validation ones."""


@dataclass(frozen=True)
class Example:
    """Token ids and, for each, whether the model is to learn to write it."""

    ids: list[int]
    learned: list[bool]


class Writer:
    """Writes conversations as tokens, the way rollouts do: piece by piece, never re-encoded."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast) -> None:
        self.tokenizer = tokenizer
        self.tools: list[Any] = [*definitions()]

    def encode(self, text: str) -> list[int]:
        ids: list[int] = self.tokenizer.encode(text, add_special_tokens=False)
        return ids

    def prompt(self, question: str) -> list[int]:
        """The rendered prompt of a task."""
        text = self.tokenizer.apply_chat_template(
            [{"role": "user", "content": question}],
            tools=self.tools,
            add_generation_prompt=True,
            tokenize=False,
        )
        return self.encode(str(text))

    def result(self, text: str) -> list[int]:
        """What stands between a call and the model's next turn."""
        return self.encode(
            f"\n<|im_start|>user\n<tool_response>\n{text}\n</tool_response><|im_end|>\n"
            "<|im_start|>assistant\n"
        )

    def turn(self, text: str) -> list[int]:
        """What the model writes, with its end."""
        return self.encode(f"{text}<|im_end|>")

    def episode(self, question: Question, episode: Episode) -> Example:
        """A whole attempt; the model learns its own turns."""
        ids = self.prompt(question.text)
        learned = [False] * len(ids)
        for index, text in enumerate(episode.written):
            written = self.turn(text)
            ids += written
            learned += [True] * len(written)
            if index < len(episode.results):
                result = self.result(episode.results[index])
                ids += result
                learned += [False] * len(result)
        return Example(ids, learned)


def random_question(dice: random.Random) -> tuple[Company, Question]:
    """A question about a company of the base model's own schooling."""
    firm = company(dice.choice(BASE_COMPANIES))
    return firm, ask(firm, dice.choice(FAMILIES), dice)


def episode_example(writer: Writer, habits: Habits, dice: random.Random) -> Example:
    """A whole attempt at a random question, with these habits."""
    firm, question = random_question(dice)
    return writer.episode(question, perform(firm, question, habits, dice))
