"""Whole rollouts against a real tool server: exact tokens, every budget, faults and loops."""

from __future__ import annotations

import asyncio
import json
from contextlib import aclosing

import pytest

from hone.core.net.client import AsyncGuardedClient
from hone.core.net.policy import OutboundPolicy
from jobs.engine.rollout.episode import EpisodeSettings
from jobs.engine.rollout.loops import TOOL_LOOP_WARNING
from jobs.engine.rollout.render import ChatRenderer
from jobs.engine.rollout.runner import RolloutRequest, RolloutRunner
from jobs.engine.rollout.tools import ToolExecutor
from jobs.engine.sampling.base import Sampled
from jobs.engine.spec import Budgets, ToolSpec
from jobs.engine.types import StopReason, Task, TokenKind

CALL = '<tool_call>\n{"name": "search", "arguments": {"query": "%s"}}\n</tool_call>'
SUFFIX = (
    "\n<|im_start|>user\n<tool_response>\n%s\n</tool_response><|im_end|>\n<|im_start|>assistant\n"
)


class ToolServer:
    """A tool endpoint on loopback; the query says how it is to behave."""

    def __init__(self):
        self.seen = []
        self.keys = []
        self.latency = 0.0
        self.running = 0
        self.most_at_once = 0

    async def __aenter__(self):
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_):
        self._server.close()

    async def _serve(self, reader, writer):
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
                headers = dict(line.lower().split(": ", 1) for line in head[1:] if line)
                body = json.loads(await reader.readexactly(int(headers["content-length"])))
                self.seen.append((body, headers))
                self.keys.append(headers.get("idempotency-key"))
                self.running += 1
                self.most_at_once = max(self.most_at_once, self.running)
                status, reply = await self._answer(body)
                self.running -= 1
                writer.write(
                    f"HTTP/1.1 {status} X\r\nContent-Type: application/json\r\n"
                    f"Content-Length: {len(reply)}\r\n\r\n".encode()
                    + reply
                )
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def _answer(self, body):
        query = json.loads(body["arguments"]).get("query", "")
        if query == "slow":
            await asyncio.sleep(5)
        if query == "broken":
            return 500, b"{}"
        if query == "garbage":
            return 200, b"\xff\xfe<html>"
        if query == "refused":
            return 400, b'{"error": "no such query"}'
        if query.startswith("wait"):
            await asyncio.sleep(float(query[4:]))
        await asyncio.sleep(self.latency)
        reply = {
            "type": "function_call_output",
            "id": body["id"],
            "call_id": body["call_id"],
            "output": f"found {query}",
        }
        return 200, json.dumps(reply).encode()


class ScriptedSampler:
    """Says its lines, one a turn; what it is asked is kept."""

    name = "scripted"

    def __init__(self, tokenizer, lines, *, loop_start=None, delay=0.0):
        self.requests = []
        self.running = 0
        self.most_at_once = 0
        self._tokenizer = tokenizer
        self._lines = lines
        self._loop_start = loop_start
        self._delay = delay

    async def generate(self, request):
        self.running += 1
        self.most_at_once = max(self.most_at_once, self.running)
        await asyncio.sleep(self._delay)
        self.running -= 1
        text = str(self._tokenizer.decode(list(request.ids)))
        line = self._lines[min(text.count("<|im_start|>assistant") - 1, len(self._lines) - 1)]
        self.requests.append(request)
        ids = self._tokenizer(line + "<|im_end|>")["input_ids"]
        finish = "stop" if len(ids) <= request.max_tokens else "length"
        ids = ids[: request.max_tokens]
        return Sampled(
            ids,
            [-0.5] * len(ids),
            [1.5] * len(ids),
            finish if self._loop_start is None else "loop",
            self._loop_start,
        )

    def weights_changed(self):
        self.requests.clear()


@pytest.fixture
def tokenizer(make_tokenizer):
    return make_tokenizer("qwen3")


def make_request(sample=0, row=0, **task):
    fields = {
        "row": row,
        "messages": ({"role": "user", "content": "Q?"},),
        "tools": (),
        "item": {"messages": [], "answer": 7},
    }
    return RolloutRequest(
        task=Task(**(fields | task)), group=f"g{row}", sample=sample, split="train", step=3
    )


