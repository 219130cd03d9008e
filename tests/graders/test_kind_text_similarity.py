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


@pytest.mark.parametrize(("characters", "reward"), [(200_000, 1.0), (200_001, None)])
def test_texts_of_up_to_200_000_characters_are_compared(
    characters: int, reward: float | None
) -> None:
    grader = load_grader(TestTextSimilarity.spec)
    text = "x" * characters
    grading = grader.grade(Sample(output_text=text), {"answer": text})
    assert grading.reward == reward
    if grading.error is not None:
        assert grading.error.message == "A text has 200001 characters; at most 200000 are compared."
