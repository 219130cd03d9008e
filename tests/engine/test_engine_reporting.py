"""Events, trajectory bodies and their index rows."""

from __future__ import annotations

import io
import json
import math
import threading

import pytest

from jobs.engine.events import Progress
from jobs.engine.reporting import (
    EventWriter,
    excerpt_of,
    flags_of,
    read_bodies,
    read_body,
    trajectory_row,
    write_bodies,
)
from jobs.engine.types import Received, StopReason


def test_each_body_is_read_back_by_its_row(tmp_path, make_trajectory, make_call):
    members = [
        make_trajectory(f"t-3-0-{n}", n / 2, calls=[make_call(output="ä" * n)]) for n in range(3)
    ]
    name, rows = write_bodies(tmp_path, 3, 7, members)
    assert name == "trajectories/step-000003.e7.zst"
    assert [row.uid for row in rows] == ["t-3-0-0", "t-3-0-1", "t-3-0-2"]
    assert rows[0].offset == 0
    assert [row.offset + row.length for row in rows[:2]] == [row.offset for row in rows[1:]]
    assert (tmp_path / name).stat().st_size == rows[2].offset + rows[2].length
    for member, row in zip(members, rows, strict=True):
        assert read_body(tmp_path / name, row.offset, row.length) == member
    assert read_bodies(tmp_path / name) == members


def test_nothing_but_the_body_file_is_left_in_the_folder(tmp_path, make_trajectory):
    write_bodies(tmp_path, 1, 1, [make_trajectory()])
    write_bodies(tmp_path, 1, 1, [make_trajectory(reward=0.25)])
    (path,) = (tmp_path / "trajectories").iterdir()
    assert [member.reward for member in read_bodies(path)] == [0.25]


def test_a_row_holds_the_counts_of_its_trajectory(make_trajectory, make_call):
    calls = [make_call("read"), make_call("ask"), make_call("read")]
    row = trajectory_row(
        make_trajectory("v-2-5-1", 0.5, calls=calls, tokens=6, split="validation", row=5), 10, 20
    )
    assert (row.turns, row.tool_calls, row.tokens, row.total_tokens) == (4, 3, 6, 7)
    assert (row.tools, row.stop, row.reward) == (("ask", "read"), "final_answer", 0.5)
    assert (row.offset, row.length, row.row, row.split) == (10, 20, 5, "validation")


@pytest.mark.parametrize(
    ("reward", "stop"),
    [(1.0, StopReason.TOOL_FAULT), (math.nan, StopReason.FINAL_ANSWER), (math.inf, None)],
)
def test_an_ungraded_row_has_no_reward(make_trajectory, reward, stop):
    row = trajectory_row(make_trajectory(reward=reward, stop=stop), 0, 1)
    assert row.reward is None
    assert "ungraded" in row.flags


def test_a_solved_and_trained_rollout_has_no_flags(make_trajectory, make_call):
    assert flags_of(make_trajectory(trained=True, calls=[make_call()])) == ()


def test_each_flag_has_its_cause(make_trajectory, make_call):
    def flags(*statuses, **more):
        calls = [make_call(arguments=str(n), status=s) for n, s in enumerate(statuses)]
        return flags_of(make_trajectory(calls=calls, **({"trained": True} | more)))

    assert flags("malformed", "ok") == ("malformed_call",)
    assert flags("tool_error") == ("tool_error",)
    assert flags("fault", stop=StopReason.TOOL_FAULT) == ("ungraded", "tool_fault")
    assert flags(stop=StopReason.TOKEN_LOOP) == ("looped",)
    assert flags(reward=None) == ("ungraded",)
    assert flags(trained=False) == ("no_signal",)
    assert flags(trained=False, split="validation") == ()
    lost = Received(row=None, total=0.0)
    assert flags(advantage=0.5, received=lost) == ("audit_differs",)


def test_an_excerpt_is_the_answer_and_then_the_calls(make_trajectory, make_call):
    calls = [make_call("ask", '{"q": 1}'), make_call("read", '{"d": 2}')]
    assert excerpt_of(make_trajectory(calls=calls)) == '42\nask {"q": 1}\nread {"d": 2}'


def test_an_excerpt_ends_at_2000_characters(make_trajectory, make_call):
    assert len(excerpt_of(make_trajectory(calls=[make_call(arguments="x" * 5000)]))) == 2000


def test_events_of_many_threads_are_whole_lines():
    stream = io.BytesIO()
    writer = EventWriter(stream)
    threads = [
        threading.Thread(target=lambda: [writer.progress(1, "rollout", n, 50) for n in range(50)])
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    events = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert len(events) == 200
    assert events[0]["event"] == Progress.__name__
