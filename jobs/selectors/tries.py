"""The attempts at one task as a prefix tree, and the first place where they part for better or
worse. Pure: trajectories in, numbers out."""

from __future__ import annotations

import hashlib
import json
import math
import random
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

from jobs.engine.rollout.loops import canonical_arguments
from jobs.engine.types import Trajectory, Turn

Merge = Literal["action", "tokens"]
FEWEST_GRADED = 2
LEAST_EXPLAINED, MOST_CHANCE = 0.5, 0.10
MOST_TABLES = 100_000
"""Ways to deal the rewards that are counted one by one; beyond, this many are drawn."""
DRAWS = 20_000
SAME = 1e-9


@dataclass
class Node:
    """Turns that were the same for all `members`, places in the list that was given.

    `first` and `last`: the turns it stands for, zero-based; the root has -1 for both.
    """

    first: int
    last: int
    labels: tuple[str, ...]
    members: list[int]
    children: list[Node] = field(default_factory=list)
    ended: list[int] = field(default_factory=list)
    """Members whose last turn is this node's."""

    def branches(self) -> list[list[int]]:
        """The members by what they did next; to stop here is a branch of its own."""
        found = [child.members for child in self.children]
        return [*found, self.ended] if self.ended else found


@dataclass(frozen=True)
class Divergence:
    """Where a split explains the outcome: `explained` of the variance of the rewards below it, with
    chance `p` of a split by chance explaining as much. Association, not cause."""

    node: Node
    explained: float
    p: float
    is_exact: bool
    graded: int


def trie(trajectories: Sequence[Trajectory], merge: Merge = "action") -> Node:
    """The root of the tree; runs of turns without a branch are one node."""
    key = _action if merge == "action" else _tokens
    root = Node(-1, -1, (), list(range(len(trajectories))))
    _grow(root, trajectories, key)
    root.children = [_joined(child) for child in root.children]
    return root


def nodes_of(root: Node) -> Iterator[Node]:
    """Nearest to the root first."""
    level = [root]
    while level:
        yield from level
        level = [child for node in level for child in node.children]


def path_to(root: Node, member: int) -> list[Node]:
    """The nodes of one member, from the root on, the root left out."""
    path: list[Node] = []
    node = root
    while True:
        following = next((child for child in node.children if member in child.members), None)
        if following is None:
            return path
        path.append(following)
        node = following


def common_turns(root: Node, one: int, other: int) -> int:
    """How many turns two members have in common from the beginning."""
    both = [node for node in path_to(root, one) if other in node.members]
    return both[-1].last + 1 if both else 0


def first_divergence(root: Node, rewards: Sequence[float | None]) -> Divergence | None:
    """The branching node nearest the root with two or more graded members on each of two branches,
    whose branches explain half the variance of the rewards below it, at an exact p of 0.10."""
    for node in nodes_of(root):
        graded = [
            own
            for members in node.branches()
            if (own := [r for place in members if (r := rewards[place]) is not None])
        ]
        if sum(len(own) >= FEWEST_GRADED for own in graded) < 2:
            continue
        explained = variance_explained(graded)
        if explained < LEAST_EXPLAINED - SAME:
            continue
        p, is_exact = permutation_p(graded)
        if p <= MOST_CHANCE + SAME:
            return Divergence(node, explained, p, is_exact, sum(map(len, graded)))
    return None


def variance_explained(branches: Sequence[Sequence[float]]) -> float:
    """Sum of squares between the branches over the total; 0 where all rewards are the same."""
    values = [value for own in branches for value in own]
    mean = math.fsum(values) / len(values)
    total = math.fsum((value - mean) ** 2 for value in values)
    if total < SAME:
        return 0.0
    return (_between(branches) - len(values) * mean**2) / total


def permutation_p(branches: Sequence[Sequence[float]]) -> tuple[float, bool]:
    """The share of all ways to deal the rewards to branches of these sizes that explain at least as
    much; the second says whether all ways were counted, or drawn at random because there are too
    many. Equal rewards are dealt as one kind, so groups of 0 and 1 are always counted."""
    values = sorted(value for own in branches for value in own)
    kinds: list[float] = []
    counts: list[int] = []
    for value in values:
        if kinds and value - kinds[-1] < SAME:
            counts[-1] += 1
        else:
            kinds.append(value)
            counts.append(1)
    sizes = [len(own) for own in branches]
    observed = _between(branches) - SAME
    reached = total = 0
    for table, (statistic, ways) in enumerate(_tables(tuple(kinds), counts, sizes)):
        total += ways
        reached += ways if statistic >= observed else 0
        if table >= MOST_TABLES:
            return _drawn_p(values, sizes, observed), False
    return reached / total, True


