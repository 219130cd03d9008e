"""A playground on a real engine: the same model twice says the same, an adapter says something
else, turns are heard of as they come, and what ends it."""

from __future__ import annotations

import asyncio
import gc
import io
import json
import shutil
import threading
import weakref
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import msgspec
import pytest
import torch

from jobs.engine import wiring
from jobs.engine.__main__ import run_to_event
from jobs.engine.control import ControlReader
from jobs.engine.events import Cancelled, Failed, Finished
from jobs.engine.learning.losses.registry import loss_named
from jobs.engine.learning.model import load_policy
from jobs.engine.learning.update import Learner
from jobs.engine.playground_run import SHOWN_RESULT
from jobs.engine.ranks import Alone
from jobs.engine.reporting import EventWriter, read_body
from jobs.engine.rollout.render import ChatRenderer
from jobs.engine.saving import Saver
from jobs.engine.spec import (
    AdapterStart,
    Budgets,
    Control,
    DataSpec,
    Handshake,
    JobSpec,
    LoraSpec,
    PlaygroundSpec,
    SideSpec,
    ToolSpec,
)

GRADER = {
    "type": "text_similarity",
    "name": "close",
    "input": "{{sample.output_text}}",
    "reference": "{{item.answer}}",
    "evaluation_metric": "fuzzy_match",
}
LORA = LoraSpec(rank=2, alpha=4)
ITEM = {
    "messages": [{"role": "user", "content": "Say it"}],
    "answer": "".join(map(chr, range(33, 90))),
}


class CallingRenderer(ChatRenderer):
    """Reads every turn as a call, whatever the model babbles."""

    def turn_text(self, ids):
        return f"<tool_call>{json.dumps({'name': 'ask', 'arguments': {}})}</tool_call>"


class _Tool(BaseHTTPRequestHandler):
    """Answers at length, and keeps the trace of each call."""

    traces: list[str] = []

    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.traces.append(asked["trace_id"])
        told = json.dumps(
            {"type": "function_call_output", "call_id": asked["call_id"], "output": "x" * 9000}
        )
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(told)))
        self.end_headers()
        self.wfile.write(told.encode())

    def log_message(self, *_):
        return


@pytest.fixture
def world(tiny_model_dir, tmp_path):
    shutil.copytree(tiny_model_dir, tmp_path / "model")
    config = tmp_path / "model" / "generation_config.json"
    ends = {"eos_token_id": [2, *range(60, 100)]}
    config.write_text(json.dumps(json.loads(config.read_text()) | ends))
    spec = JobSpec(
        run_id="r",
        kind="playground",
        seed=7,
        model_path=str(tmp_path / "model"),
        device="cpu",
        train=DataSpec(""),
        validation=DataSpec(""),
        grader={},
        budgets=Budgets(max_turns=2, max_turn_tokens=24, max_total_tokens=4000),
        temperature=0.0,
    )
    side = SideSpec(model_path=str(tmp_path / "model"), lora=LORA)
    return SimpleNamespace(spec=spec, run_dir=tmp_path / "run", side=side)


@pytest.fixture
def tuned(world, tmp_path):
    """The same base model with the adapter of a checkpoint."""
    spec = msgspec.structs.replace(world.spec, lora=LORA, temperature=1.0)
    policy = load_policy(spec)
    generator = torch.Generator().manual_seed(5)
    for _, parameter in policy.trainable:
        parameter.data = torch.randn(parameter.shape, generator=generator) * 0.3
    learner = Learner(policy, spec, loss_named("cispo"))
    shake = Handshake(spec=msgspec.structs.replace(spec, kind="train"), run_dir=str(tmp_path))
    saver = Saver(shake, learner, ControlReader(None), print)
    ref = saver.save(msgspec.structs.replace(saver.begin(), step=20), 0.61)
    start = AdapterStart(ref.manifest_sha256, "ftjob-1", 20, str(tmp_path / ref.path))
    return msgspec.structs.replace(world.side, lora=msgspec.structs.replace(LORA, start=start))


