"""Templates and the paths in them."""

from __future__ import annotations

from typing import Any

import pytest

from graders.kinds.base import GraderSpecError
from graders.kinds.check import missing_in
from graders.kinds.templates import MissingVariable, Template

NAMESPACES: dict[str, Any] = {
    "item": {
        "answer": "42",
        "none": None,
        "flag": True,
        "deep": {"list": [{"x": 1.5}, ["a", "b"]], "a b": "spaced", "": "empty", "0": "zero"},
        "trap": "{{sample.output_text}}",
    },
    "sample": {"output_text": "forty-two", "output_tools": [{"function": {"name": "search"}}]},
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
        ("{{ open", "{{ open"),
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
    ],
)
def test_paths_that_cannot_be_read_are_refused(text: str) -> None:
    with pytest.raises(GraderSpecError) as refusal:
        Template(text, param="graders.a.input")
    assert refusal.value.param == "graders.a.input"


def test_rows_are_checked_for_the_items_variables_alone() -> None:
    variables = Template("{{item.a.b}} {{item.c}} {{sample.output_json}}").variables()
    assert missing_in(variables, {"a": {"b": None}}) == ["item.c"]
    assert missing_in(variables, {"a": [], "c": 1}) == ["item.a.b"]
