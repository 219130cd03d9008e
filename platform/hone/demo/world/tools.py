"""The three tools of the ledger desk, as functions of a company: search, read, calculate."""

from __future__ import annotations

import ast
import operator
import re
from collections.abc import Callable
from typing import Any

from hone.demo.world.company import Company

LONGEST_EXPRESSION = 60
_ARITHMETIC = re.compile(r"[\d.eE+\-*/()\s]*", re.ASCII)
"""Of other text Python's parser prints warnings."""


class ToolMistake(Exception):
    """The caller's mistake, in words for the model."""


def _documents(company: Company | None) -> dict[str, str]:
    if company is None:
        raise ToolMistake("this task has no company, so there is no archive")
    return company.documents


def search(company: Company | None, query: str) -> str:
    """Titles of the documents that hold every word of the query, at most three."""
    words = query.lower().split()
    if not words:
        raise ToolMistake("the query is empty")
    found = [
        title
        for title, text in _documents(company).items()
        if all(word in f"{title} {text}".lower().replace(";", "").split() for word in words)
    ]
    return ", ".join(found[:3]) or "nothing found"


def read(company: Company | None, document: str) -> str:
    """The text of the document with that title."""
    try:
        return _documents(company)[document.strip().lower()]
    except KeyError:
        raise ToolMistake(f"no document {document.strip()[:40]}") from None


_OPERATORS: dict[type[ast.operator], Callable[[float, float], float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}


def calculate(company: Company | None, expression: str) -> str:
    """The value of an expression of numbers with + - * / and brackets."""
    if len(expression) > LONGEST_EXPRESSION:
        raise ToolMistake(f"the expression is longer than {LONGEST_EXPRESSION} characters")
    try:
        if not _ARITHMETIC.fullmatch(expression):
            raise ValueError("not arithmetic")
        value = _value(ast.parse(expression.strip(), mode="eval").body)
    except (SyntaxError, ValueError, ZeroDivisionError, OverflowError, RecursionError) as error:
        raise ToolMistake(f"cannot calculate {expression.strip()[:40]}") from error
    return f"{value:.10g}"


def _value(node: ast.expr) -> float:
    match node:
        case ast.Constant(value=int() | float() as value) if not isinstance(value, bool):
            return value
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _OPERATORS:
            return _OPERATORS[type(op)](_value(left), _value(right))
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -_value(operand)
    raise ValueError("not arithmetic")


TOOLS: dict[str, tuple[Callable[[Company | None, str], str], str, str]] = {
    "search": (search, "query", "Find documents by words."),
    "read": (read, "document", "Read a document."),
    "calculate": (calculate, "expression", "Do arithmetic."),
}
"""Name → the function, its one argument, its description."""


def definitions() -> list[dict[str, Any]]:
    """The tools as function schemas."""
    return [
        {
            "type": "function",
            "function": {
                "name": name,
                "description": description,
                "parameters": {
                    "type": "object",
                    "properties": {argument: {"type": "string"}},
                    "required": [argument],
                },
            },
        }
        for name, (_, argument, description) in TOOLS.items()
    ]


def call(company: Company | None, name: str, arguments: dict[str, Any]) -> str:
    """The tool's answer; `ToolMistake` where name or arguments are wrong."""
    if name not in TOOLS:
        raise ToolMistake(f"no tool {name[:40]}; there are {', '.join(TOOLS)}")
    function, argument, _ = TOOLS[name]
    given = arguments.get(argument)
    if not isinstance(given, str) or set(arguments) != {argument}:
        raise ToolMistake(f"{name} takes one text, {argument}")
    return function(company, given)
