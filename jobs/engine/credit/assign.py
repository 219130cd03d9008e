"""From rewards to what each turn is trained on: the episode term and those added to it. Torch-free.

Which groups train is decided by the outcome alone: shaping and turn scores spread equal rewards
apart, and would let groups in that all failed. Groups that are solved as a whole train by the step
term alone, where a job has it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import msgspec

from jobs.engine.credit.anchored import AnchoredCredit, Coverage, StepCredit, anchored_credit
from jobs.engine.credit.attribution import only_call_id
from jobs.engine.credit.groups import Group, Signal, group_signal
from jobs.engine.credit.process import process_credit
from jobs.engine.credit.registry import estimator_named
from jobs.engine.credit.shaping import shaped_rewards
from jobs.engine.spec import CreditSpec, LengthSpec
from jobs.engine.types import Attribution, Trajectory, Turn

Rewards = Mapping[str, float]
"""By uid, of the graded rollouts."""


@dataclass(frozen=True, slots=True)
class CreditReport:
    """Groups by signal, and on how many of the trained turns anything but the episode speaks."""

    counts: dict[Signal, int]
    coverage: Coverage | None = None
    turns: int = 0
    turns_with_evidence: int = 0


@dataclass(slots=True)
class _Terms:
    """The terms beyond the episode, by uid, one a turn; missing where a job does not use them."""

    anchored: AnchoredCredit | None = None
    steps: dict[str, list[StepCredit]] = field(default_factory=dict)
    process: dict[str, list[float]] = field(default_factory=dict)


def groups_with(
    wanted: Signal, groups: Sequence[Group], rewards: Rewards
) -> list[list[Trajectory]]:
    """The graded members of the groups whose rewards say this."""
    graded = [group.graded for group in groups]
    return [
        members
        for members in graded
        if group_signal([rewards[member.uid] for member in members]) is wanted
    ]


def assign_credit(
    groups: Sequence[Group], rewards: Rewards, credit: CreditSpec, *, evidence: float = 0.0
) -> CreditReport:
    """Set `advantage`, `attribution` and `trained` on every member.

    `evidence`: what the gate of the step term remembers, its coverage's of the step before.
    What is known of single turns is read from the turns: `score` and `measured`.
    """
    for member in (member for group in groups for member in group.members):
        member.advantage, member.attribution, member.trained = None, [], False
    counts = {signal: len(groups_with(signal, groups, rewards)) for signal in Signal}
    teaching = groups_with(Signal.WITH_SIGNAL, groups, rewards)
    shaped = _shaped(teaching, rewards, credit.length)
    _set_advantages(teaching, shaped, credit.advantage)
    members = [member for graded in teaching for member in graded]
    terms = _Terms()
    if credit.anchored_weight:
        solved = [m for own in groups_with(Signal.ALL_SOLVED, groups, rewards) for m in own]
        terms.anchored = anchored_credit(
            [*members, *solved],
            {**rewards, **shaped},
            gamma=credit.gamma,
            weight=credit.anchored_weight,
            evidence=evidence,
        )
        terms.steps = terms.anchored.weighted()
        members += _hasten(solved, terms.steps)
    if credit.turn_rewards:
        scores = {member.uid: [turn.score for turn in member.turns] for member in members}
        wanted = credit.turn_rewards
        # The gold answer says nothing of the turn that answers: that is no error.
        scored = process_credit(members, scores, gamma=wanted.gamma, complete=not wanted.gold)
        weight = credit.turn_rewards.weight
        terms.process = {uid: [weight * value for value in own] for uid, own in scored.items()}
    return _attribute(members, terms, credit, counts)


def _hasten(
    solved: Sequence[Trajectory], steps: Mapping[str, Sequence[StepCredit]]
) -> list[Trajectory]:
    """Those of groups that are solved as a whole that the discount tells apart.

    The episode says nothing there; that a state was left sooner does, as in GiGPO. What failed as a
    whole has no discounted return: nobody learns to give up sooner.
    """
    found = [m for m in solved if any(step.advantage for step in steps.get(m.uid, ()))]
    for member in found:
        member.advantage, member.trained = 0.0, True
    return found


def _shaped(
    teaching: Sequence[Sequence[Trajectory]], rewards: Rewards, length: LengthSpec
) -> dict[str, float]:
    shaped: dict[str, float] = {}
    for members in teaching:
        own = shaped_rewards(
            [rewards[member.uid] for member in members],
            [member.reasoning_tokens for member in members],
            [len(member.calls) for member in members],
            reasoning_weight=length.reasoning_penalty,
            call_weight=length.call_penalty,
            call_budget=length.call_budget,
            token_scale=length.reasoning_tokens,
        )
        shaped |= {member.uid: reward for member, reward in zip(members, own, strict=True)}
    return shaped


def _set_advantages(
    teaching: Sequence[Sequence[Trajectory]], rewards: Rewards, estimator: str
) -> None:
    own = [[rewards[member.uid] for member in members] for members in teaching]
    tokens = [[member.trained_tokens for member in members] for members in teaching]
    estimated = estimator_named(estimator)(own, tokens)
    for members, advantages in zip(teaching, estimated, strict=True):
        for member, advantage in zip(members, advantages, strict=True):
            member.advantage, member.trained = advantage, True


def _attribute(
    members: Sequence[Trajectory], terms: _Terms, credit: CreditSpec, counts: dict[Signal, int]
) -> CreditReport:
    for member in members:
        member.attribution = [_record(member, turn, terms, credit) for turn in member.turns]
    records = [record for member in members for record in member.attribution]
    return CreditReport(
        counts,
        terms.anchored.coverage if terms.anchored else None,
        turns=len(records),
        turns_with_evidence=sum(bool(record.n or record.process) for record in records),
    )


def _record(member: Trajectory, turn: Turn, terms: _Terms, credit: CreditSpec) -> Attribution:
    """`n` and the interval are of the strongest evidence: continuations, else siblings."""
    steps = terms.steps.get(member.uid)
    step = steps[turn.index] if steps else StepCredit()
    process = terms.process.get(member.uid)
    record = Attribution(
        turn=turn.index,
        tool_call_id=only_call_id(turn),
        episode=member.advantage or 0.0,
        step=step.advantage,
        process=process[turn.index] if process else 0.0,
        n=step.n,
        interval=step.interval,
        own=step.own,
        anchor=step.anchor,
        actions=step.actions,
    )
    if credit.counterfactual is None or not credit.counterfactual.weight or not turn.measured:
        return record
    weight = credit.counterfactual.weight
    low, high = turn.measured.interval
    return msgspec.structs.replace(
        record,
        counterfactual=weight * turn.measured.delta,
        n=turn.measured.n,
        interval=(weight * low, weight * high),
    )
