"""A small company and its archive, made from a number: the same number, the same company."""

from __future__ import annotations

import random
from dataclasses import dataclass
from functools import lru_cache

_PEOPLE = """
Mara Teo Lina Oskar Priya Jonas Ada Kofi Nela Ruben Sana Viktor Wanda Yusuf Zora Emil Freya Hugo
Iris Janek Karim Leona Milo Nadia Otto Petra Quinn Rosa Silas Tilda Uma Vera Wim Xenia Ylva Amir
Berta Cem Dora Elif
"""
_ROLES = """
auditor buyer cook driver editor florist guard hatter jeweller keeper lawyer miller nurse officer
painter porter roofer sailor tailor tutor
"""
_GOODS = """
lamp chair desk shelf bench clock mirror carpet kettle bowl plate vase basket ladder hammer saw
drill rope bucket brush stove heater fan tent boat sledge drum flute violin globe
"""
PEOPLE = tuple(_PEOPLE.split())
ROLES = tuple(_ROLES.split())
GOODS = tuple(_GOODS.split())
STAFF, PRICED, INVOICES, ORDERS = 4, 5, 4, 3


@dataclass(frozen=True)
class Invoice:
    """Document `invoice <number>`: what a client owes."""

    number: int
    total: int

    @property
    def title(self) -> str:
        return f"invoice {self.number}"


@dataclass(frozen=True)
class Order:
    """Document `order <number>`: how many of one good were ordered."""

    number: int
    good: str
    quantity: int

    @property
    def title(self) -> str:
        return f"order {self.number}"


@dataclass(frozen=True)
class Company:
    """What the archive knows. Titles carry numbers, so they cannot be guessed."""

    number: int
    staff: dict[str, str]
    """Role → name."""
    prices: dict[str, int]
    """Good → price of one."""
    titles: dict[str, str]
    """Role or good → the title of the document about it."""
    invoices: tuple[Invoice, ...]
    orders: tuple[Order, ...]

    @property
    def documents(self) -> dict[str, str]:
        """Every document: its title and its text."""
        return {
            **{self.titles[role]: f"{role} {name}" for role, name in self.staff.items()},
            **{self.titles[good]: f"{good} {price}" for good, price in self.prices.items()},
            **{invoice.title: f"total {invoice.total}" for invoice in self.invoices},
            **{order.title: f"{order.quantity} of {order.good}" for order in self.orders},
        }


@lru_cache(maxsize=4096)
def company(number: int) -> Company:
    """The company with that number."""
    dice = random.Random(f"ledger desk company {number}")
    numbers = dice.sample(range(10, 100), STAFF + PRICED + INVOICES + ORDERS)
    roles, goods = dice.sample(ROLES, STAFF), dice.sample(GOODS, PRICED)
    return Company(
        number=number,
        staff=dict(zip(roles, dice.sample(PEOPLE, STAFF), strict=True)),
        prices={good: dice.randint(11, 99) for good in goods},
        titles={
            **{role: f"staff {numbers.pop()}" for role in roles},
            **{good: f"price {numbers.pop()}" for good in goods},
        },
        invoices=tuple(Invoice(numbers.pop(), dice.randint(11, 99)) for _ in range(INVOICES)),
        orders=tuple(
            Order(numbers.pop(), dice.choice(goods), dice.randint(2, 9)) for _ in range(ORDERS)
        ),
    )
