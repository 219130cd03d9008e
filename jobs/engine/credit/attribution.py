"""What each turn and each token was trained on. Torch-free."""

from __future__ import annotations

from jobs.engine.events import CreditSummary
from jobs.engine.types import Attribution, TokenKind, Trajectory, Turn

MOST_SUMMED = 100
"""Turns in a summary: more marks would not fit a row of a list."""


def only_call_id(turn: Turn) -> str | None:
    """The id that a turn's credit may be shown at; None where no single call earned it."""
    return turn.calls[0].id if len(turn.calls) == 1 else None


def turn_records(trajectory: Trajectory) -> list[Attribution]:
    """One a turn of a trained trajectory, else none. Rollouts from before there were records were
    trained with one advantage throughout."""
    if not trajectory.trained or trajectory.advantage is None:
        return []
    known = {record.turn: record for record in trajectory.attribution}
    return [
        known.get(turn.index)
        or Attribution(
            turn=turn.index, tool_call_id=only_call_id(turn), episode=trajectory.advantage
        )
        for turn in trajectory.turns
    ]


def turn_trained_tokens(trajectory: Trajectory, turn: Turn) -> int:
    """Sampled tokens of the turn that are trained; the rollout's first token never is."""
    kinds = trajectory.kinds[max(1, turn.start) : turn.end]
    return sum(kind == TokenKind.SAMPLED for kind in kinds)


def reach_of(record: Attribution) -> float:
    """How far from zero the stacked terms of a turn go, on the longer side."""
    terms = (record.episode, record.step, record.process, record.counterfactual)
    return max(sum(term for term in terms if term > 0), -sum(term for term in terms if term < 0))


def credit_summary(trajectory: Trajectory) -> CreditSummary | None:
    """None where nothing was trained."""
    records = turn_records(trajectory)
    if not records:
        return None
    reaches = [reach_of(record) for record in records]
    tokens = [turn_trained_tokens(trajectory, turn) for turn in trajectory.turns]
    return CreditSummary(
        turns=tuple(
            (round(record.total, 4), record.has_own_evidence) for record in records[:MOST_SUMMED]
        ),
        reach=max(reaches),
        reach_turn=max(n * reach for n, reach in zip(tokens, reaches, strict=True)),
    )


def token_advantages(trajectory: Trajectory) -> list[float]:
    """One a token: its turn's total, or the rollout's advantage where no turn has a record.

    Whether a token is trained at all is its kind's to say.
    """
    if not trajectory.attribution:
        return [trajectory.advantage or 0.0] * len(trajectory.ids)
    advantages = [0.0] * len(trajectory.ids)
    for turn, credit in zip(trajectory.turns, trajectory.attribution, strict=True):
        advantages[turn.start : turn.end] = [credit.total] * (turn.end - turn.start)
    return advantages
