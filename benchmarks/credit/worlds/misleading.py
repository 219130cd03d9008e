"""Observations that recur and mean nothing: the tool says whether the last key was right, and no
more, while the key that is right now depends on how far the policy is.

The policy knows how far it is by the note that it writes before each call; the anchor does not, so
that it compares turns that have nothing in common. It is the second toy of the engine's reference
(2.2).
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.credit.worlds.base import FINISHED, State, World, call_text, opening
from jobs.engine.spec import Budgets

NOTES = ("first", "second", "third", "fourth", "fifth", "sixth")
CALLS = len(NOTES)


class Misleading(World):
    name = "misleading"
    shows = f"{CALLS} locks, one of 4 keys is right for each; reward (share right) squared"
    tools = ("turn",)
    keys = ("a1", "b2", "c3", "d4")
    budgets = Budgets(
        max_turns=CALLS + 1,
        max_tool_calls=CALLS,
        max_turn_tokens=8,
        max_sampled_tokens=128,
        max_total_tokens=192,
        wall_s=None,
    )
    cap = 120
    bar = 0.8

    @property
    def pieces(self) -> Sequence[str]:
        return (*self.tasks, *NOTES, "good", "bad", FINISHED, opening("turn"))

    def question(self, task: str) -> str:
        return task

    def use(self, state: State, tool: str, arguments: Mapping[str, Any]) -> str:
        right = state.calls < CALLS and (
            arguments.get("key") == self.right_keys(state.task, CALLS)[state.calls]
        )
        state.calls += 1
        state.progress += right
        if state.scores is not None:
            state.scores.append(right / CALLS)
        return "good" if right else "bad"

    def reward(self, state: State) -> float:
        return (state.progress / CALLS) ** 2

    def habit(self, state: State, dice: random.Random) -> str:
        if state.calls == CALLS:
            return FINISHED
        return NOTES[state.calls] + call_text("turn", self.whim(state, dice))

    def place(self, state: State) -> int:
        return state.calls
