"""text_similarity."""

from __future__ import annotations

import pytest
from test_kind_contract import KindContract

from graders.kinds.base import GraderSpecError, Sample
from graders.kinds.registry import load_grader, validate_spec


class TestTextSimilarity(KindContract):
    spec = {
        "type": "text_similarity",
        "input": "{{sample.output_text}}",
        "reference": "{{item.answer}}",
        "evaluation_metric": "fuzzy_match",
    }
    reward = 1.0


@pytest.mark.parametrize(
    ("text", "reference", "reward"),
    [("abcd", "abcd", 1.0), ("abcd", "wxyz", 0.0), ("abcd", "abxy", 0.5), ("ab", "abcd", 2 / 3)],
)
def test_the_similarity_is_the_share_of_common_text(
    text: str, reference: str, reward: float
) -> None:
    spec = TestTextSimilarity.spec
    grading = load_grader(spec).grade(Sample(output_text=text), {"answer": reference})
    assert grading.reward == pytest.approx(reward, abs=1e-12)


@pytest.mark.parametrize(
    ("metric", "reason"),
    [
        ("cosine", "needs an embeddings endpoint"),
        ("meteor", "needs WordNet data"),
        ("bleu", "not offered"),
        ("rouge_l", "not offered"),
        ("rouge_5", "not offered"),
    ],
)
def test_other_metrics_are_refused_with_the_reason(metric: str, reason: str) -> None:
    with pytest.raises(GraderSpecError, match=rf"{reason}.*Offered: fuzzy_match") as refusal:
        validate_spec(TestTextSimilarity.spec | {"evaluation_metric": metric})
    assert refusal.value.param == "evaluation_metric"


def test_a_pass_threshold_is_a_finite_number() -> None:
    validate_spec(TestTextSimilarity.spec | {"pass_threshold": 0.8})
    for wrong in ("0.8", True, float("inf"), 10**400):
        with pytest.raises(GraderSpecError, match="pass_threshold"):
            validate_spec(TestTextSimilarity.spec | {"pass_threshold": wrong})
