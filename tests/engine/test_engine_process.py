"""The real program against a real tool server: whole runs, pauses, kills, and equal bytes after."""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import msgspec
import pytest

from jobs.engine.reporting import read_bodies
from jobs.engine.spec import (
    Budgets,
    Control,
    DataSpec,
    Handshake,
    JobSpec,
    LoraSpec,
    ResumePoint,
    ToolSpec,
)

ROOT = Path(__file__).parents[2]
GRADER = {
    "type": "text_similarity",
    "name": "close",
    "input": "{{sample.output_text}}",
    "reference": "{{item.answer}}",
    "evaluation_metric": "fuzzy_match",
}


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


@pytest.fixture(scope="module")
def tool_port():
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Tool)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_address[1]
    server.shutdown()


@pytest.fixture(scope="module")
def talkative_dir(tiny_model_dir, tmp_path_factory):
    """The tiny model with many end tokens, so that its random turns end by themselves."""
    folder = tmp_path_factory.mktemp("talkative") / "model"
    shutil.copytree(tiny_model_dir, folder)
    path = folder / "generation_config.json"
    config = json.loads(path.read_text())
    path.write_text(json.dumps(config | {"eos_token_id": [2, *range(60, 100)]}))
    return folder


@pytest.fixture
def make_spec(talkative_dir, tool_port, tmp_path):
    data = tmp_path / "tasks.jsonl"
    rows = [
        {"messages": [{"role": "user", "content": f"Say {n}"}], "answer": "abcdefgh ijklmnop"}
        for n in range(6)
    ]
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))

    def make(**changes):
        fields = {
            "run_id": "run-1",
            "model_path": str(talkative_dir),
            "device": "cpu",
            "train": DataSpec(path=str(data), rows=(0, 1, 2, 3)),
            "validation": DataSpec(path=str(data), rows=(4, 5)),
            "tools": (ToolSpec(name="ask", url=f"http://127.0.0.1:{tool_port}/"),),
            "grader": GRADER,
            "budgets": Budgets(max_turns=3, max_turn_tokens=24, max_total_tokens=1024),
            "steps": 10,
            "groups_per_step": 2,
            "group_size": 3,
            "learning_rate": 1e-2,
            "lora": LoraSpec(rank=4),
            "eval_interval": 4,
            "deterministic": True,
        }
        return JobSpec(**(fields | changes))

    return make


class Engine:
    """One engine process and what it said."""

    def __init__(self, spec, run_dir, ranks=1, **handshake):
        spread = ["torch.distributed.run", "--standalone", f"--nproc-per-node={ranks}", "-m"]
        shake = Handshake(
            spec=spec, run_dir=str(run_dir), allow_networks=("127.0.0.1/32",), **handshake
        )
        self.process = subprocess.Popen(
            [sys.executable, "-m", *(spread if ranks > 1 else []), "jobs.engine"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=ROOT,
            env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": f"{ROOT / 'platform'}:{ROOT}"},
        )
        self.events = []
        self._errors = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._log = threading.Thread(
            target=lambda: self._errors.append(self.process.stderr.read()), daemon=True
        )
        self._reader.start()
        self._log.start()
        self.say(shake)

    def _read(self):
        for line in self.process.stdout:
            if line.endswith(b"\n"):
                self.events.append(json.loads(line))

    def say(self, message):
        self.process.stdin.write(msgspec.json.encode(message) + b"\n")
        self.process.stdin.flush()

    def finish(self):
        """Wait for the end; returns the last event."""
        code = self.process.wait(timeout=240)
        self._reader.join(timeout=10)
        self._log.join(timeout=10)
        last = self.events[-1] if self.events else None
        assert last is None or code in {0, 1, -9}, self._errors
        return last

    def wait_for_step(self, step):
        deadline = time.monotonic() + 120
        while not any(e["step"] == step for e in self.steps) and time.monotonic() < deadline:
            if self.process.poll() is not None:
                return
            time.sleep(0.01)

    @property
    def steps(self):
        return [event for event in self.events if event["event"] == "StepDone"]


def resume_point(steps):
    ref = steps[-1]["checkpoint"]
    return {
        "resume": ResumePoint(ref["step"], ref["path"], ref["manifest_sha256"]),
        "last_step": ref["step"],
    }


def children(pid):
    found = subprocess.run(["pgrep", "-P", str(pid)], capture_output=True, check=False)
    return [int(line) for line in found.stdout.split()]


def gone(pids):
    deadline = time.monotonic() + 10
    while any(Path(f"/proc/{pid}").exists() for pid in pids) and time.monotonic() < deadline:
        time.sleep(0.05)
    return not any(Path(f"/proc/{pid}").exists() for pid in pids)


def learning(steps):
    return [(e["step"], e["metrics"]["learning"]) for e in steps if e["step"]]


def received(run_dir, steps):
    """What the optimiser received of each training rollout, by its uid, read from the bodies."""
    return {
        member.uid: member.received
        for event in steps
        for member in read_bodies(run_dir / event["bodies"])
        if member.split == "train"
    }


def checkpoint_hashes(run_dir, step):
    folder = run_dir / "checkpoints" / f"step-{step:06d}"
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in folder.iterdir()}


