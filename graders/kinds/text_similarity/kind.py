"""text_similarity: how alike two texts are, from 0 to 1."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rapidfuzz import fuzz

from graders.kinds.base import Grader, Grading, GradingError, Sample
from graders.kinds.spec import Kind, SpecReader
from graders.kinds.templates import MissingVariable, Template

# The comparison takes time by the square of the length: a second for texts of this one.
LONGEST = 200_000
OFFERED = ("fuzzy_match",)
REFUSED = {
    "cosine": "needs an embeddings endpoint, and none is registered here",
    "meteor": "needs WordNet data, which is not installed here",
    **dict.fromkeys(
        ("bleu", "gleu", *(f"rouge_{n}" for n in range(1, 6)), "rouge_l"),
        "is not offered by this version",
    ),
}


@dataclass(frozen=True)
class TextSimilarity:
    """Edit similarity: twice the common subsequence's length over the length of both texts."""

    input: Template
    reference: Template

    def grade(self, sample: Sample, item: Mapping[str, Any]) -> Grading:
        namespaces = {"item": item, "sample": sample.as_dict()}
        try:
            text, reference = self.input.render(namespaces), self.reference.render(namespaces)
        except MissingVariable as error:
            return Grading(reward=None, error=GradingError("invalid_variable", str(error)))
        if (longest := max(len(text), len(reference))) > LONGEST:
            message = f"A text has {longest} characters; at most {LONGEST} are compared."
            return Grading(reward=None, error=GradingError("other", message))
        return Grading(reward=float(fuzz.ratio(text, reference)) / 100.0)

    def variables(self) -> frozenset[str]:
        return self.input.variables() | self.reference.variables()


def build(spec: SpecReader) -> Grader:
    """A grader for a text_similarity spec."""
    metric = spec.text("evaluation_metric")
    if metric in REFUSED:
        raise spec.refuse(
            "evaluation_metric", f"`{metric}` {REFUSED[metric]}. Offered: {', '.join(OFFERED)}."
        )
    spec.choice("evaluation_metric", OFFERED)
    return TextSimilarity(spec.template("input"), spec.template("reference"))


KIND = Kind(
    type="text_similarity",
    title="Text similarity",
    required=frozenset({"input", "reference", "evaluation_metric"}),
    optional=frozenset(),
    build=build,
)
