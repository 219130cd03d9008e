"""The credit of a turn as a diverging bar: geometry only, in the units of the drawing."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from hone.core import figures
from jobs.views.credit import Kind, Term, TurnCredit

Per = Literal["token", "turn"]
WIDTH, ZERO, REACH = 240.0, 120.0, 112.0
"""`REACH`: from zero to the end of the axis, on either side."""
WHISKER_Y = 18.5
SMALLEST = 1e-9


@dataclass(frozen=True)
class Axis:
    """Symmetric about zero, the same for all attempts of a group."""

    half: float
    per: Per

    @property
    def scale(self) -> float:
        return REACH / self.half

    @property
    def ticks(self) -> str:
        """Marks at half and full, and the line at zero, as one path."""
        ends = (ZERO - REACH, ZERO - REACH / 2, ZERO + REACH / 2, ZERO + REACH)
        return f"M{ZERO:g} 0V22" + "".join(f"M{x:g} 0v3" for x in ends)

    @property
    def words(self) -> str:
        unit = "advantage per token" if self.per == "token" else "advantage × tokens"
        return f"{unit}, ±{self.half:g}"


@dataclass(frozen=True)
class Block:
    """One term's part of the bar."""

    kind: Kind
    x: float
    width: float
    is_outline: bool = False


@dataclass(frozen=True)
class Bar:
    """`mark`: where the total stands, with mixed signs not at an end. `whisker`: a path."""

    blocks: tuple[Block, ...]
    mark: float
    whisker: str


def axis_of(reaches: Sequence[float], per: Per) -> Axis:
    """As far as the longest bar, rounded up to 1, 2 or 5 times a power of ten."""
    most = max([*reaches, SMALLEST])
    power = math.floor(math.log10(most))
    # A bar that is as long as a round number, but for the last bits, fits it.
    steps = (factor * 10.0**exponent for exponent in (power, power + 1) for factor in (1, 2, 5))
    half = next(step for step in steps if step >= most * (1 - 1e-9))
    return Axis(half=float(f"{half:.6g}"), per=per)


def turn_bar(credit: TurnCredit, axis: Axis) -> Bar | None:
    """None where nothing was trained."""
    if credit.total is None:
        return None
    scale = axis.scale * (credit.tokens if axis.per == "turn" else 1)
    return Bar(
        blocks=_blocks(credit.terms, scale),
        mark=round(ZERO + scale * credit.total - 1, 2),
        whisker=_whisker(credit.interval, scale) if not credit.is_uniform else "",
    )


def bar_words(number: int, name: str, credit: TurnCredit) -> str:
    """The bar for those who hear it."""
    if credit.total is None:
        return f"Turn {number}, {name}, not trained"
    sign = "plus" if credit.total >= 0 else "minus"
    said = [f"Turn {number}", name, f"advantage {sign} {abs(credit.total):.2f}"]
    if credit.half_width is not None:
        said.append(f"plus or minus {credit.half_width:.2f}")
    if credit.compared:
        said.append(credit.compared.replace(" compared", " turns compared").replace(" ·", ","))
    if credit.is_uniform:
        said.append("no evidence of its own")
    return ", ".join(said)


def formula(
    credit: TurnCredit, *, reward: float | None, group_mean: float | None, gamma: float | None
) -> str:
    """The sum with its numbers, from what is stored; a term is spelt out only where it checks."""
    record = credit.record
    if record is None or credit.total is None:
        return ""
    parts = [_episode(record.episode, reward, group_mean)]
    if record.own is not None and record.anchor is not None and record.step:
        away = record.own - record.anchor
        weight = record.step / away if abs(away) > SMALLEST else 0.0
        own, anchor = figures.reward(record.own), figures.reward(record.anchor)
        parts.append(f"{weight:g} × ({own} − {anchor})" if weight else "0")
    elif record.step:
        parts.append(f"step {figures.signed(record.step)}")
    if record.process:
        parts.append(f"process {figures.signed(record.process)}")
    if record.counterfactual:
        parts.append(f"counterfactual {figures.signed(record.counterfactual)}")
    told = f"A = {' + '.join(parts)} = {figures.signed(credit.total)}"
    if record.own is not None and gamma is not None:
        told += f". The step term compares returns that are discounted by γ = {gamma:g} a turn"
    return told


def _episode(episode: float, reward: float | None, group_mean: float | None) -> str:
    if reward is None or group_mean is None or abs(reward - group_mean - episode) >= 5e-4:
        return f"episode {figures.signed(episode)}"
    return f"({figures.reward(reward)} − {figures.reward(group_mean)})"


def _blocks(terms: Sequence[Term], scale: float) -> tuple[Block, ...]:
    """Losses go left from zero, gains right, each in the order of the terms."""
    left = right = 0.0
    blocks = []
    for term in terms:
        if term.value < 0:
            left += term.value
        start = left if term.value < 0 else right
        if term.value > 0:
            right += term.value
        width = round(scale * abs(term.value), 2)
        if width:
            blocks.append(Block(term.kind, round(ZERO + scale * start, 2), width, term.is_outline))
    return tuple(blocks)


def _whisker(interval: tuple[float, float] | None, scale: float) -> str:
    """Cut at the ends of the drawing, without the cap there."""
    if interval is None:
        return ""
    low, high = (ZERO + scale * edge for edge in interval)
    path = f"M{max(low, 0):.1f} {WHISKER_Y}H{min(high, WIDTH):.1f}"
    for edge in (low, high):
        if 0 <= edge <= WIDTH:
            path += f"M{edge:.1f} {WHISKER_Y - 2}v4"
    return path
