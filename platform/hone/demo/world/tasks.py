"""The tasks of the ledger desk: dataset rows and the grader."""

from __future__ import annotations

import random
from collections.abc import Collection, Iterator
from typing import Any

from hone.demo.world.company import company
from hone.demo.world.questions import FAMILIES, Question, ask

TRAINING_COMPANIES = range(1, 401)
VALIDATION_COMPANIES = range(5001, 5201)


def training_rows(seed: int = 0, count: int = 400) -> Iterator[dict[str, Any]]:
    """Rows about the training companies, families in turn."""
    return _rows("training", TRAINING_COMPANIES, seed, count)


def validation_rows(seed: int = 0, count: int = 200) -> Iterator[dict[str, Any]]:
    """Rows about other companies; none asks and answers what a training row of that seed does.

    Other companies alone do not see to that: a product is the same everywhere, and two companies
    may have the same auditor.
    """
    known = {asked_and_answered(row) for row in training_rows(seed)}
    return _rows("validation", VALIDATION_COMPANIES, seed, count, known)


def _rows(
    split: str,
    companies: range,
    seed: int,
    count: int,
    known: Collection[tuple[str, str]] = (),
) -> Iterator[dict[str, Any]]:
    dice = random.Random(f"ledger desk {split} {seed}")
    for index in range(count):
        family = FAMILIES[index % len(FAMILIES)]
        row = _row(companies, family, dice)
        while asked_and_answered(row) in known:
            row = _row(companies, family, dice)
        yield row


def _row(companies: range, family: str, dice: random.Random) -> dict[str, Any]:
    number = dice.choice(companies)
    return as_row(number, ask(company(number), family, dice))


def asked_and_answered(row: dict[str, Any]) -> tuple[str, str]:
    """What a model that learns rows by heart would know of this one."""
    return row["messages"][-1]["content"], row["answer"]


def as_row(number: int, question: Question) -> dict[str, Any]:
    """A dataset row in the wire format."""
    return {
        "messages": [{"role": "user", "content": question.text}],
        "company": number,
        "family": question.family,
        "answer": question.answer,
    }


THRIFT = '''
def grade(sample, item):
    """1 where no call is repeated, a fifth less for each repetition."""
    calls = [
        (call["function"]["name"], call["function"]["arguments"])
        for call in sample["output_tools"]
    ]
    return max(0.0, 1.0 - 0.2 * (len(calls) - len(set(calls))))
'''


def grader_spec() -> dict[str, Any]:
    """The right answer counts, less so where calls were repeated on the way; holding it among
    other words counts a little."""
    compared = {"input": "{{sample.output_text}}", "reference": "{{item.answer}}"}
    return {
        "type": "multi",
        "name": "ledger desk",
        "graders": {
            "exact": {"type": "string_check", "name": "exact", "operation": "eq", **compared},
            "holds": {"type": "string_check", "name": "holds", "operation": "like", **compared},
            "thrift": {"type": "python", "name": "thrift", "source": THRIFT},
        },
        "calculate_output": "0.9 * exact * thrift + 0.1 * holds",
    }
