"""States that recur: a wrong key leaves the policy where it is, and it tries again.

Siblings meet in the same rooms, and what each did there can be compared: the place for the
anchored term. It is the first toy of the engine's reference (2.2), and so is its bar: 4 rooms, 8
keys, 14 calls; 90 % are out within one and a half times the fewest calls.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.credit.worlds.base import FINISHED, State, World, call_text, opening
from jobs.engine.spec import Budgets

ROOMS = 4
CALLS = 14
BRISK = ROOMS * 3 // 2
LUCK = 0.4


class Recurring(World):
    name = "recurring"
    shows = f"{ROOMS} rooms in a row, one of 8 keys opens each, {CALLS} calls; reward 1 when out"
    tools = ("turn",)

    keys = ("a1", "b2", "c3", "d4", "e5", "f6", "g7", "h8")
    budgets = Budgets(
        max_turns=CALLS + 1,
        max_tool_calls=CALLS,
        max_turn_tokens=8,
        max_sampled_tokens=128,
        max_total_tokens=256,
        wall_s=None,
    )
    cap = 200
    bar = 0.9
    bar_on = f"share out within {BRISK} calls"

    @property
    def pieces(self) -> Sequence[str]:
        rooms = [f"{task}_{room}" for task in self.tasks for room in range(ROOMS)]
        return (*rooms, "outside", FINISHED, opening("turn"))

    def question(self, task: str) -> str:
        return f"{task}_0"

    def use(self, state: State, tool: str, arguments: Mapping[str, Any]) -> str:
        state.calls += 1
        right = (
            state.progress < ROOMS
            and arguments.get("key") == self.right_keys(state.task, ROOMS)[state.progress]
        )
        state.progress += right
        if state.scores is not None:
            state.scores.append(right / ROOMS)
        return "outside" if state.progress == ROOMS else f"{state.task}_{state.progress}"

    def rehearse(
        self, state: State, tool: str, arguments: Mapping[str, Any], dice: random.Random
    ) -> str:
        """Any key opens by chance: chance keys hardly ever lead outside, and a base that had hardly
        seen it would not know to stop there. Which key is right is not to be learned yet."""
        state.progress += dice.random() < LUCK
        return "outside" if state.progress == ROOMS else f"{state.task}_{state.progress}"

    def reward(self, state: State) -> float:
        return float(state.progress == ROOMS)

    def attains(self, state: State) -> float:
        return float(state.progress == ROOMS and state.calls <= BRISK)

    def habit(self, state: State, dice: random.Random) -> str:
        if state.progress == ROOMS:
            return FINISHED
        return call_text("turn", self.whim(state, dice))
