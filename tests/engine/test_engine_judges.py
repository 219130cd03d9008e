"""The real engine with graders that call out: it trains by them, and waits for one that is down."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from graders.kinds.judging.judges import JudgeEndpoint
from hone.core.net.function_call import MASK
from jobs.engine.reporting import read_body
from jobs.engine.spec import CreditSpec, JudgeSpec, TurnRewardSpec
from tests.engine.test_engine_process import (  # noqa: F401 - fixtures
    Engine,
    make_spec,
    resume_point,
    talkative_dir,
    tool_port,
)
from tests.graders.judge_server import Server, completion, scored

pytestmark = pytest.mark.slow

KEY = "sk-canary-engine-judge"
SECRET = "tok-canary-engine-endpoint"
JUDGED = {
    "type": "score_model",
    "model": "ours/small",
    "input": [{"role": "user", "content": "Judge: {{sample.output_text}}"}],
}
DOWN = ("503 X\r\nRetry-After: 0\r\nY: z", "down for a moment")


def by_text(body):
    """The same text always gets the same score, and another text mostly another one."""
    text = json.dumps(body["messages"])
    return scored(hashlib.sha256(text.encode()).digest()[0] / 255)


def judges(server, **fields):
    judge = JudgeEndpoint(
        url=f"{server.url}/v1", model="small", key=KEY, input_price=2, output_price=10, **fields
    )
    return {"ours/small": judge}


def run(spec, folder, **handshake):
    engine = Engine(spec, folder, **handshake)
    argv = Path(f"/proc/{engine.process.pid}/cmdline").read_bytes()
    environ = Path(f"/proc/{engine.process.pid}/environ").read_bytes()
    last = engine.finish()
    for secret in (KEY, SECRET):
        written = [path.read_bytes() for path in folder.rglob("*") if path.is_file()]
        said = json.dumps(engine.events) + str(engine._errors)
        assert secret.encode() not in b"".join([argv, environ, *written])
        assert secret not in said
    return engine, last


def bodies(engine, folder):
    """The stored rollouts of all steps."""
    return [
        read_body(folder / step["bodies"], row["offset"], row["length"])
        for step in engine.steps
        for row in step["trajectories"]
    ]


def test_a_job_that_is_graded_by_a_judge_trains_and_tells_what_it_cost(make_spec, tmp_path):  # noqa: F811
    folder = tmp_path / "run"
    with Server(by_text).serving() as server:
        spec = make_spec(steps=2, grader=JUDGED, deterministic=False, tools=())
        engine, last = run(spec, folder, judges=judges(server))
    assert last["event"] == "Finished", last
    assert engine.steps[1]["metrics"]["learning"]["updated"]
    told = [step["metrics"]["judges"]["ours/small"] for step in engine.steps]
    assert sum(each["calls"] for each in told) == len(server.requests)
    assert told[0] == {
        "calls": 2,
        "failed": 0,
        "prompt_tokens": 200,
        "completion_tokens": 40,
        "cached_tokens": 80,
        "cost": pytest.approx((200 * 2 + 40 * 10) / 1e6),
    }
    graded = bodies(engine, folder)
    assert all(member.reward is not None for member in graded)
    assert graded[0].grading["usage"]["ours/small"]["total_tokens"] == 120
    assert graded[0].grading["sampled_model"] == "sampled-1"


def test_a_judge_that_is_down_pauses_the_job_and_it_goes_on_when_the_judge_answers(
    make_spec,  # noqa: F811
    tmp_path,
):
    folder = tmp_path / "run"
    with Server(by_text).serving() as server:
        spec = make_spec(steps=2, grader=JUDGED, deterministic=False, tools=())
        asked = []

        def fails_from_step_one(body):
            asked.append(body)
            return by_text(body) if len(asked) <= 2 else DOWN

        server.answer = fails_from_step_one
        engine, last = run(spec, folder, judges=judges(server))
        assert (last["event"], last["reason"]) == ("Paused", "grader_unavailable"), last
        assert "HTTP 503: down for a moment" in last["text"]
        assert [step["step"] for step in engine.steps] == [0]
        rollouts = 3 * 6 * 3
        assert len(server.requests) - 2 <= 1.25 * rollouts
        server.answer = by_text
        point = resume_point(engine.steps)
        again, last = run(spec, folder, judges=judges(server), epoch=2, **point)
    assert last["event"] == "Finished", last
    assert [step["step"] for step in again.steps] == [1, 2]


def test_a_judge_whose_key_is_refused_pauses_the_job_too(make_spec, tmp_path):  # noqa: F811
    with Server((401, {"error": f"bad key {KEY}"})).serving() as server:
        spec = make_spec(steps=1, grader=JUDGED, deterministic=False, tools=())
        _, last = run(spec, tmp_path / "run", judges=judges(server))
    assert (last["event"], last["reason"]) == ("Paused", "grader_unavailable")
    assert "HTTP 401" in last["text"]


def test_a_judge_that_always_answers_amiss_fails_the_job_with_its_words(make_spec, tmp_path):  # noqa: F811
    with Server(completion("A fine answer.")).serving() as server:
        spec = make_spec(steps=1, grader=JUDGED, deterministic=False, tools=())
        _, last = run(spec, tmp_path / "run", judges=judges(server))
    assert (last["event"], last["code"]) == ("Failed", "grader_failed")
    assert "no JSON: A fine answer in 2 of 2 rollouts" in last["text"]


def test_an_endpoint_sees_the_rollouts_trace_and_its_secret_headers(make_spec, tmp_path):  # noqa: F811
    folder = tmp_path / "run"
    with Server(
        lambda body: {"score": len(body["sample"]["output_text"]) / 10}
    ).serving() as server:
        endpoint = {"type": "endpoint", "url": f"{server.url}/score", "headers": {"X-Key": MASK}}
        grader = {"type": "multi", "graders": {"ours": endpoint}, "calculate_output": "ours / 2"}
        headers = {"grader": {"graders.ours": {"X-Key": SECRET}}}
        spec = make_spec(steps=1, grader=grader, deterministic=True, tools=())
        engine, last = run(spec, folder, grader_headers=headers)
    assert last["event"] == "Finished", last
    traces = sorted(body["trace_id"] for _, body in server.requests)
    assert traces == sorted(member.trace_id for member in bodies(engine, folder))
    assert {headers["x-key"] for headers in server.headers} == {SECRET}
    assert server.requests[0][1]["item"]["answer"] == "abcdefgh ijklmnop"


def test_a_judge_scores_turns_by_the_same_account(make_spec, tmp_path):  # noqa: F811
    def answer(body):
        turns = json.loads(body["messages"][1]["content"])["turns"]
        scores = [{"turn": n, "score": 0.5, "reason": "fine"} for n in range(len(turns))]
        return completion({"scores": scores})

    wanted = TurnRewardSpec(judge=JudgeSpec(model="ours/small", instructions="Be fair."))
    with Server(answer).serving() as server:
        credit = CreditSpec(turn_rewards=wanted)
        spec = make_spec(steps=1, credit=credit, deterministic=False, tools=())
        engine, last = run(spec, tmp_path / "run", judges=judges(server))
    assert last["event"] == "Finished", last
    step = engine.steps[1]["metrics"]
    assert step["credit"]["turns_unscored"] == 0
    assert step["judges"]["ours/small"]["calls"] == len(server.requests) > 0


def test_a_deterministic_run_asks_no_judge(make_spec, tmp_path):  # noqa: F811
    with Server(by_text).serving() as server:
        spec = make_spec(steps=1, grader=JUDGED, deterministic=True, tools=())
        _, last = run(spec, tmp_path / "run", judges=judges(server))
    assert (last["event"], last["code"]) == ("Failed", "judge_refused")
    assert "turn one off" in last["text"]
    assert server.requests == []


def test_the_tokens_of_all_ranks_are_counted(make_spec, tmp_path):  # noqa: F811
    with Server(by_text).serving() as server:
        spec = make_spec(steps=1, grader=JUDGED, deterministic=False, tools=())
        engine = Engine(spec, tmp_path / "run", ranks=2, judges=judges(server))
        last = engine.finish()
    assert last["event"] == "Finished", last
    told = [step["metrics"]["judges"]["ours/small"]["calls"] for step in engine.steps]
    assert sum(told) == len(server.requests)
