"""Rollouts whose turns were credited one by one."""

from __future__ import annotations

from itertools import groupby

import msgspec

from jobs.engine.types import Attribution, TokenKind, Trajectory, Turn


def turns_of(member: Trajectory) -> list[Turn]:
    """Each stretch of sampled tokens."""
    turns: list[Turn] = []
    end = 0
    for kind, stretch in groupby(member.kinds):
        start, end = end, end + len(list(stretch))
        if kind == TokenKind.SAMPLED:
            turns.append(Turn(index=len(turns), start=start, end=end, text=""))
    return turns


def credited(member: Trajectory, *credits: float) -> Trajectory:
    """A copy whose turns have these credits, each of two terms."""
    turns = turns_of(member)
    records = [
        Attribution(turn=turn.index, tool_call_id=None, episode=0.5, step=credit - 0.5)
        for turn, credit in zip(turns, credits, strict=True)
    ]
    return msgspec.structs.replace(member, turns=turns, attribution=records)
