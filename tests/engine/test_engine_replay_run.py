"""A replay on a real engine: the figures of training again, and nothing of the training changes."""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
import shutil
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import msgspec
import pytest

from jobs.engine import wiring
from jobs.engine.__main__ import run_to_event
from jobs.engine.continuations import Estimate
from jobs.engine.control import ControlReader
from jobs.engine.credit.counterfactual import compare
from jobs.engine.errors import RunFailed
from jobs.engine.events import Cancelled, Failed, Finished, ReplayDone
from jobs.engine.ranks import Alone
from jobs.engine.replay_run import _done
from jobs.engine.reporting import EventWriter, read_body
from jobs.engine.rollout.render import ChatRenderer
from jobs.engine.spec import (
    Budgets,
    Control,
    CounterfactualSpec,
    CreditSpec,
    DataSpec,
    Handshake,
    JobSpec,
    LoraSpec,
    ReplaySpec,
    ResumePoint,
    ToolSpec,
)

GRADER = {
    "type": "text_similarity",
    "name": "close",
    "input": "{{sample.output_text}}",
    "reference": "{{item.answer}}",
    "evaluation_metric": "fuzzy_match",
}
STEPS = 3


class _Tool(BaseHTTPRequestHandler):
    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        body = b'{"output": "42"}'
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        return


class CallingRenderer(ChatRenderer):
    """Reads every second turn as a call, whatever the model babbles."""

    def turn_text(self, ids):
        if len(ids) % 2:
            return super().turn_text(ids)
        call = {"name": "ask", "arguments": {"said": list(ids[:3])}}
        return f"<tool_call>{json.dumps(call)}</tool_call>"


def run(handshake, control=None):
    """The last event and those before it."""
    stream = io.BytesIO()
    ended = run_to_event(handshake, EventWriter(stream), control or ControlReader(None), Alone())
    last = asyncio.run(ended)
    return last, [json.loads(line) for line in stream.getvalue().splitlines()]


@pytest.fixture(scope="module")
def calling():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(wiring, "ChatRenderer", CallingRenderer)
        yield


@pytest.fixture(scope="module")
def trained(calling, tiny_model_dir, tmp_path_factory):
    """Three steps in which one call of each was measured, not trained on."""
    folder = tmp_path_factory.mktemp("trained")
    # Many end tokens, so that random turns end by themselves.
    shutil.copytree(tiny_model_dir, folder / "model")
    config = folder / "model" / "generation_config.json"
    ends = {"eos_token_id": [2, *range(60, 100)]}
    config.write_text(json.dumps(json.loads(config.read_text()) | ends))
    # Something of it is in whatever is babbled, so that rewards differ.
    answer = "".join(map(chr, range(33, 127)))
    row = {"messages": [{"role": "user", "content": "Say it"}], "answer": answer}
    (folder / "tasks.jsonl").write_text(f"{json.dumps(row)}\n" * 3)
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Tool)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    spec = JobSpec(
        run_id="r",
        model_path=str(folder / "model"),
        device="cpu",
        train=DataSpec(path=str(folder / "tasks.jsonl"), rows=(1, 2)),
        validation=DataSpec(path=str(folder / "tasks.jsonl"), rows=(0,)),
        tools=(ToolSpec("ask", f"http://127.0.0.1:{server.server_address[1]}/"),),
        grader=GRADER,
        budgets=Budgets(max_turns=6, max_turn_tokens=24, max_total_tokens=1024),
        steps=STEPS,
        groups_per_step=2,
        group_size=3,
        learning_rate=5e-2,
        lora=LoraSpec(rank=4),
        eval_interval=9,
        keep_checkpoints=9,
        credit=CreditSpec(counterfactual=CounterfactualSpec(calls_per_step=1, continuations=3)),
        deterministic=True,
    )
    allow = ("127.0.0.1/32",)
    last, told = run(
        Handshake(spec=spec, run_dir=str(folder / "run"), allow_networks=allow),
        # Nothing is committed, so every checkpoint is kept.
        SimpleNamespace(follow=lambda _: None, check=lambda: None, committed=0, available=None),
    )
    assert isinstance(last, Finished), last
    steps = [event for event in told if event["event"] == "StepDone"]
    yield SimpleNamespace(folder=folder, spec=spec, steps=steps, allow=allow)
    server.shutdown()
    server.server_close()


def replay_of(trained, step, weights=None, **changes):
    """The turn that training measured in `step`, with what training found."""
    done = trained.steps[step]
    bodies = trained.folder / "run" / done["bodies"]
    rows = [row for row in done["trajectories"] if row["split"] == "train"]
    members = {row["uid"]: read_body(bodies, row["offset"], row["length"]) for row in rows}
    uid, turn = next(
        (member.uid, turn)
        for member in members.values()
        for turn in member.turns
        if turn.measured is not None
    )
    group = [row for row in rows if row["group"] == members[uid].group]
    fields = {
        "uid": uid,
        "turn": turn.index,
        "continuations": 3,
        "step": step,
        "bodies": str(bodies),
        "frames": tuple((row["offset"], row["length"]) for row in group),
        "weights": tuple(point(trained, at) for at in (weights or [])),
    }
    return ReplaySpec(**(fields | changes)), turn.measured


def point(trained, step):
    ref = trained.steps[step]["checkpoint"]
    return ResumePoint(step, str(trained.folder / "run" / ref["path"]), ref["manifest_sha256"])


def replayed(trained, replay, tmp_path, control=None, **changes):
    spec = msgspec.structs.replace(trained.spec, kind="replay", run_id="r2", **changes)
    handshake = Handshake(
        spec=spec, run_dir=str(tmp_path), allow_networks=trained.allow, replay=replay
    )
    return run(handshake, control)


