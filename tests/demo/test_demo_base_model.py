"""The demo's tiny base model: its tokenizer, its template, and the weights that are kept."""

from __future__ import annotations

import json
import math
import random
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer, PreTrainedTokenizerFast, Qwen3ForCausalLM

from hone.demo.base_model import PROBE, WEIGHTS, build
from hone.demo.base_model.examples import Writer, random_question
from hone.demo.base_model.probe import LEAST, parting, probe, weaknesses
from hone.demo.base_model.teacher import PERFECT, Habits, call_text, perform
from hone.demo.base_model.tokenizer import train_tokenizer
from hone.demo.world.company import Invoice, company
from hone.demo.world.questions import FAMILIES, Question, Step
from hone.demo.world.tools import definitions
from jobs.engine.rollout.parse import parse_turn
from jobs.engine.rollout.render import ChatRenderer, ToolMessage

built = pytest.mark.skipif(
    not (WEIGHTS / PROBE).exists(),
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
def test_every_right_step_is_within_reach_and_is_finished_once_begun() -> None:
    table = json.loads((WEIGHTS / PROBE).read_text())
    assert {row["family"] for row in table} == set(FAMILIES)
    assert LEAST == {"right": 0.2, "finish": 0.7}
    assert weaknesses(table) == []


def test_a_step_that_is_hardly_found_or_hardly_finished_is_named() -> None:
    table = [
        {"family": "sum", "step": 1, "right": 0.2, "finish": 0.7},
        {"family": "sum", "step": 2, "right": 0.199, "finish": 0.9},
        {"family": "order", "step": 3, "right": 0.3, "finish": 0.699},
    ]
    assert weaknesses(table) == [
        "Step 2 of sum has right 0.199; at least 0.2 is needed. Teach it longer or drill it more.",
        "Step 3 of order has finish 0.699; at least 0.7 is needed. Teach it longer or drill it "
        "more.",
    ]


def test_a_model_that_cannot_finish_is_not_built(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    weak = [{"family": "sum", "step": 2, "right": 0.4, "finish": 0.24}]
    monkeypatch.setattr(build, "probe_folder", lambda folder, seed: weak)
    monkeypatch.setattr("sys.argv", ["build", "--probe-only", "--folder", str(tmp_path)])
    with pytest.raises(SystemExit, match=r"^Step 2 of sum has finish 0.24; at least 0.7"):
        build.main()


def test_a_turn_has_begun_where_it_parts_from_the_last_of_its_rivals() -> None:
    assert parting([1, 2, 3, 4], [[9, 2, 3, 4]]) == 1
    assert parting([1, 2, 3, 4], [[9, 2], [1, 2, 8, 4], [1, 7]]) == 3


class CertainBut:
    """A model that is sure of the next token of `ids`, but for the chances given by place."""

    def __init__(self, ids: list[int], chances: dict[int, float]) -> None:
        self.ids, self.chances = ids, chances

    def __call__(self, input_ids: torch.Tensor) -> Any:
        assert input_ids.tolist() == [self.ids]
        logits = torch.zeros(1, len(self.ids), len(TOKENIZER))
        for place, token in enumerate(self.ids[1:]):
            chance = self.chances.get(place + 1, 1.0)
            rest = max((1 - chance) / (len(TOKENIZER) - 1), 1e-30)
            logits[0, place] = math.log(rest)
            logits[0, place, token] = math.log(chance)
        return SimpleNamespace(logits=logits)


@pytest.mark.parametrize(
    ("token", "right", "finish"),
    [
        ("<tool_call>", 0.5, 1.0),
        ("read", 0.5, 1.0),
        ("invoice", 0.5, 1.0),
        ("the first digit", 0.5, 1.0),
        ("the second digit", 0.5, 0.5),
        ("</tool_call>", 0.5, 0.5),
    ],
)
def test_which_invoice_is_read_is_a_choice_and_the_rest_of_its_number_is_not(
    monkeypatch: pytest.MonkeyPatch, token: str, right: float, finish: float
) -> None:
    invoices = (Invoice(76, 70), Invoice(35, 61))
    firm = replace(company(1), invoices=invoices)
    steps = (
        *(Step("read", invoice.title) for invoice in invoices),
        Step("calculate", "70+61"),
    )
    question = Question("sum", "What do invoice 76 and invoice 35 come to?", "131", steps)
    monkeypatch.setattr("hone.demo.base_model.probe.FAMILIES", ("sum",))
    monkeypatch.setattr("hone.demo.base_model.probe.company", lambda number: firm)
    monkeypatch.setattr("hone.demo.base_model.probe.ask", lambda *_: question)
    example = WRITER.episode(question, perform(firm, question, PERFECT, random.Random(1)))
    second = WRITER.turn(call_text(steps[1]))
    begins = next(
        place
        for place in range(len(example.ids))
        if example.learned[place] and example.ids[place : place + len(second)] == second
    )
    words = {"the first digit": "3", "the second digit": "5"}
    (wanted,) = WRITER.encode(words.get(token, token))
    model: Any = CertainBut(example.ids, {begins + second.index(wanted): 0.5})
    rows = probe(model, WRITER, random.Random(1))
    assert [row["step"] for row in rows] == [1, 2, 3, 4]
    assert (rows[1]["right"], rows[1]["finish"]) == (right, finish)
    assert {(row["right"], row["finish"]) for row in rows if row["step"] != 2} == {(1.0, 1.0)}


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
@pytest.mark.slow
def test_the_probe_that_is_kept_is_the_weights_own(tmp_path: Path) -> None:
    torch.set_num_threads(1)
    shutil.copytree(WEIGHTS, tmp_path, dirs_exist_ok=True)
    kept = json.loads((WEIGHTS / PROBE).read_text())
    again = build.probe_folder(tmp_path, seed=7)
    assert json.loads((tmp_path / PROBE).read_text()) == again
    for row, found in zip(kept, again, strict=True):
        assert found == pytest.approx(row, abs=0.005)
