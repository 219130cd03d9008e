"""Siblings for the learner: real rollouts of one task, behind a prompt of any length."""

from __future__ import annotations

import random
from collections.abc import Sequence

import msgspec

from jobs.engine.types import TokenKind, Trajectory


def with_advantages(members: Sequence[Trajectory]) -> list[Trajectory]:
    """Trained, with advantages that are not zero, so that the learner leaves none of them out."""
    return [
        msgspec.structs.replace(member, trained=True, advantage=1.0 if place % 2 else -1.0)
        for place, member in enumerate(members)
    ]


def prompt_tokens(member: Trajectory) -> int:
    return next(place for place, kind in enumerate(member.kinds) if kind != TokenKind.PROMPT)


def behind_prompt(members: Sequence[Trajectory], length: int, vocabulary: int) -> list[Trajectory]:
    """The same turns and tool results behind a prompt of `length` tokens, the same for all.

    What a prompt says changes no times, so its tokens are drawn.
    """
    dice = random.Random(length)
    drawn = [dice.randrange(vocabulary) for _ in range(length)]
    return [_behind(member, drawn) for member in members]


def _behind(member: Trajectory, prompt: list[int]) -> Trajectory:
    old = prompt_tokens(member)
    shift = len(prompt) - old
    zeros = [0.0] * len(prompt)
    return msgspec.structs.replace(
        member,
        ids=prompt + member.ids[old:],
        kinds=[int(TokenKind.PROMPT)] * len(prompt) + member.kinds[old:],
        logprobs=zeros + member.logprobs[old:],
        entropies=zeros + member.entropies[old:],
        turns=[
            msgspec.structs.replace(turn, start=turn.start + shift, end=turn.end + shift)
            for turn in member.turns
        ],
    )