def played(world, *sides, last_step=-1, control=None, **changes):
    """The last event, all events before it, and the body of each side that is done."""
    handshake = Handshake(
        spec=msgspec.structs.replace(world.spec, **changes),
        run_dir=str(world.run_dir),
        allow_networks=("127.0.0.1/32",),
        last_step=last_step,
        playground=PlaygroundSpec(row=3, item=ITEM, sides=sides or (world.side,)),
    )
    stream = io.BytesIO()
    ended = run_to_event(handshake, EventWriter(stream), control or ControlReader(None), Alone())
    last = asyncio.run(ended)
    told = [json.loads(line) for line in stream.getvalue().splitlines()]
    bodies = [
        read_body(world.run_dir / step["bodies"], row["offset"], row["length"])
        for step in told
        if step["event"] == "StepDone"
        for row in step["trajectories"]
    ]
    return last, told, bodies


def calling(world, monkeypatch, port):
    """Every turn calls a tool at this port."""
    monkeypatch.setattr(wiring, "ChatRenderer", CallingRenderer)
    return (ToolSpec("ask", f"http://127.0.0.1:{port}/", idempotent=False, effects="none"),)


@pytest.fixture
def tool_port():
    _Tool.traces = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Tool)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_port
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_the_same_model_twice_says_the_same_with_one_seed(world, temperature):
    last, told, (a, b) = played(world, world.side, world.side, temperature=temperature)
    assert isinstance(last, Finished), last
    assert last.adapter is None
    steps = [event for event in told if event["event"] == "StepDone"]
    assert [(step["step"], step["total_steps"]) for step in steps] == [(0, 1), (1, 1)]
    assert a.sampled_tokens > 0
    assert (a.ids, a.logprobs) == (b.ids, b.logprobs)
    assert (a.uid, b.uid, a.row, a.split) == ("side-A", "side-B", 3, "playground")
    assert (a.reward, a.trained, a.cause) == (None, False, "")
    assert not (world.run_dir / "checkpoints").exists()


def test_another_seed_says_something_else(world):
    _, _, (a,) = played(world, temperature=1.0)
    _, _, (b,) = played(world, temperature=1.0, seed=8)
    assert a.ids != b.ids


def test_an_adapter_says_something_else_than_its_base(world, tuned):
    _, _, (base, other) = played(world, world.side, tuned)
    prompt = base.turns[0].start
    assert base.ids[:prompt] == other.ids[:prompt]
    assert base.ids[prompt:] != other.ids[prompt:]


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_a_base_model_that_is_there_already_is_not_read_again_and_says_the_same(
    world, tuned, monkeypatch, temperature
):
    reads = []

    def counted(spec):
        reads.append(spec.model_path)
        return load_policy(spec)

    monkeypatch.setattr(wiring, "load_policy", counted)
    wide = msgspec.structs.replace(world.side, lora=LoraSpec(rank=3, alpha=6))
    for sides in ((world.side, tuned), (tuned, world.side), (tuned, wide), (tuned, tuned)):
        reads.clear()
        _, _, together = played(world, *sides, temperature=temperature)
        assert len(reads) == 1
        for side, body in zip(sides, together, strict=True):
            (alone,) = played(world, side, temperature=temperature)[2]
            assert (body.ids, body.logprobs) == (alone.ids, alone.logprobs)


def test_another_base_model_is_read_when_the_one_before_is_gone(world, tmp_path, monkeypatch):
    reads, models = [], []

    def counted(spec):
        gc.collect()
        assert not any(model() for model in models)
        policy = load_policy(spec)
        reads.append(spec.model_path)
        models.append(weakref.ref(policy.model))
        return policy

    monkeypatch.setattr(wiring, "load_policy", counted)
    shutil.copytree(world.side.model_path, tmp_path / "other")
    other = msgspec.structs.replace(world.side, model_path=str(tmp_path / "other"))
    played(world, world.side, other)
    assert reads == [world.side.model_path, str(tmp_path / "other")]


