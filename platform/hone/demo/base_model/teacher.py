"""What the base model imitates: somebody who knows every right step, and has vices.

At each point the teacher takes the right step, repeats the last call, makes a wrong call or
guesses. The vices are choices: whatever it begins it writes without a slip, so that a model that
imitates it can do everything right and merely does not.
"""

from __future__ import annotations

import json
import random
from dataclasses import dataclass, field
from typing import Literal

from hone.demo.world.company import GOODS, PEOPLE, ROLES, Company
from hone.demo.world.questions import Question, Step
from hone.demo.world.tools import TOOLS, ToolMistake, call
from jobs.engine.rollout.loops import TOOL_LOOP_WARNING, WARN_AT

Choice = Literal["right", "repeat", "wrong", "guess"]
MOST_CALLS = 10


@dataclass(frozen=True)
class Habits:
    """How likely each choice is. A repeated call is repeated again with `stuck`."""

    right: float = 0.52
    repeat: float = 0.24
    wrong: float = 0.13
    guess: float = 0.11
    stuck: float = 0.68

    def choose(self, dice: random.Random, *, last: Choice | None, any_call: bool) -> Choice:
        """The next choice; nothing can be repeated before the first call."""
        if last == "repeat":
            return "repeat" if dice.random() < self.stuck else "right"
        chances: dict[Choice, float] = {
            "right": self.right,
            "repeat": self.repeat if any_call else 0.0,
            "wrong": self.wrong,
            "guess": self.guess,
        }
        return dice.choices(list(chances), list(chances.values()))[0]


PERFECT = Habits(right=1.0, repeat=0.0, wrong=0.0, guess=0.0, stuck=0.0)


@dataclass
class Episode:
    """A conversation after the question: what the model wrote, and what the tools answered."""

    written: list[str] = field(default_factory=list)
    results: list[str] = field(default_factory=list)


def call_text(step: Step) -> str:
    """A call as the model writes it."""
    arguments = {TOOLS[step.tool][1]: step.argument}
    wire = json.dumps({"name": step.tool, "arguments": arguments})
    return f"<tool_call>\n{wire}\n</tool_call>"


def answer_of(company: Company, step: Step) -> str:
    """What the tool says, mistakes included."""
    try:
        return call(company, step.tool, {TOOLS[step.tool][1]: step.argument})
    except ToolMistake as mistake:
        return f"Error: {mistake}"


def perform(company: Company, question: Question, habits: Habits, dice: random.Random) -> Episode:
    """One attempt at the question, with these habits."""
    episode, done = Episode(), 0
    calls: list[Step] = []
    last: Choice | None = None
    while len(calls) < MOST_CALLS:
        last = habits.choose(dice, last=last, any_call=bool(calls))
        if last == "guess" or (last == "right" and done == len(question.steps)):
            right = last == "right"
            episode.written.append(question.answer if right else guess(company, question, dice))
            return episode
        if last == "right":
            step = question.steps[done]
            done += 1
        else:
            step = calls[-1] if last == "repeat" else wrong_step(company, question, dice)
        calls.append(step)
        episode.written.append(call_text(step))
        result = answer_of(company, step)
        times = calls.count(step)
        episode.results.append(result + TOOL_LOOP_WARNING if times == WARN_AT else result)
        if times > WARN_AT:
            return episode
    return episode


def wrong_step(company: Company, question: Question, dice: random.Random) -> Step:
    """A well-formed call that does not help."""
    titles = list(company.documents)
    useless = [
        Step("read", dice.choice(titles)),
        Step("read", f"invoice {dice.randint(10, 99)}"),
        Step("search", dice.choice(ROLES)),
        Step("search", dice.choice(GOODS)),
    ]
    step = dice.choice(useless)
    return step if step not in question.steps else Step("search", "invoice")


def guess(company: Company, question: Question, dice: random.Random) -> str:
    """An answer of the right kind, made up."""
    if question.family == "person":
        return dice.choice(PEOPLE)
    return str(dice.randint(11, 10 ** len(question.answer)))
