"""The sides of the split that changed a group's outcome, and what continuations say of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from jobs.engine import types
from jobs.models import Replay, Trajectory
from jobs.selectors.listing import turn_replays
from jobs.selectors.tries import Divergence
from jobs.views.replays import Measurement, measurements

MOST_SIDES = 4


@dataclass(frozen=True)
class SplitSide:
    """One attempt that went this way; `measured`: its turn at the split, the newest first."""

    row: Trajectory
    measured: tuple[Measurement, ...]

    @property
    def is_open(self) -> bool:
        return any(each.is_open for each in self.measured)


def parting_turn(found: Divergence) -> int:
    """The first turn that is not the same any more, zero-based."""
    return found.node.last + 1


def split_sides(
    found: Divergence | None, rows: Sequence[Trajectory], bodies: Sequence[types.Trajectory]
) -> list[SplitSide]:
    """Of each way the first attempt whose turn can be measured; empty where fewer than two can."""
    if found is None:
        return []
    turn = parting_turn(found)
    ways = [child.members for child in found.node.children]
    firsts = [next((at for at in way if _can(rows[at], bodies[at], turn)), None) for way in ways]
    chosen = [rows[at] for at in firsts if at is not None][:MOST_SIDES]
    if len(chosen) < 2:
        return []
    replays = turn_replays(chosen, turn)
    return [
        SplitSide(row, _measured([each for each in replays if each.trajectory_id == row.pk], turn))
        for row in chosen
    ]


def _measured(replays: Sequence[Replay], turn: int) -> tuple[Measurement, ...]:
    return measurements(replays).get(turn, ())


def _can(row: Trajectory, body: types.Trajectory, turn: int) -> bool:
    """As `replay_create` asks for."""
    is_followed = 0 <= turn < len(body.turns) - 1
    return row.split == "train" and is_followed and bool(body.turns[turn].calls)
