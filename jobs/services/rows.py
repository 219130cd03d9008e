"""One pass over the rows of a file: all that the checks need of them, remembered."""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from graders.kinds.check import missing_in
from graders.kinds.templates import MissingVariable, Template
from hone.datasets.models import DatasetVersion
from jobs.selectors import inputs
from jobs.services.length import Prompt, row_prompt


@dataclass
class Seen:
    """What one pass over a file's rows found."""

    rows: int = 0
    tasks: dict[bytes, int] = field(default_factory=dict)
    longest: dict[bool, Prompt] = field(default_factory=dict)
    """The longest prompt of rows with tools of their own, and of those without."""
    bad_last: list[int] = field(default_factory=list)
    unknown_tools: dict[str, int] = field(default_factory=dict)
    missing: dict[str, int] = field(default_factory=dict)
    keys: set[str] = field(default_factory=set)
    no_gold: list[int] = field(default_factory=list)
    """Rows whose gold answer is empty."""


@dataclass(frozen=True)
class Scan:
    """All that decides what one pass over a file finds; the row of the version does not."""

    sha256: str
    rows: tuple[int, ...] | None
    names: frozenset[str]
    variables: frozenset[str]
    gold: str
    """The template of the gold answer; empty where there is none."""
    version: DatasetVersion = field(compare=False)


@functools.lru_cache(maxsize=4)
def scanned(scan: Scan) -> Seen:
    """Remembered, since a form is checked again after each change of it."""
    items = _picked(inputs.dataset_items(scan.version), scan.rows)
    return _look(items, scan.names, scan.variables, Template(scan.gold) if scan.gold else None)


def _picked(
    items: Iterator[dict[str, Any]], rows: tuple[int, ...] | None
) -> Iterator[tuple[int, dict[str, Any]]]:
    wanted = None if rows is None else set(rows)
    for number, item in enumerate(items):
        if wanted is None or number in wanted:
            yield number + 1, item


def _look(
    items: Iterable[tuple[int, dict[str, Any]]],
    names: frozenset[str],
    variables: frozenset[str],
    gold: Template | None,
) -> Seen:
    seen = Seen()
    for line, item in items:
        seen.rows += 1
        seen.keys |= item.keys()
        # The whole row: the same question about another `item` is another task.
        whole = json.dumps(item, sort_keys=True)
        seen.tasks[hashlib.sha256(whole.encode()).digest()[:16]] = line
        prompt = row_prompt(item)
        longest = seen.longest.setdefault(bool(prompt.tools), prompt)
        if prompt.size > longest.size:
            seen.longest[bool(prompt.tools)] = prompt
        if not item.get("messages") or item["messages"][-1].get("role") != "user":
            seen.bad_last.append(line)
        for tool in prompt.tools:
            name = str((tool.get("function") or {}).get("name", ""))
            if name not in names:
                seen.unknown_tools.setdefault(name, line)
        for variable in missing_in(variables, item):
            seen.missing[variable] = seen.missing.get(variable, 0) + 1
        if gold is not None and _is_empty(gold, item):
            seen.no_gold.append(line)
    return seen


def _is_empty(gold: Template, item: dict[str, Any]) -> bool:
    """A variable that is not there is told elsewhere."""
    try:
        return not gold.render({"item": item}).strip()
    except MissingVariable:
        return False