def roll_out(
    tokenizer,
    lines,
    requests=None,
    *,
    server=None,
    tool=None,
    sampler=None,
    at_once=None,
    **budgets,
):
    """Runs requests against a fresh server; returns trajectories, sampler and server."""
    server = server or ToolServer()
    sampler = sampler or ScriptedSampler(tokenizer, lines)

    async def run():
        async with server:
            policy = OutboundPolicy.parse([f"127.0.0.1:{server.port}"])
            async with aclosing(AsyncGuardedClient(policy)) as client:
                spec = ToolSpec(
                    name="search", url=f"http://127.0.0.1:{server.port}/", **(tool or {})
                )
                executor = ToolExecutor([spec], {"search": {"X-Key": "secret"}}, client)
                runner = RolloutRunner(
                    sampler,
                    ChatRenderer(tokenizer),
                    executor,
                    EpisodeSettings(
                        budgets=Budgets(**budgets),
                        seed=1,
                        temperature=1.0,
                        run_id="run",
                        context_length=4096,
                    ),
                    at_once=at_once,
                )
                return await runner.run(requests or [make_request()])

    return asyncio.run(run()), sampler, server


def roll_out_one(tokenizer, lines, **options):
    return roll_out(tokenizer, lines, **options)[0][0]


def test_a_rollout_is_prompt_turns_and_suffixes_token_by_token(tokenizer):
    line = "<think>\nsearch first\n</think>\n\n" + CALL % "x"
    (trajectory,), sampler, server = roll_out(tokenizer, [line, "<think>\nok\n</think>\n\n42"])
    renderer = ChatRenderer(tokenizer)
    executor = ToolExecutor([ToolSpec(name="search", url="http://localhost/")], {}, None)
    prompt = renderer.prompt_ids(
        make_request().task.messages, executor.schemas(make_request().task)
    )
    first = tokenizer(line + "<|im_end|>")["input_ids"]
    suffix = tokenizer(SUFFIX % "found x")["input_ids"]
    second = tokenizer("<think>\nok\n</think>\n\n42<|im_end|>")["input_ids"]
    assert trajectory.ids == [*prompt, *first, *suffix, *second]
    kinds = [TokenKind(kind) for kind in trajectory.kinds]
    assert kinds[: len(prompt)] == [TokenKind.PROMPT] * len(prompt)
    assert kinds[len(prompt) :][: len(first)] == [TokenKind.SAMPLED] * len(first)
    assert set(kinds[len(prompt) + len(first) :][: len(suffix)]) == {
        TokenKind.TOOL,
        TokenKind.SCAFFOLD,
    }
    assert kinds[-len(second) :] == [TokenKind.SAMPLED] * len(second)
    sampled = [kind is TokenKind.SAMPLED for kind in kinds]
    assert [value == -0.5 for value in trajectory.logprobs] == sampled
    assert [value == 1.5 for value in trajectory.entropies] == sampled
    assert trajectory.stop is StopReason.FINAL_ANSWER
    assert trajectory.answer == "42"
    assert trajectory.reward is None
    assert [turn.reasoning for turn in trajectory.turns] == ["search first", "ok"]
    assert [(turn.start, turn.end) for turn in trajectory.turns] == [
        (len(prompt), len(prompt) + len(first)),
        (len(trajectory.ids) - len(second), len(trajectory.ids)),
    ]
    assert list(sampler.requests[1].ids) == [*prompt, *first, *suffix]
    (call,) = trajectory.calls
    assert (call.status, call.output, call.http_status) == ("ok", "found x", 200)
    body, headers = server.seen[0]
    assert body["trace_id"] == trajectory.trace_id
    assert body["arguments"] == '{"query": "x"}'
    assert body["item"] == {"messages": [], "answer": 7}
    assert body["call_id"] == call.id
    assert headers["x-key"] == "secret"


def test_calls_of_one_turn_run_at_once_and_keep_their_order(tokenizer):
    lines = [CALL % "wait0.15" + "\n" + CALL % "b", "done"]
    (trajectory,), _, server = roll_out(tokenizer, lines)
    assert [call.output for call in trajectory.calls] == ["found wait0.15", "found b"]
    assert server.most_at_once == 2
    text = tokenizer.decode(trajectory.ids)
    assert text.index("found wait0.15") < text.index("found b")


def test_a_tool_runs_no_more_calls_at_once_than_it_allows(tokenizer):
    lines = [(CALL % "wait0.05") * 4, "done"]
    _, _, server = roll_out(tokenizer, lines, tool={"max_concurrency": 2})
    assert server.most_at_once == 2


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ('<tool_call>{"name": "nope", "arguments": {}}</tool_call>', "no tool named 'nope'"),
        ("<tool_call>{oops}</tool_call>", "the tool call is malformed"),
    ],
)
def test_a_mistake_in_a_call_is_shown_to_the_model(tokenizer, line, shown):
    (trajectory,), _, server = roll_out(tokenizer, [line, "sorry"])
    assert trajectory.calls[0].status == "malformed"
    assert shown in tokenizer.decode(trajectory.ids)
    assert trajectory.stop is StopReason.FINAL_ANSWER
    assert server.seen == []


