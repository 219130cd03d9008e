"""A preflight on a real engine: slices without checkpoints, a timed update, and what ends it."""

from __future__ import annotations

import asyncio
import io
import json
import shutil
from types import SimpleNamespace

import msgspec
import pytest

from jobs.engine import wiring
from jobs.engine.__main__ import run_to_event
from jobs.engine.control import ControlReader
from jobs.engine.events import Cancelled, Finished, Paused
from jobs.engine.learning.update import Learner
from jobs.engine.ranks import Alone
from jobs.engine.reporting import EventWriter, read_body
from jobs.engine.rollout.render import ChatRenderer
from jobs.engine.spec import (
    Budgets,
    Control,
    DataSpec,
    Handshake,
    JobSpec,
    LoraSpec,
    PreflightSpec,
    ToolSpec,
)

GRADER = {
    "type": "text_similarity",
    "name": "close",
    "input": "{{sample.output_text}}",
    "reference": "{{item.answer}}",
    "evaluation_metric": "fuzzy_match",
}
BROKEN = {
    "type": "python",
    "name": "broken",
    "source": "def grade(sample, item):\n    return 1 / 0\n",
}
ROWS = (4, 1, 3)


class CallingRenderer(ChatRenderer):
    """Reads every turn as a call, whatever the model babbles."""

    def turn_text(self, ids):
        return f"<tool_call>{json.dumps({'name': 'ask', 'arguments': {}})}</tool_call>"


@pytest.fixture
def world(tiny_model_dir, tmp_path):
    shutil.copytree(tiny_model_dir, tmp_path / "model")
    config = tmp_path / "model" / "generation_config.json"
    ends = {"eos_token_id": [2, *range(60, 100)]}
    config.write_text(json.dumps(json.loads(config.read_text()) | ends))
    answer = "".join(map(chr, range(33, 127)))
    row = {"messages": [{"role": "user", "content": "Say it"}], "answer": answer}
    (tmp_path / "tasks.jsonl").write_text(f"{json.dumps(row)}\n" * 6)
    data = DataSpec(path=str(tmp_path / "tasks.jsonl"))
    spec = JobSpec(
        run_id="r",
        kind="preflight",
        model_path=str(tmp_path / "model"),
        device="cpu",
        train=data,
        validation=data,
        grader=GRADER,
        budgets=Budgets(max_turns=2, max_turn_tokens=24, max_total_tokens=512),
        groups_per_step=2,
        group_size=8,
        lora=LoraSpec(rank=4),
        deterministic=True,
    )
    return SimpleNamespace(spec=spec, run_dir=tmp_path / "run")


def tried(world, *, rows=ROWS, is_last_try=False, last_step=-1, control=None, **changes):
    """The last event, and the steps before it."""
    handshake = Handshake(
        spec=msgspec.structs.replace(world.spec, **changes),
        run_dir=str(world.run_dir),
        allow_networks=("127.0.0.1/32",),
        last_step=last_step,
        preflight=PreflightSpec(rows=rows, attempts=3, is_last_try=is_last_try),
    )
    stream = io.BytesIO()
    ended = run_to_event(handshake, EventWriter(stream), control or ControlReader(None), Alone())
    last = asyncio.run(ended)
    told = [json.loads(line) for line in stream.getvalue().splitlines()]
    return last, [event for event in told if event["event"] == "StepDone"]


def broken(monkeypatch):
    """Every turn calls a tool whose port is closed."""
    monkeypatch.setattr(wiring, "ChatRenderer", CallingRenderer)
    return (ToolSpec("ask", "http://127.0.0.1:9/", idempotent=False, effects="none"),)


