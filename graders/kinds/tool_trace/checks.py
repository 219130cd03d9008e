"""What can be asked of the calls of a sample: one class a question."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from graders.kinds.base import Sample
from graders.kinds.templates import Template
from graders.kinds.tool_trace.calls import Call
from graders.kinds.tool_trace.expected import Expected, fits

UNLIMITED = math.inf


class Check(Protocol):
    """One question about the calls."""

    def holds(self, calls: Sequence[Call], sample: Sample, item: Mapping[str, Any]) -> bool:
        """Raises MissingVariable."""
        ...

    def templates(self) -> frozenset[Template]: ...

    def __str__(self) -> str: ...


@dataclass(frozen=True)
class Count:
    """How often a tool is called with these arguments; without a tool, how many calls there are."""

    tool: str | None
    arguments: Expected | None
    least: float
    most: float

    def holds(self, calls: Sequence[Call], sample: Sample, item: Mapping[str, Any]) -> bool:
        wanted = self.arguments.filled(sample, item) if self.arguments else None
        count = sum(
            self.tool in {None, call.name}
            and (wanted is None or (call.arguments is not None and fits(wanted, call.arguments)))
            for call in calls
        )
        return self.least <= count <= self.most

    def templates(self) -> frozenset[Template]:
        return self.arguments.templates if self.arguments else frozenset()

    def __str__(self) -> str:
        if self.tool is None:
            return "number of calls"
        done = "not called" if self.most == 0 else "called"
        return f"{done} {self.tool}" + (" as wanted" if self.arguments else "")


@dataclass(frozen=True)
class Order:
    """Tools that are called in this order: with `whole` they alone, else among others."""

    tools: tuple[str, ...]
    whole: bool

    def holds(self, calls: Sequence[Call], sample: Sample, item: Mapping[str, Any]) -> bool:
        names = [call.name for call in calls]
        if self.whole:
            return names == list(self.tools)
        waiting: Iterator[str] = iter(names)
        return all(tool in waiting for tool in self.tools)

    def templates(self) -> frozenset[Template]:
        return frozenset()

    def __str__(self) -> str:
        return ("exactly " if self.whole else "order ") + (" > ".join(self.tools) or "no calls")
