"""The libraries that graders may import: the contract's, as far as they are installed."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path

import pytest
from sandboxes import MODES, failure, graded

from graders.sandbox import libraries
from graders.sandbox.client import PythonSandbox
from graders.sandbox.modules import WHEN_NAMED

ROOT = Path(__file__).resolve().parents[2]

USES = {
    "numpy": "float(__import__('numpy').ones(3).sum()) == 3",
    "scipy": "__import__('scipy.stats').stats.spearmanr([1, 2, 3], [1, 2, 3])[0] > 0.99",
    "sympy": "__import__('sympy').sympify('x + x').equals(__import__('sympy').sympify('2 * x'))",
    "pandas": "__import__('pandas').DataFrame({'a': [1, 2]}).a.sum() == 3",
    "rapidfuzz": "__import__('rapidfuzz').fuzz.ratio('ab', 'ab') == 100",
    "scikit-learn": (
        "__import__('sklearn.cluster').cluster.KMeans(2, n_init=1).fit([[0], [9]]).inertia_ == 0"
    ),
    "rouge-score": (
        "__import__('rouge_score.rouge_scorer').rouge_scorer.RougeScorer(['rougeL'])"
        ".score('a b', 'a b')['rougeL'].fmeasure == 1"
    ),
    "deepdiff": "not __import__('deepdiff').DeepDiff({'a': 1}, {'a': 1})",
    "jsonschema": "__import__('jsonschema').validate({'a': 1}, {'type': 'object'}) is None",
    "pydantic": "__import__('pydantic').create_model('A', a=int)(a='1').a == 1",
    "pyyaml": "__import__('yaml').safe_load('a: 1') == {'a': 1}",
    "nltk": "__import__('nltk').edit_distance('ab', 'ac') == 1",
    "sqlparse": "len(__import__('sqlparse').parse('select 1')) == 1",
    "rdkit": "__import__('rdkit.Chem').Chem.MolFromSmiles('CCO').GetNumAtoms() == 3",
    "scikit-bio": "len(__import__('skbio').DNA('ACGT')) == 4",
    "ast-grep-py": (
        "__import__('ast_grep_py').SgRoot('print(1)', 'python').root()"
        ".find(pattern='print($A)') is not None"
    ),
}


@pytest.fixture(scope="module", params=MODES)
def sandbox(request: pytest.FixtureRequest) -> Iterator[PythonSandbox]:
    with PythonSandbox(wall_s=20.0, bwrap=request.param) as opened:
        yield opened


def test_the_list_is_the_contracts() -> None:
    assert set(libraries.CONTRACT) == set(USES)
    assert {libraries.module_of(name) for name in libraries.CONTRACT} <= (
        set(WHEN_NAMED) | {"numpy", "rapidfuzz"}
    )


def test_the_extra_and_the_platform_itself_bring_all_of_them() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = project["dependencies"] + project["optional-dependencies"]["graders"]
    names = {re.split(r"[^\w.-]", line.lower())[0] for line in wanted}
    assert set(libraries.CONTRACT) - names == set()
    pinned = (ROOT / "constraints.txt").read_text().lower().replace("_", "-").splitlines()
    assert [
        name for name in libraries.CONTRACT if not any(p.startswith(f"{name}==") for p in pinned)
    ] == []


@pytest.mark.parametrize("name", libraries.CONTRACT)
def test_an_installed_library_works_and_a_missing_one_is_told(
    sandbox: PythonSandbox, name: str
) -> None:
    grading = graded(sandbox, f"def grade(sample, item): return float({USES[name]})")
    if find_spec(libraries.module_of(name)) is not None:
        assert (grading.reward, grading.error) == (1.0, None)
    else:
        assert failure(grading).endswith(
            f"Graders may use {name} where the operator has installed the libraries for them: "
            "pip install -c constraints.txt -e '.[graders]'."
        )


def test_what_is_not_on_the_list_is_not_there(sandbox: PythonSandbox) -> None:
    for name in ("torch", "django", "httpx2", "graders.kinds", "jobs", "pytest"):
        message = failure(graded(sandbox, f"import {name}\ndef grade(s, i): return 1"))
        assert "ModuleNotFoundError" in message
        assert "Graders may use" not in message


def test_modules_that_nobody_loaded_before_can_be_imported() -> None:
    source = """
    import importlib, sys
    def grade(sample, item):
        assert "numpy.rec" not in sys.modules
        return float(len(importlib.import_module("num" + "py.rec").fromarrays([[1], [2]])[0]))
    """
    with PythonSandbox() as sandbox:
        assert graded(sandbox, source).reward == 2.0


def test_loading_a_library_leaves_numbers_and_memory_as_they_were(sandbox: PythonSandbox) -> None:
    """A grading after it draws the same numbers, and has its memory beyond what libraries take."""
    draw = "def grade(s, i): return float(__import__('numpy').random.rand())"
    before = graded(sandbox, draw).reward
    assert graded(sandbox, "import sympy\ndef grade(s, i): return 1").reward == 1.0
    assert graded(sandbox, draw).reward == before
    large = "def grade(s, i): return len(bytearray(500 << 20))"
    assert graded(sandbox, large).reward == float(500 << 20)


def test_a_requirement_is_followed_and_an_optional_one_is_not() -> None:
    found = libraries.find()
    assert {"numpy", "mpmath", "referencing"} <= found.modules.keys()
    assert {"torch", "pytest", "__pycache__", "pip"} & found.modules.keys() == set()
    assert all(Path(path).exists() for path in found.paths)


@pytest.mark.parametrize("bwrap", MODES)
def test_a_grading_that_ends_in_time_while_a_library_is_loaded_is_not_late(bwrap: bool) -> None:
    quick = "import time\ndef grade(s, i):\n  time.sleep(0.1)\n  return 1"
    loading = "import sympy, jsonschema, pydantic, yaml, asyncio\ndef grade(s, i): return 1"
    with PythonSandbox(wall_s=0.6, bwrap=bwrap) as sandbox, ThreadPoolExecutor(2) as threads:
        sandbox.start()
        first = threads.submit(graded, sandbox, quick)
        second = threads.submit(graded, sandbox, loading)
        assert (first.result().reward, second.result().reward) == (1.0, 1.0)
