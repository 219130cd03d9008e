"""label_model: a judge chooses one of the labels; 1 where it is a passing one, else 0."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from graders.kinds.base import Grader
from graders.kinds.judging.chat import UnusableReply
from graders.kinds.judging.grader import JudgeGrader, read_model, read_question
from graders.kinds.judging.sampling import read_sampling
from graders.kinds.spec import Kind, SpecReader
from hone.core.net.line import shown

MOST_LABELS = 100
LONGEST_LABEL = 200


@dataclass(frozen=True)
class Labels:
    """What may be chosen, and what passes."""

    all: tuple[str, ...]
    passing: frozenset[str]

    def reward_of(self, result: Any) -> float:
        """Only a label of the list, letter by letter, counts."""
        if not isinstance(result, str) or result not in self.all:
            text = shown(json.dumps(result))[:80]
            raise UnusableReply(
                f"the judge chose {text}, which is none of {', '.join(self.all[:20])}"
            )
        return 1.0 if result in self.passing else 0.0


def build(spec: SpecReader) -> Grader:
    """A grader for a label_model spec."""
    labels = _labels(spec)
    return JudgeGrader(
        model=read_model(spec),
        messages=read_question(spec),
        name="label",
        result={"type": "string", "enum": list(labels.all)},
        sampling=read_sampling(spec),
        judges=spec.hooks.outside.judges,
        reward_of=labels.reward_of,
    )


def _labels(spec: SpecReader) -> Labels:
    labels, passing = _texts(spec, "labels"), _texts(spec, "passing_labels")
    if unknown := [label for label in passing if label not in labels]:
        raise spec.refuse(
            "passing_labels",
            f"{unknown[0][:80]!r} is none of the labels. Add it to `labels`, or take it out.",
        )
    return Labels(labels, frozenset(passing))


def _texts(spec: SpecReader, key: str) -> tuple[str, ...]:
    given = spec.value(key)
    if not isinstance(given, list) or not 1 <= len(given) <= MOST_LABELS:
        raise spec.refuse(key, f"It is no list of 1 to {MOST_LABELS} labels.")
    for label in given:
        if not isinstance(label, str) or not 0 < len(label) <= LONGEST_LABEL:
            raise spec.refuse(key, f"A label is a text of 1 to {LONGEST_LABEL} characters.")
    if len(set(given)) != len(given):
        raise spec.refuse(key, "A label is there twice. Remove one.")
    return tuple(given)


KIND = Kind(
    type="label_model",
    title="Judge: a label",
    required=frozenset({"model", "input", "labels", "passing_labels"}),
    optional=frozenset({"sampling_params"}),
    build=build,
)
