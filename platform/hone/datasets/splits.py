"""Seeded splits of rows into training and validation. Pure: the same seed, the same rows.

By row, a share of the rows is drawn. By a field, the field's value decides: a hash of seed and
value puts all rows of an entity on one side, whatever their order and number.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from hone.core.errors import UserError

Side = Literal["train", "validation"]

_SCALE = 2**64


@dataclass(frozen=True)
class Split:
    """What a split goes by; without a field, by row."""

    share: float
    seed: int
    field: str = ""

    @classmethod
    def of(cls, recipe: Mapping[str, Any]) -> Split:
        """What an intake's recipe says of it."""
        return cls(recipe["share"], recipe["seed"], recipe["field"])

    def check(self, keys: Mapping[str, int], rows: int) -> None:
        """Raise UserError where the rows cannot be split so; `keys` tells how many have each."""
        if not 0 < self.share < 1:
            text = f"{self.share:g} of the rows cannot be held out; use 0.1, say."
            raise UserError(text, code="share", field="share")
        if self.field in {"messages", "tools"} or (self.field and self.field not in keys):
            text = f"No row has a key {self.field[:80]!r}. Choose one of the keys of the rows."
            raise UserError(text, code="split_field", field="by")
        missing = rows - keys[self.field] if self.field else 0
        if missing:
            text = f"{missing} of {rows} rows have no {self.field[:80]!r}, so it is not known on "
            text += "which side they are. Choose another key, or split by row."
            raise UserError(text, code="split_field", field="by")


def split_by_row(rows: int, share: float, seed: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Rows for training and for validation, each in order and neither empty."""
    _check(share)
    order = list(range(rows))
    random.Random(f"split:{seed}").shuffle(order)
    held = min(max(1, round(share * rows)), rows - 1)
    return tuple(sorted(order[held:])), tuple(sorted(order[:held]))


def side_of(value: Any, share: float, seed: int) -> Side:
    """The side of every row whose field has this value."""
    _check(share)
    text = json.dumps(value, sort_keys=True, ensure_ascii=False)
    digest = hashlib.sha256(f"split:{seed}:{text}".encode()).digest()
    return "validation" if int.from_bytes(digest[:8], "big") < share * _SCALE else "train"


def _check(share: float) -> None:
    if not 0 < share < 1:
        raise ValueError(f"share is {share}, and must lie between 0 and 1")
