"""What a run says of input that it cannot use, and of a world that fails under it."""

from __future__ import annotations

import asyncio
import errno
import functools
import io
import json
import os
import shutil
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch

from graders.sandbox.client import PythonSandbox
from graders.sandbox.isolation import SandboxUnavailable
from jobs.engine import wiring
from jobs.engine.__main__ import read_handshake, run_to_event, terminal_event
from jobs.engine.collect import Collector
from jobs.engine.control import ControlReader
from jobs.engine.errors import RunFailed
from jobs.engine.events import Failed, Finished, Paused
from jobs.engine.learning.model import load_policy
from jobs.engine.ranks import Alone
from jobs.engine.reporting import EventWriter
from jobs.engine.spec import Budgets, CreditSpec, DataSpec, Handshake, JobSpec, LossSpec, ToolSpec

ROOT = Path(__file__).parents[2]
GRADER = {
    "type": "text_similarity",
    "name": "close",
    "input": "{{sample.output_text}}",
    "reference": "{{item.answer}}",
    "evaluation_metric": "fuzzy_match",
}
RAISES = {"type": "python", "name": "broken", "source": "def grade(sample, item):\n    1 / 0\n"}


@pytest.fixture
def run(tiny_model_dir, tmp_path, monkeypatch):
    """Runs a job in this process; returns its last event and the ones before it."""
    data = tmp_path / "tasks.jsonl"
    row = {"messages": [{"role": "user", "content": "Say it"}], "answer": "abcdefgh"}
    data.write_text(f"{json.dumps(row)}\n" * 2)
    monkeypatch.setattr(wiring, "Collector", functools.partial(Collector, retry_wait_s=0.0))

    def run_job(**changes):
        fields = {
            "model_path": str(tiny_model_dir),
            "device": "cpu",
            "train": DataSpec(path=str(data)),
            "validation": DataSpec(path=str(data)),
            "grader": GRADER,
            "budgets": Budgets(max_turns=1, max_turn_tokens=4, max_total_tokens=256),
        }
        spec = JobSpec(run_id="r", kind="evaluate", **(fields | changes))
        handshake = Handshake(spec=spec, run_dir=str(tmp_path / "run"))
        stream = io.BytesIO()
        control = ControlReader(None)
        last = asyncio.run(run_to_event(handshake, EventWriter(stream), control, Alone()))
        return last, [json.loads(line) for line in stream.getvalue().splitlines()]

    return run_job


def test_an_evaluation_is_step_0_and_exports_nothing(run, tmp_path):
    last, events = run()
    assert isinstance(last, Finished)
    assert last.adapter is None
    (step,) = [event for event in events if event["event"] == "StepDone"]
    assert (step["step"], step["metrics"]["validation"]["n"]) == (0, 2)
    assert not (tmp_path / "run" / "adapter").exists()


@pytest.mark.parametrize(
    ("changes", "code", "words"),
    [
        ({"loss": LossSpec(name="magic")}, "unknown_loss", "cispo"),
        ({"credit": CreditSpec(advantage="magic")}, "unknown_advantage", "mean_centred"),
        ({"grader": {"type": "magic"}}, "grader_invalid", "magic"),
        ({"model_path": "/nowhere/model"}, "model_not_found", "/nowhere/model"),
        ({"train": DataSpec(path="/gone/tasks.jsonl")}, "dataset_missing", "tasks.jsonl"),
    ],
)
def test_what_cannot_work_fails_with_its_name(run, changes, code, words):
    last, events = run(**changes)
    assert isinstance(last, Failed)
    assert (last.code, last.permanent) == (code, True)
    assert words in last.text
    assert not [event for event in events if event["event"] == "StepDone"]


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a CUDA device")
def test_a_missing_cuda_device_is_said_and_may_come_back(run):
    last, _ = run(device="cuda")
    assert (last.code, last.permanent) == ("no_cuda", False)


def test_a_model_that_cannot_fit_is_refused_before_its_weights_are_read(
    run, tiny_model_dir, tmp_path
):
    folder = tmp_path / "huge"
    shutil.copytree(tiny_model_dir, folder)
    (folder / "model.safetensors").unlink()
    config = json.loads((folder / "config.json").read_text())
    config |= {"hidden_size": 65536, "intermediate_size": 1 << 20, "num_hidden_layers": 2}
    (folder / "config.json").write_text(json.dumps(config | {"layer_types": None}))
    last, _ = run(model_path=str(folder))
    assert last.code == "model_too_large"
    assert "412.3 billion parameters and needs about 2144.2 GB in float32" in last.text
    assert "use a smaller model or a larger machine" in last.text


@pytest.mark.parametrize(
    ("template", "words"),
    [
        (None, "has no chat template"),
        ("{% for m in messages %}{{ m.content }}{% endfor %}", "the chat template cannot be used"),
    ],
)
def test_a_template_without_turns_or_tools_is_refused(
    run, tiny_model_dir, tmp_path, template, words
):
    folder = tmp_path / "model"
    shutil.copytree(tiny_model_dir, folder)
    path = folder / "chat_template.jinja"
    if template is None:
        path.unlink()
    else:
        path.write_text(template)
    tool = ToolSpec(name="ask", url="http://127.0.0.1:9/")
    last, _ = run(model_path=str(folder), tools=(tool,))
    assert last.code == "template_refused"
    assert words in last.text


