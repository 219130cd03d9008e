"""Judges and endpoints at addresses inside: whatever the spelling, nobody is reached."""

from __future__ import annotations

from contextlib import suppress

import pytest

from graders.kinds.base import GraderSpecError, Sample
from graders.kinds.endpoint.calling import Endpoints, WaitingEndpoints
from graders.kinds.judging.judges import JudgeEndpoint, Judges, WaitingJudges
from graders.kinds.outside import Outside
from graders.kinds.registry import load_grader
from hone.core.net.client import AsyncGuardedClient
from hone.core.net.policy import OutboundPolicy
from tests.core.net.test_net_hostile import HOSTS
from tests.graders.calling import waiting
from tests.graders.judge_server import Server, scored

INSIDE = [host for host in HOSTS if not host.endswith("lo]") and host.isascii()]


@pytest.fixture(scope="module")
def listener():
    with Server(scored(1)).serving() as server:
        yield server


@pytest.mark.parametrize("host", INSIDE)
def test_a_special_address_of_a_judge_or_an_endpoint_is_never_reached(host, listener) -> None:
    url = f"http://{host}:{listener.port}/v1"
    client = AsyncGuardedClient(OutboundPolicy())
    judges = Judges({"m": JudgeEndpoint(url=url, model="m")}, client, pauses=())
    run = waiting(client)
    outside = Outside(
        judges=WaitingJudges(judges, run),
        endpoints=WaitingEndpoints(Endpoints(client, {}, pauses=()), run),
    )
    question = [{"role": "user", "content": "?"}]
    asked = load_grader({"type": "score_model", "model": "m", "input": question}, outside=outside)
    grading = asked.grade(Sample(output_text="x"), {})
    assert grading.error is not None
    assert not grading.error.infra, "waiting would not help"
    with suppress(GraderSpecError):
        called = load_grader({"type": "endpoint", "url": url}, outside=outside)
        assert called.grade(Sample(output_text="x"), {}).reward is None
    assert listener.requests == []
