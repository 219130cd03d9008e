"""Graders as other people's scripts hold them: pasted JSON in, the contract's JSON out."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

MASK = "**********"
_WRAPPERS = ("grader", "reinforcement", "method")
_MOST_WRAPPERS = 4


@dataclass(frozen=True)
class Pasted:
    """A spec, and in sentences what was made of the text that was pasted."""

    spec: dict[str, Any]
    notes: tuple[str, ...]


def read_pasted(value: Mapping[str, Any]) -> Pasted:
    """The grader in `value`: it may be wrapped in `grader`, `reinforcement` or `method`.

    What the contract allows in several forms gets the one that is shown here: `neq` is `ne`, the
    graders of a multi are an object by name, and a key that is null is left out.
    """
    notes: list[str] = []
    for _ in range(_MOST_WRAPPERS):
        wrapper = next((key for key in _WRAPPERS if isinstance(value.get(key), Mapping)), None)
        if wrapper is None:
            break
        others = sorted(key for key in value if key not in {wrapper, "type"})
        if others:
            notes.append(f"Of the JSON only `{wrapper}` was taken, and not {', '.join(others)}.")
        value = value[wrapper]
    return Pasted(_usual(value, notes), tuple(notes))


def export(spec: Mapping[str, Any], name: str) -> dict[str, Any]:
    """The spec as the contract wants it: every grader has a name, and no secret is in it."""
    shown: dict[str, Any] = {"type": spec.get("type"), "name": spec.get("name") or name}
    shown |= {key: value for key, value in _usual(spec, []).items() if key not in shown}
    if isinstance(shown.get("headers"), Mapping):
        shown["headers"] = {header: MASK for header in shown["headers"]}
    children = shown.get("graders")
    if isinstance(children, Mapping):
        shown["graders"] = {
            key: export(child, key) if isinstance(child, Mapping) else child
            for key, child in children.items()
        }
    return shown


def _usual(spec: Mapping[str, Any], notes: list[str]) -> dict[str, Any]:
    made = {key: value for key, value in spec.items() if value is not None}
    if made.get("operation") == "neq":
        made["operation"] = "ne"
        notes.append("`neq` is written `ne`.")
    if made.get("type") == "multi":
        children = made.get("graders")
        if isinstance(children, Mapping) and isinstance(children.get("type"), str):
            children = [children]
        if isinstance(children, list):
            children = _by_name(children, notes)
        if isinstance(children, Mapping):
            made["graders"] = {
                key: _usual(child, notes) if isinstance(child, Mapping) else child
                for key, child in children.items()
            }
    return made


def _by_name(children: list[Any], notes: list[str]) -> Any:
    """The children by a variable made of each one's name; as they are where one is no grader."""
    named: dict[str, Any] = {}
    for child in children:
        if not isinstance(child, Mapping):
            return children
        base = _variable(child.get("name") or child.get("type"))
        key, number = base, 2
        while key in named:
            key, number = f"{base}_{number}", number + 1
        named[key] = child
    notes.append(f"The list of graders is an object by name: {', '.join(named)}.")
    return named


def _variable(name: Any) -> str:
    word = re.sub(r"\W+", "_", str(name), flags=re.ASCII).strip("_")[:60]
    return word if re.match("[A-Za-z_]", word) else f"grader_{word}".rstrip("_")
