"""Trying a grader on a typed sample."""

from __future__ import annotations

import pytest
from sandboxes import needs_sandbox

from graders.kinds.base import Sample
from graders.services import grader_try, typed_sample
from hone.accounts.models import Organisation
from hone.core.errors import UserError

pytestmark = pytest.mark.django_db


@pytest.fixture
def acme() -> Organisation:
    return Organisation.objects.create(name="Acme")


def test_a_typed_json_answer_has_output_json() -> None:
    assert typed_sample('{"a": 1}').as_dict()["output_json"] == {"a": 1}
    assert "output_json" not in typed_sample("plain").as_dict()


@pytest.mark.parametrize(
    "answer",
    ["NaN", "[Infinity]", "1e999", '"\\ud800"', '{"\\u0000": 1}', "[" * 66 + "]" * 66, "[" * 10**5],
)
def test_an_answer_that_is_odd_json_is_a_text_like_others(acme: Organisation, answer: str) -> None:
    spec = {"type": "string_check", "input": "{{sample.output_text}}", "reference": answer}
    sample = typed_sample(answer)
    assert "output_json" not in sample.as_dict()
    assert (
        grader_try(
            organisation=acme, spec=spec | {"operation": "eq"}, sample=sample, item={}
        ).reward
        == 1.0
    )


def test_a_sample_is_graded(acme: Organisation) -> None:
    spec = {
        "type": "string_check",
        "input": "{{sample.output_json.a}}",
        "reference": "{{item.a}}",
        "operation": "eq",
    }
    assert (
        grader_try(
            organisation=acme, spec=spec, sample=typed_sample('{"a": 1}'), item={"a": 1}
        ).reward
        == 1.0
    )
    wrong = grader_try(organisation=acme, spec=spec, sample=typed_sample("no JSON"), item={"a": 1})
    assert (wrong.reward, wrong.error and wrong.error.code) == (None, "invalid_variable")


@needs_sandbox
def test_python_is_graded_out_of_reach(acme: Organisation) -> None:
    spec = {"type": "python", "source": "def grade(sample, item):\n    return item['x'] / 2"}
    assert (
        grader_try(organisation=acme, spec=spec, sample=typed_sample(""), item={"x": 3}).reward
        == 1.5
    )


def test_what_cannot_be_kept_is_refused_before_it_runs(acme: Organisation) -> None:
    spec = {"type": "string_check", "input": "a", "reference": "a", "operation": "eq"}
    with pytest.raises(UserError, match="NUL"):
        grader_try(
            organisation=acme,
            spec=spec | {"input": "\x00"},
            sample=Sample(output_text=""),
            item={},
        )
    with pytest.raises(UserError, match="not finite"):
        grader_try(
            organisation=acme, spec=spec, sample=Sample(output_text=""), item={"x": float("nan")}
        )
