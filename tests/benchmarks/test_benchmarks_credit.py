"""The worlds of the credit benchmark grade as they say and its figures are what they say."""

from __future__ import annotations

import json
import random
from itertools import pairwise

import pytest

from benchmarks.credit.figures import all_figures, percentile_95, ratio
from benchmarks.credit.methods import ANCHORED, CONTROLS_OFF, CONTROLS_ON, GRPO, UNGATED
from benchmarks.credit.tokens import make_tokenizer
from benchmarks.credit.train import Run, looped
from benchmarks.credit.worlds.base import CLOSE, State, World, call_text
from benchmarks.credit.worlds.loops import Loops
from benchmarks.credit.worlds.misleading import CALLS, Misleading
from benchmarks.credit.worlds.recurring import ROOMS, Recurring
from jobs.engine.credit import assign
from jobs.engine.rollout import episode
from jobs.engine.rollout.parse import parse_turn
from jobs.engine.rollout.render import ChatRenderer, ToolMessage
from jobs.engine.types import ToolCall, Trajectory, Turn

WORLDS: list[World] = [Recurring(), Misleading(), Loops()]


def played(world: World, keys: list[str], tool: str = "turn") -> State:
    state = State("oak", scores=[])
    for key in keys:
        world.use(state, tool, {"key": key})
    return state


def wrong(world: World, key: str) -> str:
    return next(other for other in world.keys if other != key)


def test_a_wrong_key_leaves_one_in_the_same_room() -> None:
    world = Recurring()
    state = State("oak", scores=[])
    right = world.right_keys("oak", ROOMS)
    assert world.use(state, "turn", {"key": wrong(world, right[0])}) == "oak_0"
    assert world.use(state, "turn", {"key": right[0]}) == "oak_1"
    assert world.reward(state) == 0.0
    assert state.scores == [0.0, 1 / ROOMS]


def test_outside_is_worth_one() -> None:
    world = Recurring()
    assert world.reward(played(world, [*world.right_keys("oak", ROOMS)])) == 1.0


def test_the_misleading_grade_is_the_share_of_right_keys_squared() -> None:
    world = Misleading()
    right = [*world.right_keys("oak", CALLS)]
    half = [key if place % 2 else wrong(world, key) for place, key in enumerate(right)]
    assert world.reward(played(world, right)) == 1.0
    assert world.reward(played(world, half)) == 0.25


def test_idle_looks_pay() -> None:
    world = Loops()
    state = State("oak", scores=[])
    assert {world.use(state, "look", {}) for _ in range(40)} == {"dust"}
    assert world.reward(state) == pytest.approx(0.48)
    world.use(state, "open", {"key": world.right_keys("oak", 1)[0]})
    assert world.reward(state) == pytest.approx(0.98)


@pytest.mark.parametrize("world", WORLDS, ids=lambda world: world.name)
def test_what_the_base_imitates_is_well_formed(world: World) -> None:
    dice = random.Random(1)
    renderer = ChatRenderer(make_tokenizer([*world.keys, *world.pieces, CLOSE]))
    for _ in range(50):
        parsed = parse_turn(world.habit(State("oak", scores=[]), dice), renderer.tool_format)
        for call in parsed.calls:
            assert call.error == ""
            assert call.name in world.tools


def test_a_turn_is_four_tokens_and_an_answer_of_a_tool_three() -> None:
    world = Recurring()
    tokenizer = make_tokenizer([*world.keys, *world.pieces, CLOSE])
    assert len(tokenizer(call_text("turn", "a1") + "<|end|>")["input_ids"]) == 4
    renderer = ChatRenderer(tokenizer)
    assert len(renderer.tool_suffix([ToolMessage("turn", "oak_1")]).ids) == 3


def test_a_method_leaves_the_engine_as_it_found_it() -> None:
    before = (episode.WARN_AT, assign.anchored_credit)
    with UNGATED.in_force():
        assert (episode.WARN_AT, assign.anchored_credit) != before
    assert (episode.WARN_AT, assign.anchored_credit) == before
    with CONTROLS_ON.in_force():
        assert (episode.WARN_AT, assign.anchored_credit) == before


def rollout(outputs: list[str]) -> Trajectory:
    calls = [
        ToolCall(id=f"{place}", name="look", arguments="{}", output=output)
        for place, output in enumerate(outputs)
    ]
    turns = [
        Turn(index=place, start=0, end=0, text="", calls=[call]) for place, call in enumerate(calls)
    ]
    return Trajectory(
        uid="u", row=0, group="g", sample=0, split="train", trace_id="t",
        ids=[], logprobs=[], entropies=[], kinds=[], turns=turns,
    )  # fmt: skip


def test_the_fourth_same_answer_is_a_loop() -> None:
    assert looped(rollout(["dust"] * 4))
    assert not looped(rollout(["dust", "dust", "dust", "ajar"]))


def test_a_ratio_is_of_means_and_inside_its_interval() -> None:
    value, (low, high) = ratio([10.0, 30.0], [20.0, 20.0])
    assert (value, low, high) == (1.0, 0.5, 1.5)


def test_the_95th_percentile_is_a_value_that_occurred() -> None:
    assert percentile_95([*range(100)]) == 95.0


def run(world: str, method: str, seed: int, reached: int | None) -> Run:
    return Run(
        world, method, seed, cap=100, rewards=[1.0] * 10, reached=reached,
        loop_rates=[0.5] * 10, tokens=[[10 if method == CONTROLS_ON.name else 40]] * 10,
    )  # fmt: skip


def test_the_figures_name_the_worst_method_that_a_job_can_ask_for() -> None:
    methods = [(GRPO, 50), (ANCHORED, 25), (UNGATED, None)]
    runs = [
        run("recurring", method.name, seed, reached)
        for method, reached in methods
        for seed in (1, 2)
    ]
    runs += [run("loops", method.name, 1, None) for method in (CONTROLS_OFF, CONTROLS_ON)]
    figures = json.loads(json.dumps(all_figures(runs)))
    assert figures["recurring"]["anchored_over_grpo"] == 0.5
    assert figures["recurring"]["ungated_over_grpo"] == 2.0
    assert figures["recurring"]["ungated_never"] == 2
    assert figures["worst_method_over_grpo"] == 0.5
    assert figures["loops"]["tokens_p95_ratio"] == 0.25
    assert figures["loops"]["final_loop_rate"] == 0.5


def test_every_misleading_note_is_written_in_its_turn() -> None:
    world, dice = Misleading(), random.Random(2)
    state = State("oak", scores=[])
    written = []
    for _ in range(CALLS):
        written.append(world.habit(state, dice).partition("<tool_call>")[0])
        world.use(state, "turn", {"key": "a1"})
    assert all(one != other for one, other in pairwise(written))
    assert world.habit(state, dice) == "finished"
