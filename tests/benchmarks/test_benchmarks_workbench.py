"""What `make bench-workbench` prints: a table, and one JSON object as the last line."""

from __future__ import annotations

import json

import pytest

from benchmarks.workbench import __main__ as workbench
from benchmarks.workbench.sandbox import ITEM, SAMPLE, SOURCE
from graders.sandbox import probe
from graders.sandbox.client import PythonSandbox

FOUND = {
    "sandbox": {"sandbox_per_s": 250.0, "sandbox_start_ms_p95": 310.0},
    "datasets": {"dataset_mb_per_s": 200.0, "upload_mb_per_s": 90.0},
}


def test_the_last_line_has_the_figures_of_all_parts(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(workbench, "measured", lambda part: (FOUND[part], "0.1 → 1.9"))
    workbench.main()
    *table, last = capsys.readouterr().out.splitlines()
    assert json.loads(last) == FOUND["sandbox"] | FOUND["datasets"]
    assert "250.0  0.1 → 1.9   ≥ 200 wanted: held" in table[2]
    assert "≤ 300 wanted: NOT held" in table[3]
    assert "wanted" not in table[5]


@pytest.mark.skipif(probe().level == "none", reason=probe().reason)
def test_the_measured_grader_scores() -> None:
    with PythonSandbox() as sandbox:
        grading = sandbox.run(SOURCE, SAMPLE, ITEM)
    assert grading.error is None
    assert 0.5 < (grading.reward or 0.0) < 1.0