def _tables(
    kinds: tuple[float, ...], counts: list[int], sizes: Sequence[int]
) -> Iterator[tuple[float, int]]:
    """Every way to deal: what it explains, and by how many orders of the members it comes about."""
    if len(sizes) == 1:
        total = math.fsum(kind * n for kind, n in zip(kinds, counts, strict=True))
        yield total**2 / sizes[0], 1
        return
    for taken in _hands(counts, sizes[0]):
        total = math.fsum(kind * n for kind, n in zip(kinds, taken, strict=True))
        ways = math.prod(math.comb(n, k) for n, k in zip(counts, taken, strict=True))
        left = [n - k for n, k in zip(counts, taken, strict=True)]
        for rest, more in _tables(kinds, left, sizes[1:]):
            yield total**2 / sizes[0] + rest, ways * more


def _hands(counts: Sequence[int], size: int) -> Iterator[tuple[int, ...]]:
    if not counts:
        if size == 0:
            yield ()
        return
    room = sum(counts[1:])
    for taken in range(max(0, size - room), min(counts[0], size) + 1):
        for rest in _hands(counts[1:], size - taken):
            yield (taken, *rest)


def _drawn_p(values: list[float], sizes: Sequence[int], observed: float) -> float:
    chance, reached = random.Random(0), 0
    dealt = list(values)
    for _ in range(DRAWS):
        chance.shuffle(dealt)
        at, hands = 0, []
        for size in sizes:
            hands.append(dealt[at : at + size])
            at += size
        reached += _between(hands) >= observed
    return (reached + 1) / (DRAWS + 1)


def _between(branches: Sequence[Sequence[float]]) -> float:
    return math.fsum(math.fsum(own) ** 2 / len(own) for own in branches)


def _grow(
    root: Node, trajectories: Sequence[Trajectory], key: Callable[[Trajectory, int], Hashable]
) -> None:
    waiting = [root]
    while waiting:
        node = waiting.pop()
        turn = node.last + 1
        by_key: dict[Hashable, Node] = {}
        for member in node.members:
            turns = trajectories[member].turns
            if turn >= len(turns):
                node.ended.append(member)
                continue
            what = key(trajectories[member], turn)
            if what not in by_key:
                by_key[what] = Node(turn, turn, (_label(turns[turn]),), [])
            by_key[what].members.append(member)
        node.children = sorted(
            by_key.values(), key=lambda child: (-len(child.members), child.members)
        )
        waiting += node.children


def _joined(node: Node) -> Node:
    """The node with its only child, as long as nobody stops or turns off between them."""
    while len(node.children) == 1 and not node.ended:
        (child,) = node.children
        node = Node(
            node.first,
            child.last,
            (*node.labels, *child.labels),
            node.members,
            child.children,
            child.ended,
        )
    node.children = [_joined(child) for child in node.children]
    return node


def _action(trajectory: Trajectory, turn: int) -> Hashable:
    """Tool, canonical arguments and result; of an answer its words."""
    made = trajectory.turns[turn]
    if not made.calls:
        return "answer", " ".join((made.content or made.text).split())
    return tuple(
        (call.name, canonical_arguments(call.arguments), call.status, _digest(call.output or ""))
        for call in made.calls
    )


def _tokens(trajectory: Trajectory, turn: int) -> Hashable:
    """All tokens since the turn before, results among them."""
    start = trajectory.turns[turn - 1].end if turn else 0
    return tuple(trajectory.ids[start : trajectory.turns[turn].end])


def _digest(text: str) -> str:
    return hashlib.sha256(" ".join(text.split()).encode("utf-8", "replace")).hexdigest()


def _label(turn: Turn) -> str:
    if not turn.calls:
        return "answer"
    return " + ".join(f"{call.name}({_arguments(call.arguments)})" for call in turn.calls)


def _arguments(arguments: str) -> str:
    """The values, which are what differs."""
    try:
        given = json.loads(arguments)
    except (ValueError, RecursionError):
        return arguments
    if not isinstance(given, dict):
        return arguments
    return ", ".join(str(value) for value in given.values())
