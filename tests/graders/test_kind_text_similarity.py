"""text_similarity."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
from test_kind_contract import KindContract

from graders.kinds.base import GraderSpecError, Sample, TokenUsage
from graders.kinds.judging.embeddings import Embedded
from graders.kinds.judging.judges import NoJudges
from graders.kinds.outside import Outside
from graders.kinds.parts import models_in
from graders.kinds.registry import load_grader, validate_spec
from graders.kinds.text_similarity.meteor import meteor
from hone.core.net.line import NoAnswer


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


CAT = "The cat sat on the mat."
"""Seven tokens, six words."""


@pytest.mark.parametrize(
    ("metric", "text", "reward"),
    [
        ("rouge_1", "the CAT sat", 2 * 3 / (3 + 6)),
        ("rouge_2", "the cat sat", 2 * 2 / (2 + 5)),
        ("rouge_3", "the cat sat", 2 * 1 / (1 + 4)),
        ("rouge_4", "the cat sat", 0.0),
        ("rouge_5", CAT, 1.0),
        ("rouge_1", "the the the", 2 * 2 / (3 + 6)),
        ("rouge_l", "mat the cat on", 2 * 3 / (4 + 6)),
        ("rouge_1", "", 0.0),
        ("gleu", "The cat", (2 + 1) / (7 + 6 + 5 + 4)),
        ("gleu", CAT + " It slept.", (7 + 6 + 5 + 4) / (10 + 9 + 8 + 7)),
        ("gleu", "", 0.0),
        ("bleu", CAT, 1.0),
        ("bleu", "The cat", math.exp(1 - 7 / 2)),
        # Of 4, 3, 2 and 1 n-grams 4, 2, 0 and 0 match.
        ("bleu", "sat on cat The", math.exp(1 - 7 / 4) * (1 / 3 * 0.25 * 0.25) ** 0.25),
        ("bleu", "dogs", 0.0),
        ("bleu", "", 0.0),
    ],
)
def test_overlap_has_the_values_of_arithmetic(metric: str, text: str, reward: float) -> None:
    spec = TestTextSimilarity.spec | {"evaluation_metric": metric}
    grading = load_grader(spec).grade(Sample(output_text=text), {"answer": CAT})
    assert grading.reward == pytest.approx(reward, abs=1e-12)


def test_an_unknown_metric_is_told_the_close_one() -> None:
    with pytest.raises(GraderSpecError, match="Did you mean `rouge_l`") as refusal:
        validate_spec(TestTextSimilarity.spec | {"evaluation_metric": "rouge-l"})
    assert refusal.value.param == "evaluation_metric"


COSINE = TestTextSimilarity.spec | {"evaluation_metric": "cosine"}
SPENT = TokenUsage(prompt_tokens=2, total_tokens=2)


class Embeds(NoJudges):
    """An endpoint that gives each text the vector of its two characters' codes."""

    def embed(self, model: str, texts: Sequence[str]) -> Embedded:
        if "down" in texts:
            raise NoAnswer("down", "the judge does not answer")
        vectors = [[float(ord(character)) - 97 for character in text] for text in texts]
        return Embedded(vectors=vectors, model=f"{model}-1", usage=SPENT)


@pytest.mark.parametrize(
    ("text", "reward"), [("bb", 1.0), ("ba", math.sqrt(0.5)), ("aa", 0.0), ("``", -1.0)]
)
def test_cosine_asks_the_embedder_it_was_given(text: str, reward: float) -> None:
    grader = load_grader(COSINE | {"model": "embed"}, outside=Outside(judges=Embeds()))
    grading = grader.grade(Sample(output_text=text), {"answer": "bb"})
    assert grading.reward == pytest.approx(reward, abs=1e-12)
    assert (grading.usage, grading.sampled_model) == ({"embed": SPENT}, "embed-1")


def test_an_embedder_that_fails_gives_no_score() -> None:
    grader = load_grader(COSINE, outside=Outside(judges=Embeds()))
    grading = grader.grade(Sample(output_text="down"), {"answer": "bb"})
    assert grading.error is not None
    assert (grading.reward, grading.error.code, grading.error.infra) == (
        None,
        "model_grader_server",
        True,
    )


def test_cosine_names_a_model_of_a_judge_and_other_metrics_none() -> None:
    assert models_in(COSINE) == ["text-embedding-3-large"]
    assert models_in(COSINE | {"model": "ours/small"}) == ["ours/small"]
    assert models_in(TestTextSimilarity.spec) == []
    with pytest.raises(GraderSpecError, match="Only `cosine` asks a model") as refusal:
        validate_spec(TestTextSimilarity.spec | {"model": "ours/small"})
    assert refusal.value.param == "model"


METEOR = TestTextSimilarity.spec | {"evaluation_metric": "meteor"}


@pytest.mark.skipif(meteor() is not None, reason="WordNet data is installed")
def test_meteor_is_refused_where_wordnet_is_not_installed() -> None:
    with pytest.raises(GraderSpecError, match="nltk.downloader wordnet") as refusal:
        validate_spec(METEOR)
    assert refusal.value.param == "evaluation_metric"


@pytest.mark.skipif(meteor() is None, reason="WordNet data is not installed")
def test_meteor_counts_synonyms_and_bounds_its_work() -> None:
    grader = load_grader(METEOR)
    # Two matches in one chunk.
    close = grader.grade(Sample(output_text="an auto"), {"answer": "an car"})
    assert close.reward == pytest.approx(1 - 0.5 / 2**3)
    grading = grader.grade(Sample(output_text="a " * 2001), {"answer": "a"})
    assert grading.error is not None
    assert grading.error.code == "truncated_observation"


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