@pytest.mark.slow
def test_a_run_reports_each_step_once_and_ends_with_a_proven_adapter(make_spec, tmp_path):
    engine = Engine(make_spec(steps=4), tmp_path / "run")
    last = engine.finish()
    assert last["event"] == "Finished", last
    assert [e["step"] for e in engine.steps] == [0, 1, 2, 3, 4]
    assert any(e["metrics"].get("learning", {}).get("updated") for e in engine.steps)
    assert last["adapter"]["proof_max_abs_logprob_diff"] <= 1e-4
    assert last["adapter"]["proof_tokens"] > 0
    names = {path.name for path in (tmp_path / "run" / "adapter").iterdir()}
    assert names == {
        "MANIFEST.json",
        "README.md",
        "adapter_config.json",
        "adapter_model.safetensors",
        "proof.json",
    }


@pytest.mark.slow
def test_ten_steps_equal_five_and_five_more(make_spec, tmp_path):
    straight = Engine(make_spec(), tmp_path / "a")
    assert straight.finish()["event"] == "Finished"

    first = Engine(make_spec(steps=5), tmp_path / "b")
    assert first.finish()["event"] == "Finished"
    second = Engine(make_spec(), tmp_path / "b", epoch=2, **resume_point(first.steps))
    assert second.finish()["event"] == "Finished"
    assert learning(first.steps + second.steps) == learning(straight.steps)
    told = received(tmp_path / "a", straight.steps)
    assert received(tmp_path / "b", first.steps + second.steps) == told
    assert any(one and len(one.sha256) == 16 and one.log_ratios for one in told.values())
    left, right = (checkpoint_hashes(tmp_path / name, 10) for name in "ab")
    # The five-step run was evaluated at its own end too, which its state remembers.
    for name in ("adapter_model.safetensors", "optimizer.safetensors"):
        assert left[name] == right[name]


@pytest.mark.slow
def test_a_run_that_is_killed_again_and_again_equals_one_that_is_not(make_spec, tmp_path):
    straight = Engine(make_spec(steps=6), tmp_path / "a")
    assert straight.finish()["event"] == "Finished"
    chance, steps, epoch = random.Random(1), [], 0
    while not steps or steps[-1]["step"] < 6:
        epoch += 1
        point = resume_point(steps) if steps else {}
        engine = Engine(make_spec(steps=6), tmp_path / "b", epoch=epoch, **point)
        engine.wait_for_step((steps[-1]["step"] if steps else -1) + chance.choice([1, 2]))
        time.sleep(chance.random() * 0.2)
        engine.process.kill()
        engine.finish()
        steps += engine.steps
    assert [e["step"] for e in steps] == list(range(7))
    assert learning(steps) == learning(straight.steps)
    assert received(tmp_path / "b", steps) == received(tmp_path / "a", straight.steps)
    assert checkpoint_hashes(tmp_path / "b", 6) == checkpoint_hashes(tmp_path / "a", 6)


@pytest.mark.slow
def test_a_job_over_two_ranks_is_the_job_of_one(make_spec, tmp_path):
    spec = make_spec(steps=2, groups_per_step=3)
    alone, spread = Engine(spec, tmp_path / "a"), Engine(spec, tmp_path / "b", ranks=2)
    assert (alone.finish()["event"], spread.finish()["event"]) == ("Finished", "Finished")
    assert [e["step"] for e in spread.steps] == [0, 1, 2]
    for one, two in zip(alone.steps, spread.steps, strict=True):
        rows = [[(r["uid"], r["reward"]) for r in e["trajectories"]] for e in (one, two)]
        assert rows[0] == rows[1]
    told = [e["metrics"]["learning"]["grad_norm"] for e in (alone.steps[1], spread.steps[1])]
    assert told[1] == pytest.approx(told[0], rel=1e-5)


@pytest.mark.slow
def test_a_job_over_two_ranks_pauses_when_asked(make_spec, tmp_path):
    engine = Engine(make_spec(steps=500), tmp_path / "run", ranks=2)
    engine.wait_for_step(1)
    engine.say(Control("pause"))
    deadline = time.monotonic() + 120
    while engine.events[-1]["event"] != "Paused" and time.monotonic() < deadline:
        time.sleep(0.05)
    ranks = children(engine.process.pid)
    # As the supervisor does: torchrun would wait for the rank that still waits for the first.
    engine.process.kill()
    engine.finish()
    assert engine.events[-1]["event"] == "Paused"
    assert len(ranks) in {1, 2}
    assert gone(ranks)


@pytest.mark.slow
def test_closing_standard_input_ends_the_engine_at_once(make_spec, tmp_path):
    engine = Engine(make_spec(steps=500), tmp_path / "run")
    engine.wait_for_step(1)
    engine.process.stdin.close()
    assert engine.process.wait(timeout=5) == 1


@pytest.mark.slow
@pytest.mark.parametrize(("desired", "event"), [("pause", "Paused"), ("cancel", "Cancelled")])
def test_a_wish_to_stop_is_obeyed_within_a_step(make_spec, tmp_path, desired, event):
    engine = Engine(make_spec(steps=500), tmp_path / "run")
    engine.wait_for_step(1)
    engine.process.stdin.write(json.dumps({"desired": desired}).encode() + b"\n")
    engine.process.stdin.flush()
    assert engine.finish()["event"] == event
    assert engine.process.returncode == 0


@pytest.mark.slow
def test_a_missing_model_fails_with_its_code_and_name(make_spec, tmp_path):
    engine = Engine(make_spec(model_path="/nowhere/model"), tmp_path / "run")
    last = engine.finish()
    assert (last["event"], last["code"], last["permanent"]) == ("Failed", "model_not_found", True)
    assert "/nowhere/model" in last["text"]
    assert engine.process.returncode == 1


def test_a_job_spec_has_at_most_thirty_fields():
    assert len(msgspec.structs.fields(JobSpec)) <= 30
