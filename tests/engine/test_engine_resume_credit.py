"""A run with every term of credit goes on as if it had never stopped, to the last bit."""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
import random
import shutil

import pytest

from jobs.engine import wiring
from jobs.engine.__main__ import run_to_event
from jobs.engine.control import ControlReader
from jobs.engine.events import Finished
from jobs.engine.ranks import Alone
from jobs.engine.reporting import EventWriter
from jobs.engine.rollout import episode
from jobs.engine.rollout.parse import ParsedCall, ParsedTurn, parse_turn
from jobs.engine.rollout.tools import ToolExecutor
from jobs.engine.spec import (
    Budgets,
    CounterfactualSpec,
    CreditSpec,
    DataSpec,
    Handshake,
    JobSpec,
    LengthSpec,
    LoraSpec,
    ResumePoint,
    ToolSpec,
    TurnRewardSpec,
)

GRADER = {
    "type": "text_similarity",
    "name": "close",
    "input": "{{sample.output_text}}",
    "reference": "{{item.answer}}",
    "evaluation_metric": "fuzzy_match",
}
SOURCES = {
    "grader": TurnRewardSpec(weight=0.5, grader=GRADER),
    "gold": TurnRewardSpec(weight=5.0, gold="{{item.answer}}"),
}
STEPS = 4


class Tools(ToolExecutor):
    """Answers after a time that differs from run to run."""

    async def execute(self, calls, **_options):
        await asyncio.sleep(random.Random().random() * 0.01)
        for call in calls:
            if call.status == "pending":
                call.status, call.attempts = "ok", 1
                call.output = hashlib.sha256(call.arguments.encode()).hexdigest()[:1]


def calling(text, tool_format, *, thinking=False):
    """A random model hardly ever writes a call: here half of the lengths of a text are one."""
    kind = len(text) % 4
    if kind not in {1, 2}:
        return parse_turn(text, tool_format, thinking=thinking)
    arguments = json.dumps({"q": len(text) % 3})
    call = ParsedCall("ask" if kind == 1 else "put", arguments, "")
    return ParsedTurn(reasoning="", content=text, calls=[call])


@pytest.fixture
def run(tiny_model_dir, tmp_path, monkeypatch):
    monkeypatch.setattr(episode, "parse_turn", calling)
    monkeypatch.setattr(wiring, "ToolExecutor", Tools)
    model = tmp_path / "model"
    shutil.copytree(tiny_model_dir, model)
    config = json.loads((model / "generation_config.json").read_text())
    ends = config | {"eos_token_id": [2, *range(60, 100)]}
    (model / "generation_config.json").write_text(json.dumps(ends))
    data = tmp_path / "tasks.jsonl"
    rows = [
        {"messages": [{"role": "user", "content": f"Say {n}"}], "answer": "abcdefgh ijkl"}
        for n in range(6)
    ]
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))

    def steps_of(folder, source, *, steps=STEPS, **handshake):
        credit = CreditSpec(
            anchored_weight=1.0,
            turn_rewards=SOURCES[source],
            counterfactual=CounterfactualSpec(weight=1.0, continuations=2, calls_per_step=3),
            length=LengthSpec(call_penalty=0.1, call_budget=1),
        )
        spec = JobSpec(
            run_id="r",
            model_path=str(model),
            device="cpu",
            train=DataSpec(path=str(data), rows=(0, 1, 2, 3)),
            validation=DataSpec(path=str(data), rows=(4, 5)),
            tools=(
                ToolSpec(name="ask", url="http://x/", effects="reads"),
                ToolSpec(name="put", url="http://x/", effects="writes"),
            ),
            grader=GRADER,
            budgets=Budgets(max_turns=4, max_turn_tokens=16, max_total_tokens=1024),
            steps=steps,
            groups_per_step=2,
            group_size=4,
            learning_rate=1e-2,
            lora=LoraSpec(rank=4),
            eval_interval=STEPS,
            deterministic=True,
            credit=credit,
        )
        shake = Handshake(spec=spec, run_dir=str(tmp_path / folder), **handshake)
        stream = io.BytesIO()
        ended = run_to_event(shake, EventWriter(stream), ControlReader(None), Alone())
        last = asyncio.run(ended)
        assert isinstance(last, Finished), last
        events = [json.loads(line) for line in stream.getvalue().splitlines()]
        return [event for event in events if event["event"] == "StepDone"]

    return steps_of


def told(step):
    credit = {k: v for k, v in step["metrics"]["credit"].items() if "seconds" not in k}
    return step["metrics"]["learning"], credit


@pytest.mark.slow
@pytest.mark.parametrize("source", SOURCES)
def test_half_a_run_and_the_rest_of_it_equal_the_whole(run, tmp_path, source):
    whole = run("a", source)
    first = run("b", source, steps=STEPS // 2)
    ref = first[-1]["checkpoint"]
    point = ResumePoint(ref["step"], ref["path"], ref["manifest_sha256"])
    second = run("b", source, epoch=2, resume=point, last_step=ref["step"])
    halves = [*first, *second]
    assert [told(step) for step in whole[1:]] == [told(step) for step in halves[1:]]
    assert any(step["metrics"]["credit"]["continuations_measured"] for step in whole[1:])
    assert any(step["metrics"]["credit"]["turns_scored"] for step in whole[1:])
    name = f"checkpoints/step-{STEPS:06d}"
    for file in ("adapter_model.safetensors", "optimizer.safetensors"):
        left, right = ((tmp_path / each / name / file).read_bytes() for each in "ab")
        assert left == right
