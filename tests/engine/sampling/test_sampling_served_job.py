"""A whole job whose turns a server samples, with the adapter that the job writes for it."""

from __future__ import annotations

import asyncio
import io
import json

import pytest
from peft import PeftModel
from transformers import AutoModelForCausalLM

from jobs.engine.__main__ import run_to_event
from jobs.engine.control import ControlReader
from jobs.engine.events import Failed, Finished, Paused
from jobs.engine.ranks import Alone
from jobs.engine.reporting import EventWriter
from jobs.engine.spec import Budgets, DataSpec, Handshake, JobSpec, ServerSpec
from tests.engine.sampling.fake_completions import FakeServer, model_answer

GRADER = {
    "type": "text_similarity",
    "name": "close",
    "input": "{{sample.output_text}}",
    "reference": "{{item.answer}}",
    "evaluation_metric": "fuzzy_match",
}


class Served(FakeServer):
    """Answers with the base model and the adapter that was loaded last, as PEFT reads it."""

    def __init__(self, base, **options):
        super().__init__(self._answer, **options)
        self._base = base
        self._made = {}

    def _answer(self, *turn):
        (folder,) = self.loaded.values()
        if folder not in self._made:
            model = AutoModelForCausalLM.from_pretrained(self._base)
            self._made[folder] = model_answer(PeftModel.from_pretrained(model, folder).eval())
        return self._made[folder](*turn)

    @property
    def versions(self):
        return len(self._made)


@pytest.fixture
def run(tiny_model_dir, tmp_path):
    data = tmp_path / "tasks.jsonl"
    row = {"messages": [{"role": "user", "content": "Say it"}], "answer": "abcdefgh"}
    data.write_text(f"{json.dumps(row)}\n" * 2)

    async def talk(server, changes):
        stream = io.BytesIO()
        async with server.serving() as url:
            fields = {
                "model_path": str(tiny_model_dir),
                "device": "cpu",
                "train": DataSpec(path=str(data), rows=(0,)),
                "validation": DataSpec(path=str(data), rows=(1,)),
                "grader": GRADER,
                "budgets": Budgets(max_turns=1, max_turn_tokens=24, max_total_tokens=256),
                "steps": 2,
                "groups_per_step": 1,
                "group_size": 8,
                "learning_rate": 1e-2,
                "eval_interval": 2,
                "server": ServerSpec(base_url=url),
            }
            handshake = Handshake(
                spec=JobSpec(run_id="r", **(fields | changes)),
                run_dir=str(tmp_path / "run"),
                sampler_key="secret",
                allow_networks=("127.0.0.1/32",),
            )
            writer = EventWriter(stream)
            last = await run_to_event(handshake, writer, ControlReader(None), Alone())
        return last, [json.loads(line) for line in stream.getvalue().splitlines()]

    return lambda server, **changes: asyncio.run(talk(server, changes))


@pytest.mark.slow
def test_each_step_is_sampled_with_the_weights_of_the_step_before(run, tiny_model_dir):
    server = Served(tiny_model_dir)
    last, events = run(server)
    assert isinstance(last, Finished), last
    assert next(e for e in events if e["event"] == "Started")["sampler"] == "server"
    steps = [event for event in events if event["event"] == "StepDone"]
    learning = [step["metrics"]["learning"] for step in steps if step["step"]]
    # What the server said of its tokens is what the trainer finds, so both had the same weights.
    assert [round(told["mismatch_kl"], 6) for told in learning] == [0.0, 0.0]
    updates = sum(told["updated"] for told in learning)
    assert server.versions == 1 + updates
    assert updates == 2
    assert {headers["authorization"] for headers in server.headers} == {"Bearer secret"}


@pytest.mark.slow
def test_a_server_that_is_down_pauses_the_job(run, tiny_model_dir, monkeypatch):
    monkeypatch.setattr("asyncio.sleep", without_waiting(asyncio.sleep))
    last, _ = run(Served(tiny_model_dir, troubles=[503] * 100))
    assert isinstance(last, Paused)
    assert last.reason == "sampler_unavailable"
    assert "status 503" in last.text


def without_waiting(sleep):
    return lambda seconds: sleep(min(seconds, 0.01))


def test_a_deterministic_job_is_not_sampled_on_a_server(run, tiny_model_dir):
    last, _ = run(Served(tiny_model_dir), deterministic=True)
    assert isinstance(last, Failed)
    assert (last.code, last.permanent) == ("sampling_server_refused", True)