def hashes(folder: Path):
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.mark.slow
def test_with_the_weights_that_sampled_it_training_s_own_figures_come_again(trained, tmp_path):
    before = hashes(trained.folder / "run")
    replay, measured = replay_of(trained, 3, [2])
    done, said = replayed(trained, replay, tmp_path)
    assert isinstance(done, ReplayDone), done
    assert (done.uid, done.turn, done.weights_step) == (replay.uid, replay.turn, 2)
    assert (done.delta, done.interval) == (measured.delta, measured.interval)
    assert done.delta != 0
    told = trained.steps[3]["metrics"]["credit"]
    assert done.cost["sampled_tokens"] == told["continuations_sampled_tokens"]
    assert (done.n, done.unusable, done.reason) == (measured.n, measured.unusable, "")
    assert (done.cost["rollouts"], done.cost["measured"]) == (6, 1)
    assert {event["event"] for event in said} == {"Progress"}
    assert hashes(trained.folder / "run") == before
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_first_step_is_sampled_by_the_base_model_which_needs_no_checkpoint(trained, tmp_path):
    replay, measured = replay_of(trained, 1)
    done, _ = replayed(trained, replay, tmp_path)
    assert (done.weights_step, done.delta) == (0, measured.delta)


@pytest.mark.slow
def test_a_damaged_checkpoint_is_left_where_it_is_and_the_next_one_is_named(trained, tmp_path):
    copy = SimpleNamespace(**vars(trained) | {"folder": tmp_path / "copy"})
    shutil.copytree(trained.folder, copy.folder)
    adapter = Path(point(copy, 2).path) / "adapter_model.safetensors"
    adapter.write_bytes(adapter.read_bytes()[:-1] + b"x")
    before = hashes(copy.folder)
    (tmp_path / "own").mkdir()
    # The step-1 folder is gone, as where the training run has just removed it.
    lost = msgspec.structs.replace(point(copy, 1), path=str(tmp_path / "gone" / "step-000001"))
    replay, _ = replay_of(copy, 3, weights=[])
    weights = (point(copy, 2), lost, point(copy, 3))
    replay = msgspec.structs.replace(replay, weights=weights)
    done, told = replayed(copy, replay, tmp_path / "own")
    assert done.weights_step == 3
    warned = [event["text"] for event in told if event["event"] == "Message"]
    assert [text[:28] for text in warned] == [
        "The checkpoint of step 2 can",
        "The checkpoint of step 1 can",
    ]
    assert hashes(copy.folder) == before


@pytest.mark.slow
def test_other_weights_play_on_otherwise(trained, tmp_path):
    replay, measured = replay_of(trained, 3)
    done, _ = replayed(trained, replay, tmp_path)
    assert (done.weights_step, done.n) == (0, measured.n)
    assert done.delta != measured.delta


@pytest.mark.slow
def test_a_dead_tool_fails_the_replay_with_a_sentence(trained, tmp_path):
    replay, _ = replay_of(trained, 3, [2])
    dead = ToolSpec("ask", "http://127.0.0.1:9/", idempotent=False, effects="none")
    failed, _ = replayed(trained, replay, tmp_path, tools=(dead,), budgets=Budgets(max_turns=40))
    assert isinstance(failed, Failed), failed
    assert (failed.code, failed.permanent) == ("continuations_lost", True)
    assert "because of tool ask" in failed.text


@pytest.mark.slow
def test_a_wish_to_cancel_is_obeyed(trained, tmp_path):
    class Cancels(ControlReader):
        def follow(self, task):
            super().follow(task)
            self._loop.call_later(0.2, lambda: self.obey(Control("cancel")))

    replay, _ = replay_of(trained, 3, [2], continuations=16)
    ended, _ = replayed(trained, replay, tmp_path, Cancels(None))
    assert isinstance(ended, Cancelled)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"uid": "t-9-9-9"}, "turn_unknown"),
        ({"turn": 99}, "turn_unknown"),
        ({"bodies": "/nowhere.zst"}, "body_unreadable"),
        ({"frames": ((0, 3),)}, "body_unreadable"),
    ],
)
def test_what_cannot_be_read_is_a_sentence(trained, tmp_path, changes, code):
    replay, _ = replay_of(trained, 3, **changes)
    failed, _ = replayed(trained, replay, tmp_path)
    assert (failed.code, failed.permanent) == (code, True)


REPLAY = ReplaySpec(uid="t", turn=0, continuations=2, step=1, bodies="b", frames=(), weights=())


@pytest.mark.parametrize(("unrecorded", "is_answer"), [(2, True), (1, True), (0, False)])
def test_calls_that_may_not_be_made_again_are_an_answer_and_an_outage_is_none(
    unrecorded, is_answer
):
    credit = compare([None, None], [1.0, 0.0])
    cost = {"unusable": 2, "unrecorded": unrecorded}
    estimate = Estimate({("t", 0): credit}, cost)
    if is_answer:
        assert (_done(REPLAY, estimate, 0).delta, _done(REPLAY, estimate, 0).n) == (None, 2)
        return
    with pytest.raises(RunFailed, match="usable are 0 of 2 continuations from before"):
        _done(REPLAY, estimate, 0)


def test_a_replay_and_its_kind_go_together(tmp_path):
    data = DataSpec("x")
    spec = JobSpec(run_id="r", model_path="m", train=data, validation=data, grader=GRADER)
    with pytest.raises(ValueError, match="do not go together"):
        Handshake(spec=spec, run_dir="d", replay=REPLAY)
    with pytest.raises(ValueError, match="do not go together"):
        Handshake(spec=msgspec.structs.replace(spec, kind="replay"), run_dir="d")
    with pytest.raises(ValueError, match="at least 2"):
        msgspec.structs.replace(REPLAY, continuations=1)
