"""The page about graders: a row for each kind, with all its fields and an example that works."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import get_args

import pytest

from graders.kinds.base import ErrorCode
from graders.kinds.multi.formula import FUNCTIONS
from graders.kinds.registry import KINDS, validate_spec
from graders.kinds.templates import SAMPLE_KEYS
from graders.kinds.text_similarity.kind import ALL

PAGE = (Path(__file__).parents[2] / "docs/graders.md").read_text()
ROWS = {
    found[1]: [cell.strip() for cell in found[0].strip("|").split("|")]
    for found in re.finditer(r"^\| `(\w+)`.*\|$", PAGE, re.MULTILINE)
    if len(found[0].split("|")) == 7
}


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_each_kind_has_a_row_with_its_fields_and_an_example(kind: str) -> None:
    _, fields, _, example, _ = ROWS[kind]
    named = set(re.findall(r"`(\w+)`", fields))
    assert named >= KINDS[kind].required | KINDS[kind].optional
    for key in KINDS[kind].required:
        assert f"[`{key}`]" not in fields
    for key in KINDS[kind].optional:
        assert f"[`{key}`]" in fields
    spec = json.loads(example.strip("`"))
    assert spec["type"] == kind
    validate_spec(spec)


def test_the_page_names_every_error_metric_function_and_key() -> None:
    for code in get_args(ErrorCode):
        assert f"{code}_error" in PAGE
    metrics = {"rouge_2", "rouge_3", "rouge_4"}
    assert all(f"`{name}`" in PAGE for name in set(ALL) - metrics)
    assert " ".join(FUNCTIONS) in PAGE
    assert all(f"| `{key}`" in PAGE for key in set(SAMPLE_KEYS) - {"output_audio"})
