"""tool_trace: which tools were called, how often, in which order, and with which arguments."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from graders.kinds.base import Grader, Grading, Sample, did_you_mean
from graders.kinds.spec import Kind, SpecReader
from graders.kinds.templates import MissingVariable
from graders.kinds.tool_trace.calls import calls_of
from graders.kinds.tool_trace.checks import UNLIMITED, Check, Count, Order
from graders.kinds.tool_trace.expected import read_expected

MOST_CHECKS = 32
LONGEST_NAME = 100
# What a check asks → the other keys that it may have.
ASKS: dict[str, frozenset[str]] = {
    "called": frozenset({"with", "at_least", "at_most"}),
    "not_called": frozenset({"with"}),
    "order": frozenset(),
    "exactly": frozenset(),
    "calls": frozenset(),
}


@dataclass(frozen=True)
class ToolTrace:
    """The parts are the checks, each 1 or 0; the reward is their least, if partial their mean."""

    checks: Mapping[str, Check]
    partial: bool
    only_ok: bool

    def grade(self, sample: Sample, item: Mapping[str, Any]) -> Grading:
        calls = [call for call in calls_of(sample) if call.ok or not self.only_ok]
        try:
            parts = {
                name: float(check.holds(calls, sample, item)) for name, check in self.checks.items()
            }
        except MissingVariable as error:
            return error.grading
        mean = sum(parts.values()) / len(parts)
        return Grading(reward=mean if self.partial else min(parts.values()), parts=parts)

    def variables(self) -> frozenset[str]:
        return frozenset().union(
            *(
                template.variables()
                for check in self.checks.values()
                for template in check.templates()
            )
        )


def build(spec: SpecReader) -> Grader:
    """A grader for a tool_trace spec."""
    listed = spec.sequence("checks")
    if not 1 <= len(listed) <= MOST_CHECKS:
        raise spec.refuse("checks", f"{len(listed)} checks; 1 to {MOST_CHECKS} are possible.")
    checks: dict[str, Check] = {}
    for number, each in enumerate(listed):
        reader = _CheckReader(spec, f"checks[{number}]", each)
        check = reader.check()
        name = reader.name() or str(check)[:LONGEST_NAME]
        if name in checks:
            raise reader.refuse(
                "name", f"{name!r} is the name of two checks. Give each its own `name`."
            )
        checks[name] = check
    return ToolTrace(checks, spec.flag("partial"), spec.flag("only_successful"))


class _CheckReader:
    """Reads one check; every refusal names its place."""

    def __init__(self, spec: SpecReader, place: str, check: Any) -> None:
        self._spec, self._place = spec, place
        if not isinstance(check, Mapping):
            raise spec.refuse(place, 'A check is an object, as {"called": "search"}.')
        self._check = check
        asked = [key for key in ASKS if key in check]
        if len(asked) != 1:
            raise spec.refuse(
                place, f"A check has exactly one of {', '.join(ASKS)}; this one has {len(asked)}."
            )
        self._asks = asked[0]
        allowed = ASKS[self._asks] | {self._asks, "name"}
        for key in check:
            if key not in allowed:
                raise self.refuse(
                    str(key)[:100],
                    f"`{str(key)[:100]}` is no key of a check of `{self._asks}`. It has "
                    f"{', '.join(sorted(allowed))}.{did_you_mean(str(key), allowed)}",
                )

    def refuse(self, key: str, message: str) -> Exception:
        return self._spec.refuse(f"{self._place}.{key}", message)

    def name(self) -> str:
        return self._text("name", self._check["name"]) if "name" in self._check else ""

    def check(self) -> Check:
        value = self._check[self._asks]
        if self._asks in {"order", "exactly"}:
            return Order(self._tools(value), whole=self._asks == "exactly")
        if self._asks == "calls":
            return self._total(value)
        tool = self._text(self._asks, value)
        place = self._spec.place(f"{self._place}.with")
        arguments = read_expected(self._arguments(), place) if "with" in self._check else None
        if self._asks == "not_called":
            return Count(tool, arguments, 0, 0)
        return Count(tool, arguments, *self._range(self._check, least=1))

    def _total(self, value: Any) -> Check:
        if not isinstance(value, Mapping) or not value or value.keys() - {"at_least", "at_most"}:
            raise self.refuse("calls", 'Say how many, as {"at_most": 5} or {"at_least": 1}.')
        return Count(None, None, *self._range(value, least=0))

    def _range(self, value: Mapping[str, Any], least: int) -> tuple[float, float]:
        low = self._count(value, "at_least", least)
        high = self._count(value, "at_most", UNLIMITED)
        if low > high:
            raise self.refuse("at_most", f"{high:g} is less than the {low:g} of `at_least`.")
        return low, high

    def _count(self, value: Mapping[str, Any], key: str, default: float) -> float:
        if key not in value:
            return default
        count = value[key]
        if isinstance(count, bool) or not isinstance(count, int) or not 0 <= count <= 1_000_000:
            raise self.refuse(key, "Write a whole number from 0 on.")
        return float(count)

    def _arguments(self) -> Mapping[str, Any]:
        arguments = self._check["with"]
        if not isinstance(arguments, Mapping):
            raise self.refuse("with", 'Write the arguments, as {"order_id": "{{item.order_id}}"}.')
        return arguments

    def _tools(self, value: Any) -> tuple[str, ...]:
        if not isinstance(value, list):
            raise self.refuse(self._asks, 'Write a list of tools, as ["search", "answer"].')
        return tuple(self._text(self._asks, tool) for tool in value)

    def _text(self, key: str, value: Any) -> str:
        if not isinstance(value, str) or not 0 < len(value) <= LONGEST_NAME:
            raise self.refuse(key, f"Write a name of 1 to {LONGEST_NAME} characters.")
        return value


KIND = Kind(
    type="tool_trace",
    title="Tool calls",
    required=frozenset({"checks"}),
    optional=frozenset({"partial", "only_successful"}),
    build=build,
)
