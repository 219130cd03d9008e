"""Graders that call a server of a test, from the thread that the test runs in."""

from __future__ import annotations

import asyncio
import json
from contextlib import aclosing

from graders.kinds.base import Sample
from graders.kinds.endpoint.calling import Endpoints, WaitingEndpoints
from graders.kinds.judging.chat import read_reply
from graders.kinds.judging.judges import JudgeEndpoint, Judges, WaitingJudges
from graders.kinds.outside import Outside
from graders.kinds.registry import load_grader
from hone.core.net.client import AsyncGuardedClient
from hone.core.net.policy import OutboundPolicy
from tests.graders.judge_server import Server

KEY = "sk-canary-judge-4711"
QUICK = (0.01, 0.01, 0.01)


def waiting(client):
    def run(work):
        async def once():
            async with aclosing(client):
                return await work

        return asyncio.run(once())

    return run


def outside(server: Server, *, headers=None, timeout_s=2.0, pauses=QUICK, **endpoint) -> Outside:
    """One judge `ours/small` and endpoint secrets, all at `server`."""
    client = AsyncGuardedClient(OutboundPolicy.parse([f"127.0.0.1:{server.port}"]))
    judge = JudgeEndpoint(
        url=f"{server.url}/v1", model="small", key=KEY, timeout_s=timeout_s, **endpoint
    )
    judges = Judges({"ours/small": judge}, client, pauses=pauses)
    endpoints = Endpoints(client, headers or {}, pauses=pauses, longest_s=timeout_s)
    run = waiting(client)
    return Outside(judges=WaitingJudges(judges, run), endpoints=WaitingEndpoints(endpoints, run))


class Answering:
    """A contract test's judge that always answers the same."""

    def __init__(self, answer):
        self._answer = answer

    def ask(self, model, question):
        return read_reply(json.dumps(self._answer))


def answering(answer):
    return Outside(judges=Answering(answer))


def graded(answer, spec, text="forty-two", item=None, **options):
    """What comes of one sample where the judge answers so, and the server with its requests."""
    with Server(answer).serving() as server:
        grader = load_grader(spec, outside=outside(server, **options))
        grading = grader.grade(Sample(output_text=text), item or {"answer": "42"})
    return grading, server