def test_every_task_is_tried_in_slices_and_nothing_is_trained(world):
    last, steps = tried(world)
    assert isinstance(last, Finished), last
    assert last.adapter is None
    assert [(step["step"], step["total_steps"]) for step in steps] == [(0, 1), (1, 1)]
    assert [len(step["trajectories"]) for step in steps] == [6, 3]
    assert all(step.get("checkpoint") is None for step in steps)
    rows = [row for step in steps for row in step["trajectories"]]
    assert [row["row"] for row in rows] == [4, 4, 4, 1, 1, 1, 3, 3, 3]
    assert {row["split"] for row in rows} == {"preflight"}
    assert {row.get("advantage") for row in rows} == {None}
    assert all("no_signal" not in row.get("flags", ()) for row in rows)
    stored = read_body(world.run_dir / steps[1]["bodies"], rows[6]["offset"], rows[6]["length"])
    assert (stored.uid, stored.trained, stored.attribution) == ("p-1-3-0", False, [])
    assert not (world.run_dir / "checkpoints").exists()


def test_updates_are_timed_after_the_last_slice_alone(world):
    _, (first, second) = tried(world)
    trial = second["metrics"]["trial"]
    assert first["metrics"]["trial"] == {}
    assert trial["rollouts"] == 3
    assert trial["tokens"] == sum(row["tokens"] for row in second["trajectories"])
    assert 0 < trial["seconds"] <= trial["seconds_total"]


def test_memory_that_runs_out_in_the_update_is_a_finding(world, monkeypatch):
    def refuse(*_):
        raise MemoryError("not enough")

    monkeypatch.setattr(Learner, "step", refuse)
    last, steps = tried(world)
    assert isinstance(last, Finished)
    assert "Memory ran out" in steps[-1]["metrics"]["trial"]["refused"]


def test_the_same_seed_samples_the_same_attempts_also_after_a_resume(world, tmp_path):
    _, whole = tried(world)
    world.run_dir = tmp_path / "again"
    _, rest = tried(world, rows=ROWS[2:], last_step=0)
    texts = [[row["excerpt"] for row in steps[-1]["trajectories"]] for steps in (whole, rest)]
    assert texts[0] == texts[1]
    assert rest[0]["step"] == 1


def test_with_nothing_left_it_is_finished(world):
    last, steps = tried(world, rows=(), last_step=1)
    assert isinstance(last, Finished)
    assert steps == []


def test_a_tool_that_is_away_pauses_it_after_the_slice_was_told(world, monkeypatch):
    last, steps = tried(world, tools=broken(monkeypatch))
    assert isinstance(last, Paused), last
    assert last.reason == "tool_unavailable"
    assert last.text.startswith("6 of 6 rollouts were lost to a tool fault")
    assert last.text.endswith("It goes on by itself when the tool answers again.")
    assert [step["metrics"]["preflight"]["lost"] for step in steps] == ["tool_unavailable"]
    assert steps[0]["metrics"]["trial"] == {}
    assert {row["stop"] for row in steps[0]["trajectories"]} == {"tool_fault"}


def test_on_the_last_try_it_ends_with_what_was_found(world, monkeypatch):
    last, steps = tried(world, tools=broken(monkeypatch), is_last_try=True)
    assert isinstance(last, Finished)
    assert len(steps) == 1


def test_a_grader_that_fails_ends_it_with_the_evidence(world):
    last, steps = tried(world, grader=BROKEN)
    assert isinstance(last, Finished), last
    (step,) = steps
    found = step["metrics"]["preflight"]
    assert found["lost"] == "grader_failed"
    assert "division by zero" in found["lost_text"]
    assert "clone the job" not in found["lost_text"]


def test_a_wish_to_cancel_is_obeyed(world):
    class Cancels(ControlReader):
        def follow(self, task):
            super().follow(task)
            self._loop.call_soon(lambda: self.obey(Control("cancel")))

    last, _ = tried(world, control=Cancels(None))
    assert isinstance(last, Cancelled)


def test_a_preflight_and_its_kind_go_together(world):
    with pytest.raises(ValueError, match="do not go together"):
        Handshake(spec=world.spec, run_dir="d")
    with pytest.raises(ValueError, match="needs 2"):
        PreflightSpec(rows=(), attempts=1)
