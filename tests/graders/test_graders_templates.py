"""Templates and the paths in them."""

from __future__ import annotations

import contextlib
import time
from typing import Any

import pytest

from graders.kinds.base import GraderSpecError
from graders.kinds.check import missing_in, reading
from graders.kinds.templates import MissingVariable, Template

NAMESPACES: dict[str, Any] = {
    "item": {
        "answer": "42",
        "none": None,
        "flag": True,
        "deep": {"list": [{"x": 1.5}, ["a", "b"]], "a b": "spaced", "": "empty", "0": "zero"},
        "trap": "{{sample.output_text}}",
    },
    "sample": {
        "output_text": "forty-two",
        "output_tools": [{"function": {"name": "search"}, "a\0\ud800": 1}],
    },
}


@pytest.mark.parametrize(
    ("text", "rendered"),
    [
        ("plain", "plain"),
        ("", ""),
        ("<{{item.answer}}>", "<42>"),
        ("{{ item.answer }}{{sample.output_text}}", "42forty-two"),
        ("{{sample.output_tools[0].function.name}}", "search"),
        ("{{item.deep.list[0].x}}", "1.5"),
        ("{{item.deep.list[1][1]}}", "b"),
        ("{{item.deep['a b']}}", "spaced"),
        ('{{item.deep[""]}}', "empty"),
        ("{{item.deep.0}}", "zero"),
        ("{{item.none}} {{item.flag}}", "null true"),
        ("{{item.deep.list[0]}}", '{"x": 1.5}'),
        ("{{item.trap}}", "{{sample.output_text}}"),
        ("}} {{item.answer}}", "}} 42"),
        ("{ {item.answer} }", "{ {item.answer} }"),
    ],
)
def test_placeholders_are_filled_once(text: str, rendered: str) -> None:
    assert Template(text).render(NAMESPACES) == rendered


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{{item.lang}}", r"\{\{item.lang\}\} is missing. Keys present: answer, deep, flag"),
        ("{{item.deep.list[2]}}", "index 2 of a list of 2"),
        ("{{item.answer[0]}}", "index 0 of a text"),
        ("{{item.answer.x}}", "key 'x' of a text"),
        ("{{item.none.x}}", "key 'x' of null"),
        ("{{sample.output_json.x}}", "output_json.x.* is missing"),
        ("{{sample.output_tools[0].x}}", r"Keys present: a\\x00\\ud800, function"),
    ],
)
def test_what_is_not_there_is_named(text: str, said: str) -> None:
    with pytest.raises(MissingVariable, match=said):
        Template(text).render(NAMESPACES)


@pytest.mark.parametrize(
    "text",
    [
        "{{answer}}",
        "{{}}",
        "{{items.x}}",
        "{{item.}}",
        "{{item[-1]}}",
        "{{item.x y}}",
        "{{item[a]}}",
        "{{ open",
        "{{item.answer}} {{item.x}",
        "{{sample.outptu_text}}",
        "{{sample[0]}}",
        "{{item.x}}" * 101,
    ],
)
def test_paths_that_cannot_be_read_are_refused(text: str) -> None:
    with pytest.raises(GraderSpecError) as refusal:
        Template(text, param="graders.a.input")
    assert refusal.value.param == "graders.a.input"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "a {{item.x} b",
            "'{{item.x} b' opens a variable and does not close it. Write }} behind its name, as in "
            "{{item.answer}}.",
        ),
        (
            "{{sample.outptu_text}}",
            "{{sample.outptu_text}} is nothing that a sample has. It has output_text, output_json, "
            "output_tools, choices, output_audio, turn, usage. Did you mean `output_text`?",
        ),
        ("{{item.x}}" * 101, "It reads 101 variables; at most 100 are possible."),
    ],
)
def test_a_refusal_says_what_to_write(text: str, message: str) -> None:
    with pytest.raises(GraderSpecError) as refusal:
        Template(text)
    assert refusal.value.message == message


@pytest.mark.parametrize(
    "variable",
    [
        "sample",
        "sample.output_json.any.key",
        "sample.output_tools[3].any",
        "sample.choices[0].message.any",
        "sample.output_audio.transcript",
        "sample['output_text']",
    ],
)
def test_what_a_sample_can_have_is_free_below_its_first_key(variable: str) -> None:
    assert Template(f"{{{{{variable}}}}}").variables() == {variable}


@pytest.mark.parametrize("text", ["{{" * 500_000, "}}" * 500_000, "{{item" + ".a" * 500_000 + "}}"])
def test_a_megabyte_is_read_in_no_time(text: str) -> None:
    started = time.process_time()
    with contextlib.suppress(GraderSpecError):
        Template(text)
    assert time.process_time() - started < 2


def test_variables_are_found_by_how_they_begin() -> None:
    variables = Template(
        "{{sample['output_json'].b}} {{sample.output_json}} {{item.x}}"
    ).variables()
    assert reading(variables, "sample", "output_json") == [
        "sample.output_json",
        "sample['output_json'].b",
    ]
    assert reading(variables, "sample", "output_text") == []


def test_rows_are_checked_for_the_items_variables_alone() -> None:
    variables = Template("{{item.a.b}} {{item.c}} {{sample.output_json}}").variables()
    assert missing_in(variables, {"a": {"b": None}}) == ["item.c"]
    assert missing_in(variables, {"a": [], "c": 1}) == ["item.a.b"]