def test_an_error_of_the_callers_making_is_shown_to_the_model(tokenizer):
    trajectory = roll_out_one(tokenizer, [CALL % "refused", "sorry"])
    assert trajectory.calls[0].status == "tool_error"
    assert "no such query" in tokenizer.decode(trajectory.ids)
    assert trajectory.stop is StopReason.FINAL_ANSWER


@pytest.mark.parametrize("query", ["broken", "garbage", "slow"])
def test_a_fault_of_the_tool_ends_the_rollout_without_a_reward(tokenizer, query):
    tool = {"timeout_s": 0.2, "idempotent": False, "effects": "writes"}
    trajectory = roll_out_one(tokenizer, [CALL % query, "never said"], tool=tool)
    assert trajectory.stop is StopReason.TOOL_FAULT
    assert trajectory.reward is None
    assert trajectory.cause.startswith("tool search: ")
    assert len(trajectory.turns) == 1
    assert trajectory.kinds[-1] == TokenKind.SAMPLED


BUDGETS = [
    ({"max_turns": 2}, StopReason.TURN_LIMIT),
    ({"max_tool_calls": 1}, StopReason.CALL_LIMIT),
    ({"max_turn_tokens": 10}, StopReason.TURN_TOKEN_LIMIT),
    ({"max_sampled_tokens": 10}, StopReason.TOKEN_LIMIT),
    ({"max_total_tokens": 310}, StopReason.CONTEXT_LIMIT),
    ({"max_total_tokens": 20}, StopReason.CONTEXT_LIMIT),
]


@pytest.mark.parametrize(("budget", "stop"), BUDGETS)
def test_each_budget_has_a_stop_reason_of_its_own(tokenizer, budget, stop):
    lines = [CALL % "a", CALL % "b", CALL % "c", "done"]
    trajectory = roll_out_one(tokenizer, lines, **budget)
    assert trajectory.stop is stop
    assert trajectory.sampled_tokens <= budget.get("max_sampled_tokens", 10_000)
    assert len(trajectory.ids) == len(trajectory.kinds) == len(trajectory.logprobs)


def test_calls_beyond_the_limit_are_not_made(tokenizer):
    (trajectory,), _, server = roll_out(
        tokenizer, [CALL % "a" + CALL % "b", "done"], max_tool_calls=1
    )
    assert trajectory.stop is StopReason.CALL_LIMIT
    assert server.seen == []
    assert [call.status for call in trajectory.calls] == ["pending", "pending"]


def test_time_runs_out_while_the_model_thinks(tokenizer):
    sampler = ScriptedSampler(tokenizer, ["late"], delay=5)
    trajectory = roll_out_one(tokenizer, [], sampler=sampler, wall_s=0.1)
    assert trajectory.stop is StopReason.TIME_LIMIT
    assert trajectory.turns == []
    assert trajectory.cause == "time: not done within 0.1 s"


def test_rollouts_that_wait_to_begin_do_not_spend_their_seconds(tokenizer):
    sampler = ScriptedSampler(tokenizer, ["42"], delay=0.1)
    requests = [make_request(sample) for sample in range(6)]
    found, _, _ = roll_out(tokenizer, [], requests, sampler=sampler, at_once=2, wall_s=0.25)
    assert [trajectory.stop for trajectory in found] == [StopReason.FINAL_ANSWER] * 6
    assert sampler.most_at_once == 2


def test_time_that_runs_out_on_a_tool_is_the_tools_fault(tokenizer):
    lines = [CALL % "a" + CALL % "slow", "never said"]
    trajectory = roll_out_one(tokenizer, lines, wall_s=0.3)
    assert trajectory.stop is StopReason.TOOL_FAULT
    assert (trajectory.reward, trajectory.trained) == (None, False)
    assert [call.status for call in trajectory.calls] == ["ok", "fault"]
    limit = "no answer before the rollout's limit of 0.3 s was over"
    assert trajectory.calls[1].error == limit
    assert trajectory.cause == f"tool search: {limit}"
    assert 0.1 < trajectory.calls[1].seconds <= trajectory.seconds


def test_a_cut_turn_is_closed_by_a_scaffold_token(tokenizer):
    trajectory = roll_out_one(tokenizer, ["a long answer indeed"], max_turn_tokens=5)
    assert trajectory.ids[-1] == tokenizer.eos_token_id
    assert trajectory.kinds[-1] == TokenKind.SCAFFOLD
    assert trajectory.kinds[-6:-1] == [TokenKind.SAMPLED] * 5


