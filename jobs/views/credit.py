"""The credit of single turns, to read: the terms that were added up, what each rests on, a bar."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from hone.core import figures
from jobs.engine.credit.attribution import turn_records, turn_trained_tokens
from jobs.engine.types import Attribution, Measured, Trajectory, Turn
from jobs.models import JobStep

Kind = Literal["episode", "step", "process", "counter"]
"""As the colours of the terms are called."""
WORDS: dict[Kind, str] = {
    "episode": "whole episode",
    "step": "siblings at this state",
    "process": "turn score",
    "counter": "continuations",
}
NAMES: dict[Kind, str] = {
    "episode": "episode",
    "step": "step",
    "process": "process",
    "counter": "counterfactual",
}
SMALLEST = 1e-9
FEWEST_FOR_AN_INTERVAL = 3


@dataclass(frozen=True)
class Term:
    """One addend of a turn's advantage; `note` is what it rests on."""

    kind: Kind
    value: float
    note: str = ""
    is_outline: bool = False
    """It repeats the outcome: nothing of the turn's own speaks in it."""

    @property
    def words(self) -> str:
        return WORDS[self.kind]


@dataclass(frozen=True)
class TurnCredit:
    """What one turn was trained on. `total` is None where nothing was trained."""

    total: float | None
    terms: tuple[Term, ...] = ()
    is_uniform: bool = True
    """It only repeats what the whole attempt earned."""
    asides: tuple[str, ...] = ()
    """What was scored or measured and is in no term."""
    tokens: int = 0
    """Trained tokens."""
    record: Attribution | None = None
    interval: tuple[float, float] | None = None
    """95 % around the total, from the turn's own evidence; None under three comparisons."""

    def __bool__(self) -> bool:
        return self.total is not None or bool(self.asides)

    @property
    def half_width(self) -> float | None:
        return None if self.interval is None else (self.interval[1] - self.interval[0]) / 2

    @property
    def is_unsure(self) -> bool:
        """Whether the turn's own evidence reaches across zero."""
        record = self.record
        if record is None or record.interval is None:
            return False
        return record.interval[0] <= 0 <= record.interval[1]

    @property
    def compared(self) -> str:
        """`7 compared · 2 actions`; nothing where no sibling met the state."""
        record = self.record
        if record is None or not record.n:
            return ""
        if record.actions is None:
            return f"{figures.count(record.n)} compared"
        actions = "1 action" if record.actions == 1 else f"{record.actions} actions"
        return f"{figures.count(record.n)} compared · {actions}"

    @property
    def came_from(self) -> str:
        """The terms in a line, with what makes them doubtful."""
        if self.total is None:
            return ""
        if len(self.terms) == 1:
            return "episode only"
        said = [f"{NAMES[term.kind]} {figures.signed(term.value)}" for term in self.terms]
        line = "  ".join(said)
        record = self.record
        if record is not None and record.actions == 1:
            line += ", all did the same"
        elif record is not None and 0 < record.n < FEWEST_FOR_AN_INTERVAL:
            line += f"  n = {record.n}, too few"
        return f"{line}  sign unsure" if self.is_unsure else line


def turn_credits(trajectory: Trajectory, *, continuations_train: bool) -> list[TurnCredit]:
    """One a turn."""
    records: Sequence[Attribution | None] = turn_records(trajectory)
    records = records or [None] * len(trajectory.turns)
    return [
        _credit(trajectory, turn, record, continuations_train)
        for turn, record in zip(trajectory.turns, records, strict=True)
    ]


def credit_sentence(credits: Sequence[TurnCredit]) -> str:
    """On how many turns anything but the whole attempt speaks; nothing where nothing trained."""
    trained = [credit for credit in credits if credit.total is not None]
    if not trained:
        return ""
    speaking = [credit for credit in trained if not credit.is_uniform]
    own = len(speaking)
    if not own:
        return (
            "Whole episode only: every turn is trained with the same advantage, and no turn has "
            "evidence of its own."
        )
    turns = "turn" if len(trained) == 1 else "turns"
    verb = "has evidence of its own" if own == 1 else "have evidence of their own"
    others = len(trained) - own
    repeat = "The other repeats" if others == 1 else "The others repeat"
    rest = f" {repeat} the whole episode's advantage." if others else ""
    tokens = sum(credit.tokens for credit in trained)
    mine = sum(credit.tokens for credit in speaking)
    of_tokens = f", {figures.share(mine / tokens)} of trained tokens" if tokens else ""
    shares = f" ({figures.share(own / len(trained))} of turns{of_tokens})"
    return f"{own} of {len(trained)} {turns} {verb}{shares}.{rest}"


