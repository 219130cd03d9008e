"""The world of the ledger desk: made from numbers, the same for everyone, and solvable."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Iterable
from typing import Any

import pytest

from hone.datasets.rows import Row, check_row
from hone.demo.world.company import company
from hone.demo.world.questions import FAMILIES, ask
from hone.demo.world.tasks import (
    TRAINING_COMPANIES,
    VALIDATION_COMPANIES,
    as_row,
    training_rows,
    validation_rows,
)
from hone.demo.world.tools import ToolMistake, calculate, call, definitions, read, search


def _line(row: dict[str, object]) -> bytes:
    return json.dumps(row).encode()


def test_a_number_makes_the_same_company_each_time() -> None:
    first = company(17)
    company.cache_clear()
    assert company(17) == first
    assert company(18) != first


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_rows_come_from_their_seed(seed: int) -> None:
    assert list(training_rows(seed)) == list(training_rows(seed))
    assert list(training_rows(seed)) != list(training_rows(seed + 1))
    assert len(list(training_rows(seed))) == 400
    assert len(list(validation_rows(seed, 77))) == 77


def test_training_and_validation_share_no_company() -> None:
    assert not set(TRAINING_COMPANIES) & set(VALIDATION_COMPANIES)
    for seed in range(5):
        training = {row["company"] for row in training_rows(seed)}
        validation = {row["company"] for row in validation_rows(seed)}
        assert training <= set(TRAINING_COMPANIES)
        assert validation <= set(VALIDATION_COMPANIES)


@pytest.mark.parametrize("seed", range(5))
def test_no_validation_row_asks_and_answers_what_a_training_row_does(seed: int) -> None:
    def known(rows: Iterable[dict[str, Any]]) -> set[tuple[str, str]]:
        return {(row["messages"][0]["content"], row["answer"]) for row in rows}

    assert known(training_rows(seed)) & known(validation_rows(seed)) == set()


def test_the_training_rows_are_those_that_the_demos_settings_were_found_with() -> None:
    lines = json.dumps(list(training_rows())).encode()
    assert hashlib.sha256(lines).hexdigest() == (
        "21bec87c3be31d585cb295518c321aa81bd6ac4fdf055a912e2feab3e86846fa"
    )


def test_families_come_in_turn() -> None:
    assert len(FAMILIES) >= 4
    for rows, a_family in ((training_rows(1), 80), (validation_rows(), 40)):
        families = [row["family"] for row in rows]
        assert families == list(FAMILIES) * a_family


def test_one_to_four_calls_are_needed() -> None:
    dice = random.Random(1)
    counts = {len(ask(company(n), family, dice).steps) for n in range(50) for family in FAMILIES}
    assert counts == {1, 2, 3, 4}


def test_rows_are_rows_of_a_dataset() -> None:
    for number, row in enumerate([*training_rows(1, 50), *validation_rows(1, 50)], start=1):
        assert isinstance(check_row(number, _line(row)), Row)
    with_tools = {**as_row(1, ask(company(1), "sum", random.Random(1))), "tools": definitions()}
    assert isinstance(check_row(1, _line(with_tools)), Row)


@pytest.mark.parametrize("family", FAMILIES)
def test_each_right_call_is_made_of_what_was_seen_and_the_last_holds_the_answer(
    family: str,
) -> None:
    dice = random.Random(family)
    for number in range(200):
        firm = company(number)
        question = ask(firm, family, dice)
        seen, output = question.text.lower(), ""
        for step in question.steps:
            words = step.argument.replace("*", "+").replace("+", " ").split()
            assert all(word in seen for word in words)
            (argument,) = _parameters(step.tool)["required"]
            output = call(firm, step.tool, {argument: step.argument})
            seen += f" {output}"
        assert question.answer in output.replace(";", "").split()


def _parameters(tool: str) -> dict[str, list[str]]:
    (found,) = [d["function"]["parameters"] for d in definitions() if d["function"]["name"] == tool]
    return dict(found)


def test_searching_finds_documents_by_all_words() -> None:
    firm = company(1)
    role, name = next(iter(firm.staff.items()))
    (title,) = [title for title, text in firm.documents.items() if f"{role} {name}" in text]
    assert search(firm, role) == title
    assert search(firm, f"{name} {role.upper()}") == title
    assert search(firm, "invoice").count(",") == 2
    assert search(firm, "nosuchword") == "nothing found"


def test_reading_takes_a_title() -> None:
    firm = company(1)
    for title, text in firm.documents.items():
        assert read(firm, f" {title.upper()} ") == text


@pytest.mark.parametrize(
    ("expression", "value"),
    [("2*3", "6"), ("7/2", "3.5"), ("-(1+2)*3", "-9"), ("10/4*2", "5"), (" 1e3 ", "1000")],
)
def test_the_calculator_calculates(expression: str, value: str) -> None:
    assert calculate(None, expression) == value


@pytest.mark.parametrize(
    "expression",
    [
        "",
        "2**9",
        "1/0",
        "__import__('os')",
        "True+1",
        "1j",
        "'a'*9",
        "a",
        "(" * 29 + "1",
        "1;2",
        "\x00",
        "9//2",
        "1or 2",
    ],
)
def test_what_is_no_arithmetic_is_a_mistake(
    expression: str, recwarn: pytest.WarningsRecorder
) -> None:
    with pytest.raises(ToolMistake, match="cannot calculate"):
        calculate(None, expression)
    assert recwarn.list == [], "nothing is printed beside the tool's answer"


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("search", {"query": " "}, "the query is empty"),
        ("search", {}, "search takes one text, query"),
        ("search", {"query": 1}, "search takes one text, query"),
        ("search", {"query": "a", "more": "b"}, "search takes one text, query"),
        ("read", {"document": "invoice 1"}, "no document invoice 1"),
        ("calculate", {"expression": "1" * 61}, "the expression is longer than 60 characters"),
        ("find", {}, "no tool find; there are search, read, calculate"),
    ],
)
def test_a_mistake_is_told_in_words(name: str, arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ToolMistake) as caught:
        call(company(1), name, arguments)
    assert str(caught.value) == message


def test_without_a_company_only_the_calculator_works() -> None:
    assert call(None, "calculate", {"expression": "6*7"}) == "42"
    for name, argument in (("search", "query"), ("read", "document")):
        with pytest.raises(ToolMistake, match="no company"):
            call(None, name, {argument: "x"})
