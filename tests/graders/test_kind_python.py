"""python: what is checked of a source before it runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from test_kind_contract import KindContract

from graders.kinds.base import Grader, GraderSpecError, Grading
from graders.kinds.registry import load_grader, validate_spec
from graders.sandbox.client import PythonSandbox

SANDBOX = PythonSandbox()


@pytest.fixture(autouse=True, scope="module")
def _closed() -> Iterator[None]:
    with SANDBOX:
        yield


class TestPython(KindContract):
    spec = {
        "type": "python",
        "source": "def grade(sample, item):\n"
        "    return sample['output_text'] == item.get('answer') and 1.0 or 0.0\n",
    }
    reward = 1.0
    variables = set()

    def load(self, spec: dict[str, Any]) -> Grader:
        return load_grader(spec, python=SANDBOX)


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("", "no function `grade`"),
        ("def grad(sample, item): return 1", "no function `grade`"),
        ("class A:\n    def grade(sample, item): return 1", "no function `grade`"),
        ("def grade(sample): return 1", "exactly two"),
        ("def grade(sample, item, more): return 1", "exactly two"),
        ("def grade(sample, item, *more): return 1", "exactly two"),
        ("def grade(sample, item, **more): return 1", "exactly two"),
        ("def grade(sample, item, *, more=1): return 1", "exactly two"),
        ("x = 1\nasync def grade(sample, item): return 1", "Line 2: `grade` is asynchronous"),
        ("def grade(sample, item):\n  return (", "Line 2"),
        ("def grade(sample, item): return 1\x00", "cannot be read|Line"),
        ("\ud800", "lone surrogate"),
        ("def grade(sample, item): return " + "-" * 50_000 + "1", "nested too deeply"),
        ("#" * 256_000, "256000 bytes"),
    ],
)
def test_a_source_that_is_no_grader_is_refused(source: str, said: str) -> None:
    with pytest.raises(GraderSpecError, match=said) as refusal:
        validate_spec({"type": "python", "source": source})
    assert refusal.value.param == "source"


def test_the_limit_is_256_kb() -> None:
    source = "def grade(sample, item): return 1\n"
    validate_spec({"type": "python", "source": source + "#" * (255_999 - len(source))})


def test_without_a_sandbox_nothing_runs() -> None:
    grading = load_grader(TestPython.spec).grade(TestPython.sample, TestPython.item)
    assert grading.reward is None
    assert grading.error is not None
    assert grading.error.code == "python_grader_server"


class Gives:
    """A runner that gives what no runner may."""

    def __init__(self, reward: Any) -> None:
        self.reward = reward

    def run(self, source: str, sample: Mapping[str, Any], item: Mapping[str, Any]) -> Grading:
        return Grading(reward=self.reward)


@pytest.mark.parametrize("reward", [float("nan"), float("inf"), True, None, "1"])
def test_no_reward_but_a_finite_float_leaves_a_grader(reward: Any) -> None:
    grading = load_grader(TestPython.spec, python=Gives(reward)).grade(
        TestPython.sample, TestPython.item
    )
    assert (grading.reward, grading.error and grading.error.code) == (None, "unresponsive_reward")
