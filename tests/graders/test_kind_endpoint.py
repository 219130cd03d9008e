"""Endpoint graders over real HTTP: the body, the secrets, and what counts as a score."""

from __future__ import annotations

import math
import time

import pytest

from graders.kinds.base import GraderSpecError, Sample
from graders.kinds.outside import Outside
from graders.kinds.registry import load_grader, validate_spec
from hone.core.net.function_call import MASK
from tests.graders.calling import outside
from tests.graders.judge_server import Server, ok, raw, reset
from tests.graders.test_kind_contract import KindContract

SECRET = "tok-canary-endpoint-815"


class Scoring:
    def score(self, call, content):
        return 3.5


class TestEndpoint(KindContract):
    spec = {"type": "endpoint", "url": "https://grader.example.org/score"}
    variables = set()
    reward = 3.5

    def load(self, spec):
        return load_grader(spec, outside=Outside(endpoints=Scoring()))


def spec_of(server, **more):
    return {"type": "endpoint", "url": f"{server.url}/score"} | more


def grade(answer, sample=None, item=None, headers=None, secrets=None, **more):
    with Server(answer).serving() as server:
        spec = spec_of(server, **({"headers": headers} if headers else {}), **more)
        grader = load_grader(spec, outside=outside(server, headers=secrets))
        grading = grader.grade(sample or Sample(output_text="x"), item or {"answer": "y"})
    return grading, server


def test_sample_row_and_trace_are_sent_and_the_score_may_have_any_scale() -> None:
    call = {"id": "c", "type": "function", "function": {"name": "find", "arguments": "{}"}}
    sample = Sample(
        output_text="4",
        output_tools=[call],
        output_json=4,
        has_output_json=True,
        trace_id="trace_7",
    )
    grading, server = grade({"score": 5}, sample, {"answer": "4", "id": 3})
    assert (grading.reward, type(grading.reward)) == (5.0, float)
    [(path, body)] = server.requests
    assert path == "/score"
    assert body == {
        "sample": {"output_text": "4", "output_tools": [call], "choices": [], "output_json": 4},
        "item": {"answer": "4", "id": 3},
        "trace_id": "trace_7",
    }


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ({"score": True}, "no number: true"),
        ({"score": "0.5"}, 'no number: "0.5"'),
        ({"score": None}, "no number: null"),
        ({"score": math.nan}, "not finite"),
        ({"score": -math.inf}, "not finite"),
        ({"score": 10**400}, "not finite"),
        ({"reward": 1}, "no “score”"),
        ([1.0], "no “score”"),
        (0.5, "no “score”"),
        ({"score": 1, "pad": "x" * (1 << 20)}, "at most 1048576 bytes"),
        ((400, "bad item"), "HTTP 400: bad item"),
        ((422, "bad item"), "HTTP 422: bad item"),
    ],
)
def test_what_is_no_finite_score_is_an_error_and_never_a_score(answer, said) -> None:
    grading, server = grade(answer)
    assert grading.reward is None
    assert grading.error is not None
    assert (grading.error.code, grading.error.infra) == ("unresponsive_reward", False)
    assert said in grading.error.message
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("answer", "asked"),
    [
        ((500, ""), 4),
        ("<html>", 4),
        (reset, 4),
        (raw(ok(b"{", b"Content-Length: 9")), 4),
        ((401, "who?"), 1),
        ((302, ""), 1),
    ],
)
def test_an_endpoint_that_is_down_is_tried_three_times_more_and_worth_waiting_for(
    answer, asked
) -> None:
    grading, server = grade(answer)
    assert grading.error is not None
    assert (grading.error.code, grading.error.infra) == ("unresponsive_reward", True)
    assert len(server.requests) == asked


def test_a_masked_header_is_sent_with_the_secret_that_is_kept_for_its_place() -> None:
    secrets = {"": {"X-Key": SECRET}, "graders.b": {"X-Key": "of another"}}
    _, server = grade({"score": 1}, headers={"X-Key": MASK, "X-Team": "blue"}, secrets=secrets)
    assert (server.headers[0]["x-key"], server.headers[0]["x-team"]) == (SECRET, "blue")


def test_each_child_of_a_multi_has_its_own_secrets() -> None:
    with Server({"score": 2}).serving() as server:
        child = spec_of(server, headers={"X-Key": MASK})
        spec = {"type": "multi", "graders": {"a": child, "b": child}, "calculate_output": "a + b"}
        secrets = {"graders.a": {"X-Key": "first"}, "graders.b": {"X-Key": "second"}}
        grader = load_grader(spec, outside=outside(server, headers=secrets))
        assert grader.grade(Sample(output_text="x"), {}).reward == 4.0
    assert [headers["x-key"] for headers in server.headers] == ["first", "second"]


def test_a_mask_without_a_secret_is_never_sent() -> None:
    grading, server = grade({"score": 1}, headers={"X-Key": MASK})
    assert grading.error is not None
    assert grading.error.message == "The value of the header X-Key is not known here"
    assert server.requests == []


def test_a_secret_that_the_endpoint_sends_back_is_masked() -> None:
    grading, _ = grade((400, f"bad key {SECRET}"), headers={"X-Key": SECRET})
    assert grading.error is not None
    assert SECRET not in grading.error.message
    assert MASK in grading.error.message


def test_a_request_over_a_megabyte_is_not_sent() -> None:
    grading, server = grade({"score": 1}, Sample(output_text="x" * (1 << 20)))
    assert grading.error is not None
    assert (grading.error.code, server.requests) == ("truncated_observation", [])


def test_the_rate_limit_spaces_the_calls() -> None:
    with Server({"score": 1}).serving() as server:
        spec = spec_of(server, rate_limit=20)
        grader = load_grader(spec, outside=outside(server))
        started = time.monotonic()
        for _ in range(5):
            grader.grade(Sample(output_text="x"), {})
        assert time.monotonic() - started >= 4 / 20


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ({"url": "ftp://x.example.org/"}, "url"),
        ({"url": "https://user:pw@x.example.org/"}, "url"),
        ({"headers": []}, "headers"),
        ({"headers": {"X": 1}}, "headers"),
        ({"headers": {"Host": "x"}}, "headers"),
        ({"headers": {"X": "a\r\nb"}}, "headers"),
        ({"rate_limit": 0}, "rate_limit"),
        ({"rate_limit": "50"}, "rate_limit"),
    ],
)
def test_a_spec_that_cannot_work_is_refused_by_its_place(change, place) -> None:
    with pytest.raises(GraderSpecError) as refusal:
        validate_spec({"type": "endpoint", "url": "https://x.example.org/"} | change)
    assert refusal.value.param == place