def test_a_cut_turn_is_closed_by_the_end_token_of_the_tokenizer(tiny_model_dir):
    data = DataSpec(path="none")
    spec = JobSpec(
        run_id="r", model_path=str(tiny_model_dir), train=data, validation=data, grader={}
    )
    policy = load_policy(spec)
    policy.model.generation_config.eos_token_id = [0, 2, 99]
    renderer = wiring.make_renderer(spec, policy)
    assert renderer.close_turn_ids == [2]
    assert renderer.turn_text([107, 99]) == renderer.turn_text([107, 0])


def test_a_grader_that_scores_nothing_fails_the_run_and_is_no_zero(run):
    last, events = run(grader=GRADER | {"reference": "{{item.nothing.of.this}}"})
    assert isinstance(last, Failed)
    assert (last.code, last.permanent) == ("grader_failed", True)
    assert "in 2 of 2 rollouts" in last.text
    assert not [event for event in events if event["event"] == "StepDone"]


@pytest.fixture
def sandboxed():
    try:
        with PythonSandbox() as sandbox:
            sandbox.start()
    except SandboxUnavailable as reason:
        pytest.skip(f"python graders cannot run here: {reason}")


@pytest.mark.usefixtures("sandboxed")
def test_a_python_grader_that_raises_on_every_sample_fails_the_run(run):
    last, events = run(grader=RAISES)
    assert isinstance(last, Failed)
    assert last.code == "grader_failed"
    assert last.text.startswith(
        "`grade` raised ZeroDivisionError: division by zero at line 2 in 2 of 2 rollouts; "
        "for example in row "
    )
    assert [event for event in events if event["event"] == "Message"] == []


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_pauses_the_run_and_leaves_nothing_of_the_step(
    run, tmp_path, monkeypatch, code
):
    def full(_handle):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "fsync", full)
    last, events = run()
    assert isinstance(last, Paused)
    assert last.reason == "disk_full"
    assert "make room, then resume" in last.text
    assert not [event for event in events if event["event"] == "StepDone"]
    assert [path for path in (tmp_path / "run").rglob("*") if path.is_file()] == []


def test_another_write_error_is_a_failure_that_may_be_tried_again():
    last = terminal_event(OSError(errno.EIO, "I/O error"))
    assert (last.code, last.permanent) == ("engine_error", False)
    assert "I/O error" in last.text


@pytest.mark.parametrize(
    "line", [b"", b"not json\n", b"{}\n", b'{"spec": {"steps": 0}, "run_dir": "x"}\n']
)
def test_a_handshake_that_cannot_be_read_says_so(line):
    with pytest.raises(RunFailed, match="the job cannot be read") as failed:
        read_handshake(io.BytesIO(line))
    assert failed.value.code == "bad_handshake"


class _Hub(BaseHTTPRequestHandler):
    """Answers as a hub does for a gated and for an unknown model."""

    def do_HEAD(self):
        gated = self.path.startswith("/acme/gated")
        self.send_response(403 if gated else 404)
        self.send_header("X-Error-Code", "GatedRepo" if gated else "RepoNotFound")
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_GET = do_HEAD

    def log_message(self, *_):
        return


LOADS = """
import json, sys
from jobs.engine.errors import RunFailed
from jobs.engine.learning.model import load_policy
from jobs.engine.spec import DataSpec, JobSpec
for name in sys.argv[1:]:
    none = DataSpec(path="none")
    try:
        load_policy(JobSpec(run_id="r", model_path=name, train=none, validation=none, grader={}))
    except RunFailed as error:
        print(json.dumps([error.code, error.permanent, error.text]))
"""


def load_from_hub(tmp_path, names, **environment):
    """What the engine says of hub ids, in a process of its own: the hub's address is read once."""
    ran = subprocess.run(
        [sys.executable, "-c", LOADS, *names],
        env=os.environ
        | {"PYTHONPATH": f"{ROOT / 'platform'}:{ROOT}", "HF_HOME": str(tmp_path / "hub")}
        | environment,
        cwd=ROOT,
        capture_output=True,
        check=True,
        timeout=120,
    )
    return [json.loads(line) for line in ran.stdout.splitlines()]


@pytest.mark.slow
def test_a_gated_and_an_unknown_hub_id_are_told_apart(tmp_path):
    hub = ThreadingHTTPServer(("127.0.0.1", 0), _Hub)
    threading.Thread(target=hub.serve_forever, daemon=True).start()
    try:
        gated, unknown = load_from_hub(
            tmp_path,
            ["acme/gated", "acme/unknown"],
            HF_ENDPOINT=f"http://127.0.0.1:{hub.server_address[1]}",
        )
    finally:
        hub.shutdown()
    assert gated[:2] == ["model_gated", True]
    assert "acme/gated is gated: accept its terms" in gated[2]
    assert unknown[:2] == ["model_not_found", True]
    assert "acme/unknown" in unknown[2]


@pytest.mark.slow
def test_without_a_network_a_hub_id_may_be_tried_again(tmp_path):
    (failed,) = load_from_hub(tmp_path, ["acme/model"], HF_HUB_OFFLINE="1")
    assert failed[:2] == ["model_not_found", False]
    assert "acme/model" in failed[2]
