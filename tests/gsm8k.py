"""Real questions, for the tests that use some. They are not part of the repository."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

_BESIDE = Path(__file__).resolve().parents[2] / "shared" / "data"
FILE = Path(os.environ.get("HONE_GSM8K") or _BESIDE) / "gsm8k_test.jsonl"

needed = pytest.mark.skipif(
    not FILE.exists(),
    reason=f"{FILE} is not there: set HONE_GSM8K to a folder with gsm8k_test.jsonl, the test "
    "questions of GSM8K as JSON lines with `question` and `answer`",
)
