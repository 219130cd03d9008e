"""What repeated, what it earned and when it died out; the longest rollouts before and now."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from jobs.engine.insight.sums import added
from jobs.selectors.insight.window import Step, Window

MOST_SHOWN = 20
LONGEST = 5
UIDS = 3

Figure = float | None


@dataclass
class Repeated:
    """One thing that was repeated, over all steps that were read."""

    kind: str
    tool: str
    text: str
    first: int
    last: int
    times: int = 0
    n: int = 0
    graded: int = 0
    reward: float = 0.0
    trained: int = 0
    advantage: float = 0.0
    tokens: int = 0
    examples: list[tuple[int, str, str]] = field(default_factory=list)
    """Step, split and uid; the newest first."""
    died_out: bool = False
    """No step of the window has it, and the window is newer."""

    @property
    def reward_mean(self) -> Figure:
        return self.reward / self.graded if self.graded else None

    @property
    def advantage_mean(self) -> Figure:
        return self.advantage / self.trained if self.trained else None


@dataclass(frozen=True)
class Earned:
    """What the rollouts of one kind of loop got, in the window's training steps."""

    kind: str
    n: int
    reward: Figure
    advantage: Figure
    trained: int
    tokens: int


@dataclass(frozen=True)
class LoopFigures:
    """Everything of the tab that is a number. `n`: rollouts that no fault ended."""

    n: int
    kinds: dict[str, int]
    earned: list[Earned]
    gallery: list[Repeated]
    rest: int
    tokens: int
    limit_tokens: int
    limited: int
    before: list[tuple[int, str, dict[str, Any]]]
    now: list[tuple[int, str, dict[str, Any]]]
    """Step, split and the rollout."""


def loop_figures(window: Window) -> LoopFigures:
    """Of the window's training rollouts; the gallery reads the curve's steps, too."""
    told = [step.told("train", "loops") for step in window.steps]
    total = added(told)
    gallery, rest = _gallery(window)
    before, now = _longest(window)
    return LoopFigures(
        n=total.get("n", 0),
        kinds=total.get("kinds") or {},
        earned=[
            Earned(
                kind,
                sums["n"],
                sums["reward"] / sums["graded"] if sums["graded"] else None,
                sums["advantage"] / sums["trained"] if sums["trained"] else None,
                sums["trained"],
                sums["tokens"],
            )
            for kind, sums in sorted((total.get("earned") or {}).items())
        ],
        gallery=gallery,
        rest=rest,
        tokens=total.get("tokens", 0),
        limit_tokens=total.get("limit_tokens", 0),
        limited=total.get("limited", 0),
        before=before,
        now=now,
    )


def _gallery(window: Window) -> tuple[list[Repeated], int]:
    """By what was repeated, the most frequent first; and how many rollouts are not listed."""
    steps = {step.number: step for step in (*window.curve, *window.steps)}
    found: dict[str, Repeated] = {}
    rest = 0
    for number in sorted(steps):
        for split in ("train", "validation"):
            told = steps[number].told(split, "loops")
            rest += told.get("gallery_rest") or 0
            for each in told.get("gallery") or []:
                _note(found, number, split, each)
    recent = {step.number for step in window.steps}
    for one in found.values():
        one.died_out = bool(recent) and one.last < min(recent)
    ranked = sorted(found.values(), key=lambda one: (-one.n, -one.last, one.text))
    return ranked[:MOST_SHOWN], rest + sum(one.n for one in ranked[MOST_SHOWN:])


def _note(found: dict[str, Repeated], step: int, split: str, each: dict[str, Any]) -> None:
    one = found.setdefault(
        each["key"], Repeated(each["kind"], each["tool"], each["text"], step, step)
    )
    one.last = max(one.last, step)
    one.times = max(one.times, each["times"])
    for name in ("n", "graded", "reward", "trained", "advantage", "tokens"):
        setattr(one, name, getattr(one, name) + each[name])
    fresh = [(step, split, uid) for uid in each["uids"]]
    one.examples = [*fresh, *one.examples][:UIDS]


Long = list[tuple[int, str, dict[str, Any]]]


def _longest(window: Window) -> tuple[Long, Long]:
    """The same tasks before training and at the newest evaluation; of training steps else."""
    base, last = window.base, window.evaluated
    if base and last and base.number != last.number and base.told("validation", "loops"):
        return _long(base, "validation"), _long(last, "validation")
    trained = [step for step in window.curve if step.told("train", "loops")]
    if len(trained) < 2:
        return [], _long(trained[0], "train") if trained else []
    return _long(trained[0], "train"), _long(trained[-1], "train")


def _long(step: Step, split: str) -> Long:
    longest = step.told(split, "loops").get("longest") or []
    return [(step.number, split, each) for each in longest[:LONGEST]]
