"""The optimiser received what the credit says, rollout by rollout, in both forms of a batch."""

from __future__ import annotations

import msgspec
import pytest

from jobs.engine.learning.audit import audits
from jobs.engine.learning.packing import pack
from jobs.engine.learning.tree import build_tree
from jobs.engine.types import Attribution, Trajectory, Turn


def rollout(uid, total, last):
    """Two turns of three and two tokens behind one prompt token, a tool's token between them."""
    turns = [Turn(index=0, start=1, end=4, text=""), Turn(index=1, start=5, end=7, text="")]
    return Trajectory(
        uid=uid, row=0, group="g", sample=0, split="train", trace_id="t",
        ids=[1, 2, 3, 4, 5, 6, last], logprobs=[-0.5] * 7, entropies=[0.0] * 7,
        kinds=[0, 1, 1, 1, 2, 1, 1], turns=turns, trained=True, advantage=total,
        attribution=[Attribution(turn=0, tool_call_id=None, episode=total, step=0.25),
                     Attribution(turn=1, tool_call_id=None, episode=total)],
    )  # fmt: skip


@pytest.fixture
def members():
    return {one.uid: one for one in (rollout("a", 0.5, 7), rollout("b", -1.0, 8))}


@pytest.mark.parametrize("form", ["rows", "tree"])
def test_the_three_sums_agree_for_each_rollout(members, form):
    both = list(members.values())
    batch = (
        build_tree(both, total=10) if form == "tree" else pack(both, token_budget=99, total=10)[0]
    )
    found = dict(zip(batch.uids_B, audits(batch, members, 10), strict=True))
    assert found["a"].by_turn == found["a"].by_token == pytest.approx(5 * 0.5 + 3 * 0.25)
    assert found["b"].received == pytest.approx(-5 + 0.75, abs=1e-6)
    assert not any(audit.differs for audit in found.values())


def test_a_batch_with_another_advantage_differs(members):
    batch = build_tree(list(members.values()), total=10)
    batch.advantages_N[0] += 0.001
    assert [audit.differs for audit in audits(batch, members, 10)] == [True, False]


def test_records_that_were_changed_after_packing_differ(members):
    batch = build_tree(list(members.values()), total=10)
    other = msgspec.structs.replace(members["b"].attribution[0], step=0.5)
    members["b"].attribution[0] = other
    assert [audit.differs for audit in audits(batch, members, 10)] == [False, True]
