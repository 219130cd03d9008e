"""The expression language of multi graders: parsed by a grammar, run on floats alone."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping
from typing import Any

from lark import Lark, Token, UnexpectedInput, UnexpectedToken
from lark.exceptions import VisitError
from lark.visitors import Transformer_NonRecursive

from graders.kinds.base import did_you_mean

LONGEST = 2000

_GRAMMAR = r"""
?start: sum
?sum: product
    | sum "+" product -> add
    | sum "-" product -> subtract
?product: unary
    | product "*" unary -> multiply
    | product "/" unary -> divide
?unary: power
    | "-" unary -> negate
    | "+" unary -> keep
?power: atom
    | atom "^" unary -> raise_to
?atom: NUMBER -> number
    | NAME "(" sum ("," sum)* ")" -> call
    | NAME -> variable
    | "(" sum ")"
NUMBER: /(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?/
NAME: /[A-Za-z_][A-Za-z0-9_]*/
%ignore /\s+/
"""
_PARSER = Lark(_GRAMMAR, parser="lalr")

FUNCTIONS: dict[str, tuple[int, Callable[..., float]]] = {
    "min": (0, min),
    "max": (0, max),
    "abs": (1, abs),
    "floor": (1, math.floor),
    "ceil": (1, math.ceil),
    "exp": (1, math.exp),
    "sqrt": (1, math.sqrt),
    "log": (1, math.log),
}
"""Name → how many arguments (0: one or more), function."""


class FormulaError(ValueError):
    """The formula cannot be read, or has no finite value for these rewards."""


# A compiled formula is in postfix order, so that running one never recurses.
_Push = tuple[str, "float | str"]
_Apply = tuple[str, int, Callable[..., float]]
_Code = list[_Push | _Apply]


class _Compiler(Transformer_NonRecursive[Token, _Code]):
    def number(self, parts: list[Any]) -> _Code:
        value = float(parts[0])
        if not math.isfinite(value):
            raise FormulaError(f"The number {str(parts[0])[:40]} is too large.")
        return [("number", value)]

    def variable(self, parts: list[Any]) -> _Code:
        return [("variable", str(parts[0]))]

    def call(self, parts: list[Any]) -> _Code:
        name, arguments = str(parts[0]), parts[1:]
        if name not in FUNCTIONS:
            raise FormulaError(
                f"`{name}` is no function. There are {', '.join(FUNCTIONS)}."
                f"{did_you_mean(name, FUNCTIONS)}"
            )
        wanted, function = FUNCTIONS[name]
        if wanted and len(arguments) != wanted:
            raise FormulaError(f"`{name}` takes one argument and was given {len(arguments)}.")
        return _applied(name, function if len(arguments) > 1 or wanted else float, arguments)

    def add(self, parts: list[_Code]) -> _Code:
        return _applied("+", operator.add, parts)

    def subtract(self, parts: list[_Code]) -> _Code:
        return _applied("-", operator.sub, parts)

    def multiply(self, parts: list[_Code]) -> _Code:
        return _applied("*", operator.mul, parts)

    def divide(self, parts: list[_Code]) -> _Code:
        return _applied("/", operator.truediv, parts)

    def raise_to(self, parts: list[_Code]) -> _Code:
        return _applied("^", math.pow, parts)

    def negate(self, parts: list[_Code]) -> _Code:
        return _applied("-", operator.neg, parts)

    def keep(self, parts: list[_Code]) -> _Code:
        return parts[0]


class Formula:
    """A formula over named rewards."""

    def __init__(self, text: str, names: set[str]) -> None:
        if len(text) > LONGEST:
            raise FormulaError(f"It has {len(text)} characters; at most {LONGEST} fit.")
        try:
            tree = _PARSER.parse(text)
        except UnexpectedInput as error:
            raise FormulaError(_syntax_message(text, error)) from error
        self._code = _compiled(tree)
        self.used = frozenset(str(step[1]) for step in self._code if step[0] == "variable")
        for name in sorted(self.used - names):
            raise FormulaError(
                f"`{name}` is none of the graders {', '.join(sorted(names))}."
                f"{did_you_mean(name, names)}"
            )

    def value(self, rewards: Mapping[str, float]) -> float:
        """The finite result; raises FormulaError, also where only a step on the way overflows."""
        stack: list[float] = []
        for step in self._code:
            if len(step) == 3:
                _, count, function = step
                arguments = stack[-count:]
                del stack[-count:]
                stack.append(_apply(step[0], function, arguments))
            elif step[0] == "number":
                stack.append(float(step[1]))
            else:
                stack.append(rewards[str(step[1])])
        return stack[0]


def _apply(name: str, function: Callable[..., float], arguments: list[float]) -> float:
    shown = ", ".join(f"{argument:g}" for argument in arguments)
    try:
        value = float(function(*arguments))
    except ZeroDivisionError as error:
        raise FormulaError(f"Division by zero: `{name}` of {shown}.") from error
    except OverflowError as error:
        raise FormulaError(f"The value of `{name}` of {shown} is too large.") from error
    except ValueError as error:
        raise FormulaError(f"`{name}` of {shown} has no value.") from error
    if not math.isfinite(value):
        raise FormulaError(f"The value of `{name}` of {shown} is too large.")
    return value


def _applied(name: str, function: Callable[..., float], arguments: list[_Code]) -> _Code:
    code = [step for argument in arguments for step in argument]
    return [*code, (name, len(arguments), function)]


def _compiled(tree: Any) -> _Code:
    try:
        return _Compiler().transform(tree)
    except VisitError as error:
        raise error.orig_exc from None


def _syntax_message(text: str, error: UnexpectedInput) -> str:
    if isinstance(error, UnexpectedToken) and error.token.type == "$END":
        return "It ends too early."
    at = error.pos_in_stream or 0
    return f"It cannot be read from character {at + 1} on: {text[at : at + 20]!r}."