def test_a_grader_rewards_each_side(world):
    _, told, (body,) = played(world, grader=GRADER)
    assert body.reward is not None
    row = next(event for event in told if event["event"] == "StepDone")["trajectories"][0]
    assert row["reward"] == body.reward


def test_turns_are_heard_of_as_they_come_without_tokens_and_with_short_results(
    world, monkeypatch, tool_port
):
    tools = calling(world, monkeypatch, tool_port)
    budgets = msgspec.structs.replace(world.spec.budgets, max_total_tokens=30_000)
    _, told, (body,) = played(world, tools=tools, budgets=budgets, temperature=1.0)
    news = [event["rollout"] for event in told if event["event"] == "TurnsSoFar"]
    assert {event.get("step") for event in told if event["event"] == "TurnsSoFar"} == {0}
    asked, answered = (each["turns"][0]["calls"][0] for each in news[:2])
    assert asked.get("status", "pending") == "pending"
    assert (answered["status"], len(answered["output"])) == ("ok", SHOWN_RESULT + 1)
    assert all(not each["ids"] and not each["kinds"] for each in news)
    assert len(body.turns[0].calls[0].output) == 9000


def test_the_sides_are_two_rollouts_to_the_tools(world, monkeypatch, tool_port):
    tools = calling(world, monkeypatch, tool_port)
    _, _, (a, b) = played(world, world.side, world.side, tools=tools, temperature=1.0)
    assert a.trace_id != b.trace_id
    assert set(_Tool.traces) == {a.trace_id, b.trace_id}


def test_a_dead_tool_ends_its_side_alone_and_is_told(world, monkeypatch):
    tools = calling(world, monkeypatch, 9)
    last, _, (a, b) = played(world, world.side, world.side, tools=tools, temperature=1.0)
    assert isinstance(last, Finished)
    assert (a.stop, b.stop) == ("tool_fault", "tool_fault")
    assert "ask" in a.cause


def test_a_side_that_is_done_is_not_made_again(world):
    _, _, (_, whole) = played(world, world.side, world.side)
    gone = msgspec.structs.replace(world.side, model_path="")
    _, told, (rest,) = played(world, gone, world.side, last_step=0)
    assert rest.ids == whole.ids
    assert [event["step"] for event in told if event["event"] == "StepDone"] == [1]


def test_a_checkpoint_that_is_damaged_ends_it_with_its_name(world, tuned):
    start = msgspec.structs.replace(tuned.lora.start, manifest_sha256="0" * 64)
    side = msgspec.structs.replace(tuned, lora=msgspec.structs.replace(LORA, start=start))
    last, _, bodies = played(world, world.side, side)
    assert isinstance(last, Failed)
    assert (last.code, len(bodies)) == ("start_unusable", 1)


def test_a_wish_to_cancel_is_obeyed(world):
    class Cancels(ControlReader):
        def follow(self, task):
            super().follow(task)
            self._loop.call_soon(lambda: self.obey(Control("cancel")))

    last, _, bodies = played(world, control=Cancels(None))
    assert isinstance(last, Cancelled)
    assert bodies == []


def test_a_playground_needs_a_model_and_a_task_and_only_it_may_be_cold(world):
    with pytest.raises(ValueError, match="needs a model and a task"):
        PlaygroundSpec(row=0, item=ITEM, sides=())
    with pytest.raises(ValueError, match="do not go together"):
        Handshake(spec=world.spec, run_dir="d")
    with pytest.raises(ValueError, match="temperature is 0.0, and must be above 0"):
        msgspec.structs.replace(world.spec, kind="train")
    with pytest.raises(ValueError, match="temperature is -1, and must be above 0"):
        msgspec.structs.replace(world.spec, temperature=-1)
