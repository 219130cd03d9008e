"""What a world of this benchmark is: tasks, a tool or two, a grade, and a habit to begin with."""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, ClassVar

from jobs.engine.spec import Budgets
from jobs.engine.types import Task

MOST_PLACES = 16
CLOSE = '"}}\n</tool_call>'
FINISHED = "finished"
TASTE = 0.6
"""A key is so much likelier or unlikelier than the others, at most."""


def opening(tool: str) -> str:
    """A call up to its only argument. One token, so that a turn is a handful of them."""
    return f'<tool_call>\n{{"name": "{tool}", "arguments": {{"key": "'


def call_text(tool: str, key: str) -> str:
    return opening(tool) + key + CLOSE


@dataclass(slots=True)
class State:
    """What the tools know of one rollout. `scores`: what each call was worth, for turn rewards."""

    task: str
    progress: int = 0
    calls: int = 0
    looks: int = 0
    scores: list[float] | None = None


class World(ABC):
    """A world is stateless; `State` holds what happens."""

    name: ClassVar[str]
    shows: ClassVar[str]
    tools: ClassVar[tuple[str, ...]]
    keys: ClassVar[tuple[str, ...]]
    tasks: ClassVar[tuple[str, ...]] = ("oak",)
    budgets: ClassVar[Budgets]
    cap: ClassVar[int]
    """The most iterations of a run."""
    bar: ClassVar[float | None] = None
    """Of `attains`, in the mean: a run is done there. None: every run takes `cap` iterations."""
    bar_on: ClassVar[str] = "mean reward"

    @property
    @abstractmethod
    def pieces(self) -> Sequence[str]:
        """What is one token each, beside the template's marks and the keys."""

    @abstractmethod
    def question(self, task: str) -> str:
        """What the user says."""

    @abstractmethod
    def use(self, state: State, tool: str, arguments: Mapping[str, Any]) -> str:
        """Make a call; returns what the tool answers."""

    def rehearse(
        self, state: State, tool: str, arguments: Mapping[str, Any], dice: random.Random
    ) -> str:
        """A call of the transcripts that the base model learns its habit from."""
        return self.use(state, tool, arguments)

    @abstractmethod
    def reward(self, state: State) -> float:
        """The grade of a rollout that ended in this state."""

    def attains(self, state: State) -> float:
        """What the bar is on: the reward, unless the world says otherwise."""
        return self.reward(state)

    @abstractmethod
    def habit(self, state: State, dice: random.Random) -> str:
        """What the untrained policy writes here: well formed, and chosen by chance."""

    def task_list(self) -> list[Task]:
        return [
            Task(row, ({"role": "user", "content": self.question(name)},), (), {"task": name})
            for row, name in enumerate(self.tasks)
        ]

    def right_keys(self, task: str, count: int) -> Sequence[str]:
        """The same for every seed: a benchmark's seeds are those of the policy."""
        return _right_keys(self.name, task, self.keys)[:count]

    def whim(self, state: State, dice: random.Random) -> str:
        """A key by chance, with a taste that depends on where the policy is.

        A base without any taste would not even look where it is, and would have to learn that from
        a 0 or 1 at the end of ten calls; no base model that is worth training is like that.
        """
        weights = _tastes(self.name, state.task, self.place(state), len(self.keys))
        return dice.choices(self.keys, weights)[0]

    def place(self, state: State) -> int:
        """What the right key depends on, beside the task."""
        return state.progress


@cache
def _right_keys(world: str, task: str, keys: tuple[str, ...]) -> tuple[str, ...]:
    dice = random.Random(f"{world}:{task}")
    return tuple(dice.choice(keys) for _ in range(MOST_PLACES))


@cache
def _tastes(world: str, task: str, place: int, keys: int) -> tuple[float, ...]:
    dice = random.Random(f"taste:{world}:{task}:{place}")
    return tuple(dice.uniform(1 - TASTE, 1 + TASTE) for _ in range(keys))
