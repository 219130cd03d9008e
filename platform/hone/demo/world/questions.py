"""Questions over a company's archive, in five families, each with the calls that solve it."""

from __future__ import annotations

import random
from dataclasses import dataclass

from hone.demo.world.company import Company

FAMILIES = ("product", "person", "price", "sum", "order")


@dataclass(frozen=True)
class Step:
    """One right call."""

    tool: str
    argument: str


@dataclass(frozen=True)
class Question:
    """A question, its answer, and the shortest way there."""

    family: str
    text: str
    answer: str
    steps: tuple[Step, ...]


def ask(company: Company, family: str, dice: random.Random) -> Question:
    """A question of that family about the company."""
    match family:
        case "product":
            return _product(dice)
        case "person":
            return _person(company, dice)
        case "price":
            return _price(company, dice)
        case "sum":
            return _sum(company, dice)
        case "order":
            return _order(company, dice)
    raise ValueError(f"no family {family!r}; there are {', '.join(FAMILIES)}")


def _product(dice: random.Random) -> Question:
    left, right = dice.randint(11, 99), dice.randint(2, 9)
    return Question(
        "product",
        f"What is {left} times {right}?",
        str(left * right),
        (Step("calculate", f"{left}*{right}"),),
    )


def _person(company: Company, dice: random.Random) -> Question:
    role = dice.choice(list(company.staff))
    return Question(
        "person",
        f"Who is the {role}?",
        company.staff[role],
        (Step("search", role), Step("read", company.titles[role])),
    )


def _price(company: Company, dice: random.Random) -> Question:
    good = dice.choice(list(company.prices))
    return Question(
        "price",
        f"What does a {good} cost?",
        str(company.prices[good]),
        (Step("search", good), Step("read", company.titles[good])),
    )


def _sum(company: Company, dice: random.Random) -> Question:
    first, second = dice.sample(company.invoices, 2)
    return Question(
        "sum",
        f"What do invoice {first.number} and invoice {second.number} come to?",
        str(first.total + second.total),
        (
            Step("read", first.title),
            Step("read", second.title),
            Step("calculate", f"{first.total}+{second.total}"),
        ),
    )


def _order(company: Company, dice: random.Random) -> Question:
    order = dice.choice(company.orders)
    price = company.prices[order.good]
    return Question(
        "order",
        f"What does order {order.number} come to?",
        str(order.quantity * price),
        (
            Step("read", order.title),
            Step("search", order.good),
            Step("read", company.titles[order.good]),
            Step("calculate", f"{order.quantity}*{price}"),
        ),
    )
