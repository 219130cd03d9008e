"""Which trajectories a comparison reads, and its gradings in order. Pure: the same, the same."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from jobs.workbench.mutations import WORDS

_Thing = TypeVar("_Thing")
AS_IS, AGAIN = "", "again"
REPEATED = 32
MUTATED = 12
OTHERS = 24
"""Trajectories whose answers stand for those to other tasks."""


@dataclass(frozen=True)
class Unit:
    """One sample to grade by both sides: as it is, the same again, or with the change `case`."""

    trajectory: int
    case: str = AS_IS
    attempt: int = 0


@dataclass(frozen=True)
class Candidate:
    """What is known of a trajectory before its body is read."""

    pk: int
    step: int
    reward: float | None


def drawn(candidates: Sequence[Candidate], most: int) -> list[int]:
    """At most `most` of them, spread evenly over the steps and, within each, over the rewards."""
    ordered = sorted(
        candidates, key=lambda one: (one.step, -1e300 if one.reward is None else one.reward, one.pk)
    )
    return [one.pk for one in _evenly(ordered, most)]


def units(chosen: Sequence[int], *, repeats: int, mutations: bool) -> list[Unit]:
    """As they are, then some of them again, then some of them changed."""
    made = [Unit(pk) for pk in chosen]
    if repeats:
        some = _evenly(chosen, REPEATED)
        made += [Unit(pk, AGAIN, attempt) for pk in some for attempt in range(1, repeats + 1)]
    if mutations:
        made += [Unit(pk, change) for pk in _evenly(chosen, MUTATED) for change in WORDS]
    return made


def donors(chosen: Sequence[int]) -> list[int]:
    """Trajectories that the answers to other tasks are taken from."""
    return list(_evenly(chosen, OTHERS))


def _evenly(things: Sequence[_Thing], most: int) -> Sequence[_Thing]:
    if len(things) <= most:
        return things
    return [things[place * len(things) // most] for place in range(most)]
