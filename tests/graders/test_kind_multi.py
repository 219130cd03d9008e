"""multi: children, parts and the formula."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pytest
from test_kind_contract import KindContract

from graders.kinds.base import GraderSpecError, TokenUsage
from graders.kinds.judging.embeddings import Embedded
from graders.kinds.judging.judges import NoJudges
from graders.kinds.multi.formula import Formula, FormulaError
from graders.kinds.outside import Outside
from graders.kinds.registry import load_grader, validate_spec


def check(reference: str) -> dict[str, Any]:
    return {
        "type": "string_check",
        "input": "{{sample.output_text}}",
        "reference": reference,
        "operation": "eq",
    }


class Same(NoJudges):
    """A judge to which all texts are alike."""

    def embed(self, model: str, texts: Sequence[str]) -> Embedded:
        usage = TokenUsage(prompt_tokens=2, total_tokens=3, cached_tokens=1)
        return Embedded(vectors=[[1.0] for _ in texts], model="embed-1", usage=usage)


class TestMulti(KindContract):
    spec = {
        "type": "multi",
        "graders": {"right": check("{{item.answer}}"), "never": check("something else")},
        "calculate_output": "0.75 * right + 0.25 * never",
    }
    reward = 0.75

    def test_shows_the_parts_before_their_weights(self) -> None:
        assert self.grade().parts == {"right": 1.0, "never": 0.0}

    def test_a_child_without_a_reward_leaves_none_and_is_named(self) -> None:
        grading = self.grade(other=1)
        assert grading.error is not None
        assert grading.error.message.startswith("right: {{item.answer}} is missing")

    def test_what_the_children_say_has_their_names_before_it(self) -> None:
        number = {"type": "numeric_match", "input": "41", "reference": "42"}
        graders = {"a": number, "right": check("x"), "b": number}
        grading = self.grade(self.spec | {"graders": graders, "calculate_output": "a + b"})
        assert grading.stdout == "a: 41 against 42\nb: 41 against 42"

    def test_a_formula_without_a_value_gives_no_reward(self) -> None:
        grading = self.grade(self.spec | {"calculate_output": "right / never"})
        assert (grading.reward, grading.parts) == (None, {"right": 1.0, "never": 0.0})
        assert grading.error is not None
        assert grading.error.code == "formula_parse"
        assert grading.error.message == "calculate_output: Division by zero: `/` of 1, 0."

    def test_tokens_of_all_children_are_summed_by_model_also_where_one_fails(self) -> None:
        close = check("x") | {"type": "text_similarity", "evaluation_metric": "cosine"}
        del close["operation"]
        graders = {"a": close, "b": close, "c": check("{{item.answer}}")}
        spec = self.spec | {"graders": graders, "calculate_output": "a + b + c"}
        grader = load_grader(spec, outside=Outside(judges=Same()))
        for item, reward in ((self.item, 3.0), ({}, None)):
            grading = grader.grade(self.sample, item)
            assert (grading.reward, grading.usage, grading.sampled_model) == (
                reward,
                {
                    "text-embedding-3-large": TokenUsage(
                        prompt_tokens=4, total_tokens=6, cached_tokens=2
                    )
                },
                None,
            )

    def test_refuses_a_multi_inside(self) -> None:
        with pytest.raises(GraderSpecError, match="inside a multi") as refusal:
            validate_spec(self.spec | {"graders": {"right": self.spec}})
        assert refusal.value.param == "graders.right.type"

    def test_names_the_place_in_a_child(self) -> None:
        child = check("x") | {"operation": "equals"}
        with pytest.raises(GraderSpecError) as refusal:
            validate_spec(self.spec | {"graders": {"right": child, "never": check("")}})
        assert refusal.value.param == "graders.right.operation"

    def test_graders_may_be_a_list_by_their_names(self) -> None:
        listed = [child | {"name": key} for key, child in self.spec["graders"].items()]
        grading = self.grade(self.spec | {"graders": listed})
        assert (grading.reward, grading.parts) == (0.75, {"right": 1.0, "never": 0.0})

    @pytest.mark.parametrize(
        ("children", "param", "said"),
        [
            ([check("x")], "graders[0]", "goes by its `name`"),
            ([check("x") | {"name": 3}], "graders[0]", "goes by its `name`"),
            ([check("x") | {"name": "a"}, 3], "graders[1]", "goes by its `name`"),
            ([check("x") | {"name": "a"}] * 2, "graders[1]", "'a' is the name of two graders"),
            ([check("x") | {"name": "a b"}], "graders", "'a b' cannot be a variable"),
            ([check("x") | {"name": "a", "operation": "is"}], "graders.a.operation", "'is'"),
        ],
    )
    def test_a_list_that_names_no_variables_is_refused(
        self, children: list[Any], param: str, said: str
    ) -> None:
        with pytest.raises(GraderSpecError, match=said) as refusal:
            validate_spec(self.spec | {"graders": children, "calculate_output": "1"})
        assert refusal.value.param == param

    @pytest.mark.parametrize("key", ["a-b", "1a", "", "a b", "ä", "x" * 65])
    def test_keys_are_names_of_variables(self, key: str) -> None:
        with pytest.raises(GraderSpecError, match="graders"):
            validate_spec(self.spec | {"graders": {key: check("x")}, "calculate_output": "1"})

    def test_has_at_least_one_child(self) -> None:
        with pytest.raises(GraderSpecError, match="0 graders"):
            validate_spec(self.spec | {"graders": {}, "calculate_output": "1"})

    def test_an_unknown_variable_is_refused_before_anything_runs(self) -> None:
        with pytest.raises(GraderSpecError, match="Did you mean `right`") as refusal:
            load_grader(self.spec | {"calculate_output": "rihgt"})
        assert refusal.value.param == "calculate_output"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1 + 2 * 3", 7.0),
        ("(1 + 2) * 3", 9.0),
        ("7 - 2 - 1", 4.0),
        ("8 / 4 / 2", 1.0),
        ("2 ^ 3 ^ 2", 512.0),
        ("-2 ^ 2", -4.0),
        ("2 ^ -1", 0.5),
        ("--2", 2.0),
        ("+a - -b", 5.0),
        ("1e-9 + .5 + 2. + 1E+2", 102.500000001),
        ("min(a, b, 1)", 1.0),
        ("max(a + b, 1e-9)", 5.0),
        ("min(a)", 2.0),
        ("abs(-a)", 2.0),
        ("floor(-0.5)", -1.0),
        ("ceil(0.2)", 1.0),
        ("exp(0)", 1.0),
        ("sqrt(a ^ 2)", 2.0),
        ("log(exp(1))", 1.0),
        ("max", 9.0),
        ("-" * 1999 + "1", -1.0),
        ("(" * 999 + "1" + ")" * 999, 1.0),
    ],
)
def test_formulas_have_the_values_of_arithmetic(text: str, value: float) -> None:
    formula = Formula(text, {"a", "b", "max"})
    assert formula.value({"a": 2.0, "b": 3.0, "max": 9.0}) == pytest.approx(value, rel=1e-12)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "ends too early"),
        ("1 +", "ends too early"),
        ("(1", "ends too early"),
        ("1 2", "character 3"),
        ("a ** 2", "character 4"),
        ("a % 2", "character 3"),
        ("a.b", "character 2"),
        ("__import__('os')", "character 12"),
        ("abs()", "character 5"),
        ("abs(1, 2)", "takes one argument and was given 2"),
        ("sine(1)", "`sine` is no function"),
        ("c", "`c` is none of the graders a"),
        ("1e999", "too large"),
        ("1" * 2001, "at most 2000"),
    ],
)
def test_formulas_that_cannot_be_read_are_refused(text: str, said: str) -> None:
    with pytest.raises(FormulaError, match=said.replace("(", r"\(")):
        Formula(text, {"a"})


@pytest.mark.parametrize(
    "text",
    [
        "1 / a",
        "0 ^ -1",
        "log(a)",
        "log(-1)",
        "sqrt(-1)",
        "(-8) ^ 0.5",
        "exp(1000)",
        "10 ^ 1000",
        "1e300 * 1e300",
        "min(1e300 * 1e300, 1)",
        "1 / (1e300 * 1e300)",
    ],
)
def test_formulas_without_a_finite_value_are_errors(text: str) -> None:
    with pytest.raises(FormulaError):
        Formula(text, {"a"}).value({"a": 0.0})


def test_the_result_is_a_float() -> None:
    assert type(Formula("floor(2)", set()).value({})) is float
    assert math.isfinite(Formula("floor(1e300)", set()).value({}))
