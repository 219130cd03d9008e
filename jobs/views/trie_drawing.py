"""The prefix tree of a group as rows of a list and as a drawing; geometry only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from jobs.models import Trajectory
from jobs.selectors.tries import Divergence, Node

COLUMN, ROW, BOX_HEIGHT = 250, 30, 22
LINE_PX, THICKEST = 3, 24
"""Thickness of an edge a sibling, and at most."""
LABEL, SHORT = 200, 20
"""Characters of a label in the list and in the drawing."""


@dataclass
class Branch:
    """A node to show: its place in the drawing is that of its box, left and top."""

    label: str
    short: str
    count: int
    mean: float | None
    level: str
    """The class of its fill, by the mean reward in four steps; empty where nothing is graded."""
    turn: int
    """Where the link to it leads, counted from 1."""
    member: Trajectory
    is_here: bool
    is_split: bool
    """Its children part where the outcome was decided."""
    ended: list[Trajectory]
    x: int
    y: int
    edge: str
    thickness: int
    children: list[Branch] = field(default_factory=list)

    @property
    def middle(self) -> int:
        return self.y + BOX_HEIGHT // 2


@dataclass(frozen=True)
class Drawing:
    """`flat` has every branch once, for the picture; `roots` nest, for the list."""

    roots: list[Branch]
    flat: list[Branch]
    width: int
    height: int
    splits_at_root: bool


def drawing_of(
    root: Node,
    rows: Sequence[Trajectory],
    *,
    here: int | None,
    divergence: Divergence | None,
) -> Drawing:
    """`here`: the place of the trajectory that is looked at, among `rows`."""
    flat: list[Branch] = []
    at = _Pen()
    roots = [
        _branch(child, rows, at, 0, (0, None), here, divergence, flat) for child in root.children
    ]
    deepest = max((branch.x for branch in flat), default=0)
    return Drawing(
        roots=roots,
        flat=flat,
        width=deepest + COLUMN,
        height=max(at.row, 1) * ROW,
        splits_at_root=divergence is not None and divergence.node is root,
    )


class _Pen:
    """The next free row."""

    def __init__(self) -> None:
        self.row = 0


def _branch(
    node: Node,
    rows: Sequence[Trajectory],
    pen: _Pen,
    depth: int,
    parent: tuple[int, int | None],
    here: int | None,
    divergence: Divergence | None,
    flat: list[Branch],
) -> Branch:
    """A node stands in the row of its first child; a leaf takes the next row."""
    top = pen.row * ROW + (ROW - BOX_HEIGHT) // 2
    rewards = [r for place in node.members if (r := rows[place].reward) is not None]
    mean = sum(rewards) / len(rewards) if rewards else None
    label = ", ".join(node.labels)
    own = here if here is not None and here in node.members else node.members[0]
    branch = Branch(
        label=label[:LABEL] + ("…" if len(label) > LABEL else ""),
        short=label[:SHORT] + ("…" if len(label) > SHORT else ""),
        count=len(node.members),
        mean=mean,
        level="" if mean is None else f"level-{min(3, max(0, int(4 * mean)))}",
        turn=node.first + 1,
        member=rows[own],
        is_here=here in node.members,
        is_split=divergence is not None and divergence.node is node,
        ended=[rows[place] for place in node.ended],
        x=depth * COLUMN,
        y=top,
        edge=_edge(parent, depth, top + BOX_HEIGHT // 2),
        thickness=min(THICKEST, LINE_PX * len(node.members)),
    )
    flat.append(branch)
    place = (branch.x, branch.middle)
    branch.children = [
        _branch(child, rows, pen, depth + 1, place, here, divergence, flat)
        for child in node.children
    ]
    if not node.children:
        pen.row += 1
    return branch


def _edge(parent: tuple[int, int | None], depth: int, middle: int) -> str:
    """From the right side of the parent's box to the left side of one's own."""
    left, parent_middle = parent
    if parent_middle is None:
        return ""
    begin, end = left + COLUMN - 28, depth * COLUMN
    bend = (begin + end) // 2
    return f"M{begin} {parent_middle}C{bend} {parent_middle} {bend} {middle} {end} {middle}"
