"""Judges that choose a label over real HTTP."""

from __future__ import annotations

import pytest

from graders.kinds.base import GraderSpecError
from graders.kinds.registry import load_grader, validate_spec
from tests.graders.calling import answering, graded
from tests.graders.judge_server import scored
from tests.graders.test_kind_contract import KindContract

LABEL = {
    "type": "label_model",
    "model": "ours/small",
    "input": [{"role": "user", "content": "{{sample.output_text}} or {{item.answer}}?"}],
    "labels": ["good", "bad"],
    "passing_labels": ["good"],
}


class TestLabelModel(KindContract):
    spec = LABEL
    reward = 1.0

    def load(self, spec):
        return load_grader(spec, outside=answering(scored("good")))


def test_a_label_of_the_passing_ones_is_1_and_another_is_0() -> None:
    assert graded(scored("good"), LABEL)[0].reward == 1.0
    assert graded(scored("bad"), LABEL)[0].reward == 0.0


def test_the_judge_may_choose_of_the_labels_alone() -> None:
    _, server = graded(scored("good"), LABEL)
    schema = server.requests[0][1]["response_format"]["json_schema"]["schema"]
    assert schema["properties"]["result"] == {"type": "string", "enum": ["good", "bad"]}


@pytest.mark.parametrize("chosen", ["Good", " good", "", None, True, 1, ["good"]])
def test_what_is_no_label_of_the_list_is_no_score(chosen) -> None:
    grading, _ = graded(scored(chosen), LABEL)
    assert grading.error is not None
    assert grading.error.code == "model_grader_parse"
    assert "none of good, bad" in grading.error.message


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ({"passing_labels": ["goood"]}, "passing_labels"),
        ({"labels": ["good", "good"]}, "labels"),
        ({"labels": ["good", 1]}, "labels"),
        ({"passing_labels": []}, "passing_labels"),
    ],
)
def test_labels_that_cannot_work_are_refused(change, place) -> None:
    with pytest.raises(GraderSpecError) as refusal:
        validate_spec(LABEL | change)
    assert refusal.value.param == place
