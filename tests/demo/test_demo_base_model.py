"""The demo's tiny base model: its tokenizer, its template, and the weights that are kept."""

from __future__ import annotations

import json
import math
import random

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer, PreTrainedTokenizerFast, Qwen3ForCausalLM

from hone.demo.base_model import WEIGHTS
from hone.demo.base_model.examples import Writer, random_question
from hone.demo.base_model.probe import LEAST, turn_chances
from hone.demo.base_model.teacher import PERFECT, Habits, call_text, perform
from hone.demo.base_model.tokenizer import train_tokenizer
from hone.demo.world.questions import FAMILIES, Step
from hone.demo.world.tools import definitions
from jobs.engine.rollout.parse import parse_turn
from jobs.engine.rollout.render import ChatRenderer, ToolMessage

built = pytest.mark.skipif(
    not (WEIGHTS / "probe.json").exists(),
    reason="no weights; `python -m hone.demo.base_model.build` makes them",
)
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)


def _small_tokenizer() -> PreTrainedTokenizerFast:
    dice = random.Random(1)
    texts: list[str] = []
    for _ in range(300):
        firm, question = random_question(dice)
        episode = perform(firm, question, PERFECT, dice)
        texts += [question.text, *episode.written, *episode.results]
    return train_tokenizer(texts)


TOKENIZER = _small_tokenizer()
WRITER = Writer(TOKENIZER)
RENDERER = ChatRenderer(TOKENIZER)


@given(TEXT)
@settings(max_examples=300, deadline=None)
def test_any_text_survives_the_tokenizer(text: str) -> None:
    ids = TOKENIZER.encode(text, add_special_tokens=False)
    assert TOKENIZER.decode(ids, skip_special_tokens=False) == text


def test_digits_are_one_token_each_and_names_are_the_same_everywhere() -> None:
    assert TOKENIZER.tokenize("4711") == ["4", "7", "1", "1"]
    alone = TOKENIZER.encode("Mara", add_special_tokens=False)
    after = TOKENIZER.encode("driver Mara", add_special_tokens=False)
    assert after[-len(alone) :] == alone


@given(st.lists(TEXT, min_size=1, max_size=3))
@settings(max_examples=150, deadline=None)
def test_what_follows_a_turn_is_what_the_template_would_write(results: list[str]) -> None:
    special = TOKENIZER.all_special_tokens
    if any(mark in text for mark in special for text in results):
        return
    calls = [
        {"type": "function", "function": {"name": "read", "arguments": {"document": "order 12"}}}
        for _ in results
    ]
    before = [{"role": "user", "content": "What does order 12 come to?"}]
    after = [
        *before,
        {"role": "assistant", "content": "", "tool_calls": calls},
        *({"role": "tool", "name": "read", "content": text} for text in results),
    ]
    turn = "\n".join(call_text(Step("read", "order 12")) for _ in results)
    ids = RENDERER.prompt_ids(before, definitions()) + WRITER.turn(turn)
    ids += RENDERER.tool_suffix_ids([ToolMessage("read", text) for text in results])
    whole = TOKENIZER.apply_chat_template(
        after, tools=definitions(), add_generation_prompt=True, tokenize=False
    )
    assert TOKENIZER.decode(ids, skip_special_tokens=False) == whole
    assert ids == WRITER.encode(str(whole))


@given(TEXT)
@settings(max_examples=100, deadline=None)
def test_the_model_is_taught_with_the_tokens_that_rollouts_give_it(text: str) -> None:
    if any(mark in text for mark in TOKENIZER.all_special_tokens):
        return
    assert WRITER.result(text) == RENDERER.tool_suffix_ids([ToolMessage("read", text)])
    question = {"role": "user", "content": text}
    assert WRITER.prompt(text) == RENDERER.prompt_ids([question], definitions())


def test_the_calls_it_is_taught_are_the_calls_that_rollouts_parse() -> None:
    parsed = parse_turn(call_text(Step("calculate", "12*3")), RENDERER.tool_format)
    assert [(call.name, json.loads(call.arguments)) for call in parsed.calls] == [
        ("calculate", {"expression": "12*3"})
    ]


def test_the_teacher_without_vices_takes_the_shortest_way() -> None:
    dice = random.Random(3)
    for _ in range(100):
        firm, question = random_question(dice)
        episode = perform(firm, question, PERFECT, dice)
        assert episode.written == [*map(call_text, question.steps), question.answer]
        assert not any(result.startswith("Error") for result in episode.results)


def test_the_teachers_vices_are_there_and_end() -> None:
    dice = random.Random(4)
    solved = repeated = 0
    for _ in range(500):
        firm, question = random_question(dice)
        episode = perform(firm, question, Habits(), dice)
        assert len(episode.results) <= 10
        solved += episode.written[-1] == question.answer
        repeated += len(set(episode.written)) < len(episode.written)
    assert 0.1 < solved / 500 < 0.6
    assert 0.1 < repeated / 500 < 0.8


@built
def test_the_weights_are_small_and_safe() -> None:
    files = [path for path in WEIGHTS.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= 8 * 2**20
    assert {path.suffix for path in files} <= {".safetensors", ".json", ".jinja", ".txt"}


@built
def test_every_right_step_is_within_reach() -> None:
    table = json.loads((WEIGHTS / "probe.json").read_text())
    assert {row["family"] for row in table} == set(FAMILIES)
    weak = [row for row in table if row["right"] < LEAST]
    assert weak == []
    assert LEAST == 0.2


@built
def test_the_model_is_qwen3_with_the_tokenizer_and_template_of_the_demo() -> None:
    torch.set_num_threads(1)
    model = Qwen3ForCausalLM.from_pretrained(WEIGHTS, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(WEIGHTS)
    assert 500_000 < model.num_parameters() < 2_000_000
    assert model.config.vocab_size == len(tokenizer)
    assert tokenizer.chat_template == TOKENIZER.chat_template
    assert ChatRenderer(tokenizer).tool_format == RENDERER.tool_format
    assert tokenizer.decode(tokenizer.encode("Grüße 東京 \U0001f600")) == "Grüße 東京 \U0001f600"


@built
def test_the_probe_that_is_kept_is_the_weights_own() -> None:
    torch.set_num_threads(1)
    model = Qwen3ForCausalLM.from_pretrained(WEIGHTS, dtype=torch.float32).eval()
    writer = Writer(AutoTokenizer.from_pretrained(WEIGHTS))
    dice = random.Random(11)
    chances = []
    with torch.no_grad():
        for _ in range(40):
            firm, question = random_question(dice)
            example = writer.episode(question, perform(firm, question, PERFECT, dice))
            turns = turn_chances(model, example.ids, example.learned)
            assert len(turns) == len(question.steps) + 1
            chances += [math.prod(turn) for turn in turns]
    assert sum(chances) / len(chances) >= LEAST