def job_credit_sentence(steps: Sequence[JobStep]) -> str:
    """The newest trained step's share of turns with evidence; nothing for jobs that tell none."""
    found = (step.metrics.get("credit") for step in reversed(steps))
    told: dict[str, Any] = next((credit for credit in found if credit), {})
    turns, own = told.get("turns"), told.get("turns_with_evidence")
    if not turns or own is None:
        return ""
    reason = str(told.get("reason") or "")
    if not own and not reason:
        return "Credit: whole episode only. Every turn of an attempt gets the same advantage."
    sentence = f"Credit: step-level evidence on {figures.share(own / turns)} of trained turns"
    continuations = told.get("continuations")
    made = f", {figures.count(continuations)} continuations" if _is_number(continuations) else ""
    counted = "count" if told.get("anchored_weight") else "are left out"
    siblings = f" Siblings at the same state {counted}: {reason.rstrip('.')}." if reason else ""
    return f"{sentence} ({figures.count(own)} of {figures.count(turns)}{made}).{siblings}"


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value > 0


def _terms(turn: Turn, record: Attribution | None, continuations_train: bool) -> tuple[Term, ...]:
    """The number of comparisons and the interval are of the continuations where these train."""
    if record is None:
        return ()
    terms = [Term("episode", record.episode, is_outline=not record.has_own_evidence)]
    by_continuations = continuations_train and turn.measured is not None
    evidence = _evidence(record.n, record.interval)
    if record.step or (record.n and not by_continuations):
        same = record.actions == 1
        terms.append(Term("step", record.step, "" if by_continuations else evidence, same))
    if record.process:
        terms.append(Term("process", record.process, _scored(turn)))
    if record.counterfactual or by_continuations:
        terms.append(Term("counter", record.counterfactual, evidence))
    return tuple(terms)


def _credit(
    trajectory: Trajectory, turn: Turn, record: Attribution | None, continuations_train: bool
) -> TurnCredit:
    terms = _terms(turn, record, continuations_train)
    asides = []
    if turn.score is not None and not any(term.kind == "process" for term in terms):
        outcome = "which adds nothing" if terms else "not trained on"
        asides.append(f"{_scored(turn).capitalize()}, {outcome}")
    if turn.measured is not None and not (terms and continuations_train):
        asides.append(f"Continuations: {measured_text(turn.measured)}. Measured, not trained on")
    if record is None:
        return TurnCredit(None, asides=tuple(asides))
    return TurnCredit(
        total=record.total,
        terms=terms,
        is_uniform=not record.has_own_evidence,
        asides=tuple(asides),
        tokens=turn_trained_tokens(trajectory, turn),
        record=record,
        interval=_around_total(record, continuations_train and turn.measured is not None),
    )


def _around_total(record: Attribution, by_continuations: bool) -> tuple[float, float] | None:
    """The interval of the turn's own evidence, moved to where the total stands."""
    if record.interval is None or record.n < FEWEST_FOR_AN_INTERVAL:
        return None
    rest = record.total - (record.counterfactual if by_continuations else record.step)
    return record.interval[0] + rest, record.interval[1] + rest


def _evidence(n: int, interval: tuple[float, float] | None) -> str:
    return ", ".join([f"n {n}", *([_interval(interval)] if interval else [])])


def _interval(interval: tuple[float, float]) -> str:
    low, high = interval
    unsure = ", sign unsure" if low <= 0 <= high else ""
    return f"95{figures.THIN}% {figures.signed(low)} to {figures.signed(high)}{unsure}"


def _scored(turn: Turn) -> str:
    return "unscored" if turn.score is None else f"scored {figures.reward(turn.score)}"


def measured_text(measured: Measured) -> str:
    """A change of value with what it rests on."""
    unusable = f", {measured.unusable} more unusable" if measured.unusable else ""
    return (
        f"{figures.signed(measured.delta)} ({_evidence(measured.n, measured.interval)}{unusable})"
    )
