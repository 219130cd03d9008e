"""Looping pays at first: the grader likes diligence, and every look counts, however idle.

Looking again never shows anything new. The base also babbles now and then, one word without end.
The long-tail controls have to take both away, and the door still has to be opened.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.credit.worlds.base import FINISHED, State, World, call_text, opening
from jobs.engine.spec import Budgets

LOOK = '<tool_call>\n{"name": "look", "arguments": {}}\n</tool_call>'
BABBLE = "hm"
MOST_LOOKS = 16
OPENED, LOOKED = 0.5, 0.03
BABBLES, BABBLES_ON = 0.15, 0.985
LOOKS, OPENS = 0.5, 0.35
"""What the base does at each turn; the rest of the time it is done."""
TURN_TOKENS = 128


class Loops(World):
    name = "loops"
    shows = f"opening the door earns {OPENED}, each of {MOST_LOOKS} idle looks {LOOKED}"
    tools = ("look", "open")
    keys = ("a1", "b2", "c3", "d4")
    budgets = Budgets(
        max_turns=MOST_LOOKS + 4,
        max_tool_calls=MOST_LOOKS + 3,
        max_turn_tokens=TURN_TOKENS,
        max_sampled_tokens=320,
        max_total_tokens=480,
        wall_s=None,
    )
    cap = 50

    @property
    def pieces(self) -> Sequence[str]:
        return (*self.tasks, BABBLE, LOOK, "dust", "shut", "ajar", FINISHED, opening("open"))

    def question(self, task: str) -> str:
        return task

    def use(self, state: State, tool: str, arguments: Mapping[str, Any]) -> str:
        state.calls += 1
        if tool == "look":
            state.looks += 1
            return "dust"
        if arguments.get("key") == self.right_keys(state.task, 1)[0]:
            state.progress = 1
        return "ajar" if state.progress else "shut"

    def reward(self, state: State) -> float:
        return OPENED * state.progress + LOOKED * min(state.looks, MOST_LOOKS)

    def habit(self, state: State, dice: random.Random) -> str:
        babble = ""
        if state.calls == 0 and dice.random() < BABBLES:
            babble = BABBLE
            while dice.random() < BABBLES_ON and len(babble) < TURN_TOKENS * len(BABBLE):
                babble += BABBLE
        chance = dice.random()
        if chance < LOOKS:
            return babble + LOOK
        if chance < LOOKS + OPENS:
            return babble + call_text("open", self.whim(state, dice))
        return babble + FINISHED
