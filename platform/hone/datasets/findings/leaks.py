"""Whether the value of a key, such as the reference answer, stands in what the model is given.

A short value stands in many texts by chance, so beside each count is another: in how many rows the
value of the row before stands.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import Any

MOST_KEYS = 50
LONGEST_VALUE = 2000
MOST_EXAMPLES = 5
FEWEST_ROWS = 3
SHARE = 0.02


@dataclass
class Leak:
    """Of one key: rows with a value, and those in which it was found, and where first."""

    rows: int = 0
    prompt: int = 0
    tools: int = 0
    chance: int = 0
    last: str = ""
    values: set[int] = field(default_factory=set)
    examples: list[int] = field(default_factory=list)

    def shown(self, key: str) -> dict[str, Any]:
        found = max(self.prompt, self.tools)
        likely = found >= FEWEST_ROWS and found >= SHARE * self.rows and found > 2 * self.chance
        return {
            "key": key,
            "rows": self.rows,
            "prompt": self.prompt,
            "tools": self.tools,
            "chance": self.chance,
            "likely": likely and len(self.values) > 1,
            "examples": self.examples,
        }


class Leaks:
    """Counts over rows that are shown one after the other."""

    def __init__(self) -> None:
        self._keys: dict[str, Leak] = {}

    def see(self, number: int, item: dict[str, Any], prompt: str, tools: str) -> None:
        for key, value in item.items():
            text = _text(value)
            if key in {"messages", "tools"} or not text:
                continue
            if key not in self._keys and len(self._keys) >= MOST_KEYS:
                continue
            self._count(self._keys.setdefault(key[:100], Leak()), number, text, prompt, tools)

    def report(self) -> list[dict[str, Any]]:
        """The keys, most often found first."""
        shown = [leak.shown(key) for key, leak in self._keys.items()]
        return sorted(shown, key=lambda each: (-each["likely"], -each["prompt"] - each["tools"]))

    def _count(self, leak: Leak, number: int, text: str, prompt: str, tools: str) -> None:
        leak.rows += 1
        in_prompt, in_tools = _holds(prompt, text), bool(tools) and _holds(tools, text)
        leak.prompt += in_prompt
        leak.tools += in_tools
        leak.chance += bool(leak.last) and leak.last != text and _holds(prompt + tools, leak.last)
        leak.last = text
        if len(leak.values) < 2:
            leak.values.add(hash(text))
        if (in_prompt or in_tools) and len(leak.examples) < MOST_EXAMPLES:
            leak.examples.append(number)


def _text(value: Any) -> str:
    """The value as it could stand in a text; nothing for what says too little or too much."""
    if isinstance(value, bool) or value is None:
        return ""
    text = value.strip() if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if 0 < len(text) <= LONGEST_VALUE and not isinstance(value, dict | list) else ""


def _holds(text: str, value: str) -> bool:
    """Whether the value stands there as words of its own."""
    if value not in text:
        return False
    before = r"(?<!\w)" if value[0].isalnum() else ""
    after = r"(?!\w|[.,]\d)" if value[-1].isalnum() else ""
    return re.search(before + re.escape(value) + after, text) is not None
