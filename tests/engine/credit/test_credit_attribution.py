"""What a turn was trained on is the sum of its terms."""

from __future__ import annotations

import msgspec
import pytest

from jobs.engine.credit.attribution import only_call_id
from jobs.engine.types import Attribution, ToolCall, Turn


def turn(*ids):
    calls = [ToolCall(id=id_, name="find", arguments="{}") for id_ in ids]
    return Turn(index=0, start=0, end=1, text="", calls=calls)


def test_the_total_is_the_sum_of_the_four_terms():
    terms = {"episode": 0.5, "step": -0.25, "process": 0.125, "counterfactual": 1.0}
    assert Attribution(turn=1, tool_call_id="a", **terms).total == 1.375


def test_the_terms_that_were_not_used_are_zero():
    plain = Attribution(turn=0, tool_call_id=None, episode=-0.5)
    assert (plain.total, plain.n, plain.interval) == (-0.5, 0, None)


def test_it_cannot_be_changed_and_survives_storage():
    credit = Attribution(turn=2, tool_call_id="a", episode=0.5, n=3, interval=(-0.5, 1.0))
    with pytest.raises(AttributeError):
        credit.step = 1.0
    assert msgspec.json.decode(msgspec.json.encode(credit), type=Attribution) == credit


@pytest.mark.parametrize(("ids", "expected"), [((), None), (("a",), "a"), (("a", "b"), None)])
def test_only_a_lone_call_is_named(ids, expected):
    assert only_call_id(turn(*ids)) == expected
