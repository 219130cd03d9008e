"""text_similarity: how alike two texts are, from 0 to 1 (cosine: from -1)."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rapidfuzz import fuzz

from graders.kinds.base import Grader, Grading, GradingError, Sample
from graders.kinds.judging.grader import read_model, server_error
from graders.kinds.judging.judges import JudgeCaller
from graders.kinds.parts import EMBEDDING_MODEL
from graders.kinds.spec import Kind, SpecReader
from graders.kinds.templates import MissingVariable, Template
from graders.kinds.text_similarity.meteor import NEEDED, TooLong, meteor
from graders.kinds.text_similarity.overlap import bleu, gleu, rouge, rouge_l
from hone.core.net.line import NoAnswer

# The comparison takes time by the square of the length: a second for texts of this one.
LONGEST = 200_000

Metric = Callable[[str, str], float]


def fuzzy_match(text: str, reference: str) -> float:
    """Twice the common subsequence's length over the length of both texts."""
    return float(fuzz.ratio(text, reference)) / 100.0


METRICS: dict[str, Metric] = {
    "fuzzy_match": fuzzy_match,
    "bleu": bleu,
    "gleu": gleu,
    **{f"rouge_{order}": rouge(order) for order in range(1, 6)},
    "rouge_l": rouge_l,
}
ALL = (*METRICS, "meteor", "cosine")


@dataclass(frozen=True)
class TextSimilarity:
    """Compares two rendered templates."""

    input: Template
    reference: Template
    compare: Callable[[str, str], Grading]

    def grade(self, sample: Sample, item: Mapping[str, Any]) -> Grading:
        try:
            text, reference = self.input.of(sample, item), self.reference.of(sample, item)
        except MissingVariable as error:
            return error.grading
        if (longest := max(len(text), len(reference))) > LONGEST:
            message = f"A text has {longest} characters; at most {LONGEST} are compared."
            return _refused(GradingError("truncated_observation", message))
        return self.compare(text, reference)

    def variables(self) -> frozenset[str]:
        return self.input.variables() | self.reference.variables()


def _refused(error: GradingError) -> Grading:
    return Grading(reward=None, error=error)


def _by(metric: Metric) -> Callable[[str, str], Grading]:
    def compare(text: str, reference: str) -> Grading:
        try:
            return Grading(reward=metric(text, reference))
        except TooLong as error:
            return _refused(GradingError("truncated_observation", str(error)))

    return compare


def _by_cosine(judges: JudgeCaller, model: str) -> Callable[[str, str], Grading]:
    def compare(text: str, reference: str) -> Grading:
        try:
            embedded = judges.embed(model, [text, reference])
        except NoAnswer as loss:
            return _refused(server_error(loss))
        reward = _cosine(*embedded.vectors)
        sampled = embedded.model or None
        return Grading(reward=reward, usage={model: embedded.usage}, sampled_model=sampled)

    return compare


def _cosine(one: Sequence[float], other: Sequence[float]) -> float:
    lengths = math.hypot(*one) * math.hypot(*other)
    product = math.fsum(left * right for left, right in zip(one, other, strict=True))
    return max(-1.0, min(1.0, product / lengths)) if lengths else 0.0


def build(spec: SpecReader) -> Grader:
    """A grader for a text_similarity spec."""
    name = spec.choice("evaluation_metric", ALL)
    return TextSimilarity(spec.template("input"), spec.template("reference"), _compare(spec, name))


def _compare(spec: SpecReader, name: str) -> Callable[[str, str], Grading]:
    offered = f"Offered: {', '.join(METRICS)}."
    if name == "cosine":
        model = read_model(spec) if spec.has("model") else EMBEDDING_MODEL
        return _by_cosine(spec.hooks.outside.judges, model)
    if spec.has("model"):
        raise spec.refuse("model", f"Only `cosine` asks a model, and this is `{name}`.")
    metric = meteor() if name == "meteor" else METRICS[name]
    if metric is None:
        raise spec.refuse("evaluation_metric", f"`meteor` {NEEDED}. {offered}")
    return _by(metric)


KIND = Kind(
    type="text_similarity",
    title="Text similarity",
    required=frozenset({"input", "reference", "evaluation_metric"}),
    optional=frozenset({"model"}),
    build=build,
)
