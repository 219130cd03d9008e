"""Dense copying drills: nearly every token to be learned stands somewhere before.

First the plainest (say it again), then the turns of the desk itself: from a result to an answer,
from a question to a call, from a title to a call, from two results to one call.
"""

from __future__ import annotations

import random

from hone.demo.base_model.examples import BASE_COMPANIES, Example, Writer
from hone.demo.base_model.teacher import call_text
from hone.demo.world.company import company
from hone.demo.world.questions import Step

ECHOED = 24
EXCHANGES = 4


def echo(writer: Writer, dice: random.Random) -> Example:
    """Random tokens, and the same again."""
    said = [dice.randrange(len(writer.tokenizer)) for _ in range(ECHOED)]
    return Example(said + said, [False] * ECHOED + [True] * ECHOED)


def exchanges(writer: Writer, dice: random.Random) -> Example:
    """Several turns of the desk, torn from their conversations, each about a fresh company."""
    ids: list[int] = []
    learned: list[bool] = []
    for _ in range(EXCHANGES):
        shown, written = _turn(dice)
        for text, copied in (
            (f"<|im_start|>user\n{shown}<|im_end|>\n<|im_start|>assistant\n", False),
            (f"{written}<|im_end|>", True),
            ("\n", False),
        ):
            piece = writer.encode(text)
            ids += piece
            learned += [copied] * len(piece)
    return Example(ids, learned)


def _turn(dice: random.Random) -> tuple[str, str]:
    firm = company(dice.choice(BASE_COMPANIES))
    order = dice.choice(firm.orders)
    first, second = dice.sample(firm.invoices, 2)
    good = dice.choice(list(firm.prices))
    match dice.randrange(8):
        case 0:
            role = dice.choice(list(firm.staff))
            staff = _response(firm.documents[firm.titles[role]])
            return f"Who is the {role}?\n{staff}", firm.staff[role]
        case 1:
            priced = _response(f"{good} {firm.prices[good]}")
            return f"What does a {good} cost?\n{priced}", str(firm.prices[good])
        case 2:
            totals = _response(f"total {first.total}") + "\n" + _response(f"total {second.total}")
            return totals, call_text(Step("calculate", f"{first.total}+{second.total}"))
        case 3:
            ordered = _response(f"{order.quantity} of {order.good}")
            bought = f"{order.quantity}*{firm.prices[order.good]}"
            priced = _response(f"{order.good} {firm.prices[order.good]}")
            return f"{ordered}\n{priced}", call_text(Step("calculate", bought))
        case 4:
            asked = f"What do invoice {first.number} and invoice {second.number} come to?"
            done = _response(f"total {first.total}")
            read = call_text(Step("read", first.title))
            return f"{asked}\n{read}\n{done}", call_text(Step("read", second.title))
        case 5:
            calculated = order.quantity * firm.prices[order.good]
            return _response(str(calculated)), str(calculated)
        case 6:
            ordered = _response(f"{order.quantity} of {order.good}")
            return ordered, call_text(Step("search", order.good))
    found = f"{firm.titles[order.good]}, {order.title}"
    return _response(found), call_text(Step("read", firm.titles[order.good]))


def _response(text: str) -> str:
    return f"<tool_response>\n{text}\n</tool_response>"
