"""Thinking stays in the token list, turn after turn, and changes nothing of what follows it."""

from __future__ import annotations

import asyncio
import json

import pytest

from jobs.engine.rollout.episode import EpisodeSettings
from jobs.engine.rollout.render import ChatRenderer, ToolMessage
from jobs.engine.rollout.runner import RolloutRequest, RolloutRunner
from jobs.engine.sampling.base import Sampled
from jobs.engine.spec import Budgets
from jobs.engine.types import StopReason, Task, TokenKind

FORMATS = ["qwen3", "hermes", "llama", "mistral"]
HERMES_CALL = '<tool_call>\n{"name": "search", "arguments": {"query": "%s"}}\n</tool_call>'
CALLS = {
    "qwen3": HERMES_CALL,
    "hermes": HERMES_CALL,
    "llama": '{"name": "search", "parameters": {"query": "%s"}}',
    "mistral": '[TOOL_CALLS] [{"name": "search", "arguments": {"query": "%s"}}]',
}
THOUGHTS = ["where to look", "look again", "that is it"]
USER = {"role": "user", "content": "Q?"}


class EchoTools:
    """Answers each call with its query."""

    def schemas(self, _task):
        return [{"type": "function", "function": {"name": "search", "parameters": {}}}]

    async def execute(self, calls, **_):
        for call in calls:
            call.status, call.output = "ok", f"found {json.loads(call.arguments)['query']}"


class Lines:
    """Says one line a turn, and keeps what it was asked to go on from."""

    name = "lines"

    def __init__(self, tokenizer, lines):
        self.asked = []
        self.said = [
            tokenizer(line + tokenizer.eos_token, add_special_tokens=False)["input_ids"]
            for line in lines
        ]

    async def generate(self, request):
        self.asked.append(list(request.ids))
        ids = self.said[len(self.asked) - 1]
        return Sampled(list(ids), [-0.5] * len(ids), [1.0] * len(ids), "stop", None)

    def weights_changed(self):
        self.asked.clear()


def converse(tokenizer, name, *, thinking):
    """Two calls and an answer; returns the sampler and the trajectory."""
    lines = [CALLS[name] % "a", CALLS[name] % "b", "42"]
    if thinking:
        lines = [
            f"<think>\n{thought}\n</think>\n\n{line}"
            for thought, line in zip(THOUGHTS, lines, strict=True)
        ]
    sampler = Lines(tokenizer, lines)
    runner = RolloutRunner(
        sampler,
        ChatRenderer(tokenizer),
        EchoTools(),
        EpisodeSettings(
            budgets=Budgets(),
            seed=1,
            temperature=1.0,
            run_id="run",
            context_length=4096,
        ),
    )
    task = Task(row=0, messages=(USER,), tools=(), item={})
    request = RolloutRequest(task=task, group="0", sample=0, split="train", step=1)
    (trajectory,) = asyncio.run(runner.run([request]))
    return sampler, trajectory


def suffixes(sampler):
    """What was put between each turn and the next."""
    pairs = zip(sampler.asked, sampler.asked[1:], sampler.said, strict=False)
    return [later[len(earlier) + len(said) :] for earlier, later, said in pairs]


@pytest.mark.parametrize("thinking", [True, False], ids=["thinking", "plain"])
@pytest.mark.parametrize("name", FORMATS)
def test_what_came_before_is_an_exact_prefix_of_what_comes_after(make_tokenizer, name, thinking):
    sampler, trajectory = converse(make_tokenizer(name), name, thinking=thinking)
    assert trajectory.stop is StopReason.FINAL_ANSWER
    assert [call.output for call in trajectory.calls] == ["found a", "found b"]
    whole = [*sampler.asked, trajectory.ids]
    assert len(whole) == 4
    for earlier, later, said in zip(whole, whole[1:], sampler.said, strict=False):
        assert later[: len(earlier) + len(said)] == earlier + said
    trained = [
        token
        for token, kind in zip(trajectory.ids, trajectory.kinds, strict=True)
        if kind == TokenKind.SAMPLED
    ]
    assert trained == [token for said in sampler.said for token in said]


@pytest.mark.parametrize("name", FORMATS)
def test_thinking_does_not_change_the_suffix(make_tokenizer, name):
    tokenizer = make_tokenizer(name)
    thought, _ = converse(tokenizer, name, thinking=True)
    plain, _ = converse(tokenizer, name, thinking=False)
    assert suffixes(thought) == suffixes(plain)
    renderer = ChatRenderer(tokenizer)
    assert suffixes(plain) == [
        renderer.tool_suffix_ids([ToolMessage("search", f"found {query}")]) for query in "ab"
    ]


@pytest.mark.parametrize("name", FORMATS)
def test_all_earlier_thinking_is_before_the_model_in_its_last_turn(make_tokenizer, name):
    tokenizer = make_tokenizer(name)
    sampler, trajectory = converse(tokenizer, name, thinking=True)
    text = tokenizer.decode(sampler.asked[-1])
    assert [text.count(f"<think>\n{thought}\n</think>") for thought in THOUGHTS] == [1, 1, 0]
    assert [turn.reasoning for turn in trajectory.turns] == THOUGHTS
    assert trajectory.answer == "42"


def test_the_tokens_spell_what_the_qwen_template_writes_for_the_same_conversation(make_tokenizer):
    tokenizer = make_tokenizer("qwen3")
    messages = [USER]
    for thought, query in zip(THOUGHTS, "ab", strict=False):
        call = {"type": "function", "function": {"name": "search", "arguments": {"query": query}}}
        messages += [
            {
                "role": "assistant",
                "content": "",
                "reasoning_content": thought,
                "tool_calls": [call],
            },
            {"role": "tool", "name": "search", "content": f"found {query}"},
        ]
    rendered = tokenizer.apply_chat_template(
        messages, tools=EchoTools().schemas(None), tokenize=False, add_generation_prompt=True
    )
    sampler, _ = converse(tokenizer, "qwen3", thinking=True)
    assert tokenizer.decode(sampler.asked[-1]) == rendered


def test_thinking_that_the_template_would_drop_stays_in_the_token_list(make_tokenizer):
    tokenizer = make_tokenizer("hermes")
    rendered = tokenizer.apply_chat_template(
        [USER, {"role": "assistant", "content": "", "reasoning_content": THOUGHTS[0]}],
        tokenize=False,
    )
    assert THOUGHTS[0] not in rendered
    sampler, _ = converse(tokenizer, "hermes", thinking=True)
    assert THOUGHTS[0] in tokenizer.decode(sampler.asked[-1])
