"""What every kind of grader keeps; the tests of a kind inherit from `KindContract`."""

from __future__ import annotations

import json
import math
from concurrent.futures import ThreadPoolExecutor
from typing import Any, ClassVar

import pytest

from graders.kinds.base import GraderSpecError, Grading, PythonRunner, Sample
from graders.kinds.check import missing_in
from graders.kinds.registry import KINDS, load_grader, validate_spec


class KindContract:
    """Subclasses name a spec that works, and a sample and item with the reward they give."""

    spec: ClassVar[dict[str, Any]]
    sample: ClassVar[Sample] = Sample(output_text="forty-two")
    item: ClassVar[dict[str, Any]] = {"answer": "forty-two"}
    reward: ClassVar[float]
    python: ClassVar[PythonRunner | None] = None

    def grade(self, spec: dict[str, Any] | None = None, **item: Any) -> Grading:
        grader = load_grader(spec or self.spec, python=self.python)
        return grader.grade(self.sample, item or self.item)

    def test_gives_the_reward(self) -> None:
        grading = self.grade()
        assert (grading.reward, grading.error) == (self.reward, None)
        assert type(grading.reward) is float
        assert 0 < grading.seconds < 30

    def test_survives_json(self) -> None:
        validate_spec(json.loads(json.dumps(self.spec)))

    def test_takes_a_name_and_needs_none(self) -> None:
        assert "name" not in self.spec
        validate_spec(self.spec | {"name": "accuracy"})
        with pytest.raises(GraderSpecError, match="name"):
            validate_spec(self.spec | {"name": "x" * 101})

    def test_takes_a_pass_threshold_that_is_a_finite_number(self) -> None:
        validate_spec(self.spec | {"pass_threshold": 0.8})
        validate_spec(self.spec | {"pass_threshold": None})
        for wrong in ("0.8", True, math.inf, 10**400):
            with pytest.raises(GraderSpecError) as refusal:
                validate_spec(self.spec | {"pass_threshold": wrong})
            assert refusal.value.param == "pass_threshold"

    def test_refuses_unknown_keys_and_offers_the_close_one(self) -> None:
        key = sorted(KINDS[self.spec["type"]].required)[0]
        with pytest.raises(GraderSpecError, match=f"Did you mean `{key}`") as refusal:
            validate_spec(self.spec | {key + "s_": 1})
        assert refusal.value.param == key + "s_"

    def test_names_each_key_that_is_missing(self) -> None:
        for key in KINDS[self.spec["type"]].required:
            with pytest.raises(GraderSpecError) as refusal:
                validate_spec({name: value for name, value in self.spec.items() if name != key})
            assert refusal.value.param == key

    def test_refuses_wrong_types_by_place(self) -> None:
        for key in KINDS[self.spec["type"]].required:
            for value in (7, True, [], math.nan):
                with pytest.raises(GraderSpecError) as refusal:
                    validate_spec(self.spec | {key: value})
                assert refusal.value.param == key

    def test_a_missing_variable_is_an_error_and_no_score(self) -> None:
        grader = load_grader(self.spec, python=self.python)
        for variable in grader.variables():
            if variable.startswith("item."):
                assert missing_in(grader.variables(), {}) == sorted(
                    grader.variables()
                    - {name for name in grader.variables() if name.startswith("sample.")}
                )
                grading = self.grade(other=1)
                assert grading.reward is None
                assert grading.error is not None
                assert grading.error.code == "invalid_variable"
                assert variable in grading.error.message

    def test_is_safe_from_several_threads(self) -> None:
        grader = load_grader(self.spec, python=self.python)
        with ThreadPoolExecutor(4) as threads:
            gradings = list(threads.map(lambda _: grader.grade(self.sample, self.item), range(20)))
        assert {grading.reward for grading in gradings} == {self.reward}


def test_an_unknown_kind_is_told_the_close_one() -> None:
    with pytest.raises(GraderSpecError, match="Did you mean `multi`") as refusal:
        validate_spec({"type": "mutli"})
    assert refusal.value.param == "type"


@pytest.mark.parametrize("spec", [None, [], "string_check", 3])
def test_a_spec_that_is_no_object_is_refused(spec: Any) -> None:
    with pytest.raises(GraderSpecError, match="A grader is an object"):
        validate_spec(spec)


def test_each_kind_lives_in_a_folder_of_its_name() -> None:
    assert {name: kind.type for name, kind in KINDS.items()} == {name: name for name in KINDS}
    for name, kind in KINDS.items():
        assert kind.build.__module__ == f"graders.kinds.{name}.kind"