def test_only_the_first_two_periods_of_a_loop_are_sampled_tokens(tokenizer):
    sampler = ScriptedSampler(tokenizer, ["ab" * 20], loop_start=4)
    trajectory = roll_out_one(tokenizer, [], sampler=sampler)
    (turn,) = trajectory.turns
    kinds = trajectory.kinds[turn.start : turn.end]
    assert trajectory.stop is StopReason.TOKEN_LOOP
    assert kinds == [TokenKind.SAMPLED] * 4 + [TokenKind.LOOP] * (len(kinds) - 4)


def test_a_repeated_call_is_warned_of_once_and_then_stopped(tokenizer):
    (trajectory,), _, server = roll_out(tokenizer, [CALL % "same"])
    assert trajectory.stop is StopReason.TOOL_LOOP
    assert len(server.seen) == 4
    assert tokenizer.decode(trajectory.ids).count(TOOL_LOOP_WARNING.strip()) == 1


def test_calls_that_differ_are_no_loop(tokenizer):
    lines = [CALL % query for query in "abcde"] + ["done"]
    assert roll_out_one(tokenizer, lines).stop is StopReason.FINAL_ANSWER


def test_the_rows_own_tools_win(tokenizer):
    schema = {"type": "function", "function": {"name": "other", "parameters": {}}}
    trajectory = roll_out(
        tokenizer, [CALL % "x", "done"], requests=[make_request(tools=(schema,))]
    )[0][0]
    assert '"other"' in tokenizer.decode(trajectory.ids)
    assert trajectory.calls[0].status == "malformed"


def test_ids_and_keys_are_the_same_in_a_second_run_and_different_within_one(tokenizer):
    requests = [make_request(sample) for sample in range(3)]
    first, _, server = roll_out(tokenizer, [CALL % "x", "done"], requests=requests)
    again, _, second = roll_out(tokenizer, [CALL % "x", "done"], requests=requests)
    assert [t.trace_id for t in first] == [t.trace_id for t in again]
    assert sorted(server.keys) == sorted(second.keys)
    assert len(set(server.keys)) == 3
    assert [t.uid for t in first] == ["t-3-g0-0", "t-3-g0-1", "t-3-g0-2"]
    assert all(len(t.trace_id) == len("trace_") + 32 for t in first)


def test_results_come_in_the_order_of_the_requests(tokenizer):
    requests = [make_request(row=row) for row in range(5)]
    trajectories = roll_out(tokenizer, [CALL % "x", "done"], requests=requests)[0]
    assert [trajectory.row for trajectory in trajectories] == [0, 1, 2, 3, 4]


def test_a_thought_that_the_prompt_opened_is_no_answer_and_makes_no_call(make_tokenizer):
    tokenizer = make_tokenizer("qwen3")
    tokenizer.chat_template += "{{- '<think>\n' if add_generation_prompt -}}"
    (trajectory,), _, server = roll_out(tokenizer, ["I could say 42 or " + CALL % "x"])
    assert (trajectory.stop, trajectory.answer) == (StopReason.FINAL_ANSWER, "")
    assert (trajectory.calls, server.seen) == ([], [])


def test_a_made_up_name_of_a_tool_does_not_reach_the_template(make_tokenizer):
    tokenizer = make_tokenizer("qwen3")
    tokenizer.chat_template = tokenizer.chat_template.replace(
        "{{ '\\n' }}<tool_response>", "{{ '\\n' + message.name }}<tool_response>"
    )
    made_up = CALL.replace("search", "<|im_start|>system") % "x"
    trajectory = roll_out_one(tokenizer, [made_up, CALL % "y", "42"])
    text = tokenizer.decode(trajectory.ids)
    assert "<|im_start|>user\nunknown<tool_response>\nError: there is no tool" in text
    assert "<|im_start|>user\nsearch<tool_response>\nfound y" in text


def test_a_result_that_the_template_cannot_frame_costs_one_rollout_only(make_tokenizer):
    tokenizer = make_tokenizer("qwen3")
    tokenizer.chat_template = tokenizer.chat_template.replace(
        "{{ message.content }}\n</tool_response>",
        "{{ message.content }}\n{{ 'odd' if 'odd' in message.content }}</tool_response>",
    )
    requests = [make_request(row=0), make_request(row=1)]
    lines = {"g0": [CALL % "odd", "42"], "g1": [CALL % "even", "42"]}
    found = [
        roll_out_one(tokenizer, lines[request.group], requests=[request]) for request in requests
    ]
    assert [trajectory.stop for trajectory in found] == [
        StopReason.TOOL_FAULT,
        StopReason.FINAL_ANSWER,
    ]
    assert found[0].cause == (
        "tool search: the chat template cannot be used for tool calls: what it puts around a "
        "result depends on the result"
    )
