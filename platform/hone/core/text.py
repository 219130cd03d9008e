"""Text from outside, checked before it is stored."""

from __future__ import annotations

from hone.core.errors import UserError


def storable(value: str, *, field: str) -> str:
    """`value` as given; refuses what no database column can hold (NUL, lone surrogates)."""
    if "\x00" in value:
        raise UserError(f"{field} holds a NUL character. Remove it.", code="nul", field=field)
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise UserError(
            f"{field} holds a lone surrogate at character {error.start}. Remove it.",
            code="surrogate",
            field=field,
        ) from error
    return value


def name(value: str, *, field: str = "name", longest: int = 100) -> str:
    """A name of a thing: stripped, one line, 1 to `longest` characters."""
    stripped = storable(value, field=field).strip()
    if not stripped:
        raise UserError(f"The {field} is empty. Give it one.", code="blank", field=field)
    if len(stripped) > longest:
        raise UserError(
            f"The {field} has {len(stripped)} characters; at most {longest} fit. Shorten it.",
            code="too_long",
            field=field,
        )
    if "\n" in stripped or "\r" in stripped:
        raise UserError(f"The {field} has a line break. Remove it.", code="lines", field=field)
    return stripped
