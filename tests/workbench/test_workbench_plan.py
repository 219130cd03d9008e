"""Which samples a comparison reads and makes, worked out without a database."""

from __future__ import annotations

import story

from jobs.engine.types import Trajectory
from jobs.workbench.mutations import LONG, WORDS, mutated
from jobs.workbench.plan import AGAIN, Candidate, Unit, drawn, units


def body() -> Trajectory:
    return story.trajectory_made(4, "train", 1, 1)


ITEM = {"messages": [{"role": "user", "content": "Is a refund due?"}], "answer": "yes"}


def test_all_are_drawn_where_they_fit_and_else_some_of_every_step_and_reward() -> None:
    many = [Candidate(10 * step + at, step, at / 9) for step in range(4) for at in range(10)]
    assert len(drawn(many, 40)) == 40
    some = drawn(many, 8)
    rewards = {one.pk: one.reward for one in many}
    assert [pk // 10 for pk in some] == [0, 0, 1, 1, 2, 2, 3, 3]
    assert [rewards[pk] for pk in some] == [0.0, 5 / 9] * 4
    assert drawn(list(reversed(many)), 8) == some


def test_an_ungraded_one_is_drawn_too() -> None:
    assert drawn([Candidate(1, 0, None), Candidate(2, 0, 0.5)], 5) == [1, 2]


def test_samples_come_as_they_are_then_again_then_changed() -> None:
    made = units([5, 6], repeats=2, mutations=True)
    assert made == [
        Unit(5),
        Unit(6),
        Unit(5, AGAIN, 1),
        Unit(5, AGAIN, 2),
        Unit(6, AGAIN, 1),
        Unit(6, AGAIN, 2),
        *(Unit(5, change) for change in WORDS),
        *(Unit(6, change) for change in WORDS),
    ]
    assert units([5, 6], repeats=0, mutations=False) == [Unit(5), Unit(6)]
    many = units(list(range(500)), repeats=3, mutations=True)
    assert len(many) == 500 + 3 * 32 + 12 * 11


def test_every_change_is_made_of_a_real_sample_and_only_the_text_changes() -> None:
    real = body()
    made = mutated(real, ITEM, ["no, wait", "perhaps"])
    assert made.keys() == WORDS.keys()
    assert made["blank"].answer == ""
    assert made["prompt"].answer == "Is a refund due?"
    assert made["tool_output"].answer == real.calls[0].output
    assert made["all_answers"].answer == f"{real.answer}, no, wait, perhaps"
    assert len(made["long"].answer) == LONG
    assert made["other_task"].answer == "no, wait"
    assert "1.0" in made["order"].answer
    assert all(one.calls == real.calls for one in made.values())
    assert real.answer == body().answer


def test_a_change_that_cannot_be_made_is_left_out() -> None:
    real = body()
    for turn in real.turns:
        turn.calls = []
    made = mutated(real, {"messages": []}, [real.answer, " "])
    assert WORDS.keys() - made.keys() == {"prompt", "tool_output", "other_task", "all_answers"}
    blank = body()
    blank.turns[-1].content = ""
    assert "blank" not in mutated(blank, ITEM, [])
    blank.turns = []
    assert mutated(blank, ITEM, ["x"]) == {}
