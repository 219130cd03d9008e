"""Trainer against sampler, token by token: how much likelier the trainer found what was sampled."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from hone.core import figures
from jobs.engine.learning.losses.bounds import ratio_range
from jobs.engine.received import log_ratios
from jobs.engine.types import Trajectory, Turn
from jobs.models import Job
from jobs.selectors.insight.window import settings_of
from jobs.views.bins import legend, signed_bin

EDGES = tuple(math.log(ratio) for ratio in (1.01, 1.1, 1.5))
BINS = ("under 0.67", "to 0.91", "to 0.99", "1", "to 1.1", "to 1.5", "over 1.5")
FIXED = 0.001
"""Smaller figures are written with a power of ten."""
NOT_TRAINED = "It was not trained, so the trainer gave these tokens no probability."
NOT_KEPT = (
    "The ratio of trainer to sampler is not kept for this step, so there is nothing to colour by. "
    "The step's mean mismatch is on the job's overview."
)
NOT_COMPUTED = (
    "Each of its advantages is 0, so the trainer did not compute it and there is no ratio."
)


@dataclass(frozen=True)
class Mismatch:
    """Of the trained tokens of a turn; differences are of log-probabilities.

    `kl`: the k3 estimate of KL(sampler, trainer), as a step's.
    """

    mean: float
    most: float
    kl: float
    tokens: int

    @property
    def words(self) -> str:
        mean, most, kl = (
            figures.reward(each) if each >= FIXED else figures.small(each)
            for each in (self.mean, self.most, self.kl)
        )
        return f"mean |Δ| {mean}, max |Δ| {most}, KL {kl}"


@dataclass(frozen=True)
class Ratios:
    """`logs` by place; where it is empty, `reason` says why. `taken`: the ratios that the loss does
    not clip; None where it clips none."""

    logs: dict[int, float] = field(default_factory=dict)
    taken: tuple[float, float] | None = None
    reason: str = ""

    def of(self, place: int) -> float | None:
        """In the three digits that half precision tells."""
        return float(f"{math.exp(self.logs[place]):.3g}") if place in self.logs else None

    def classes(self, place: int) -> str:
        """Empty where there is no ratio: it was not trained."""
        if place not in self.logs:
            return ""
        found = signed_bin(self.logs[place], EDGES)
        return f"{found} past-clip" if self._is_clipped(place) else found

    def _is_clipped(self, place: int) -> bool:
        if self.taken is None:
            return False
        low, high = self.taken
        return not low <= math.exp(self.logs[place]) <= high

    def legend(self) -> list[tuple[str, str]]:
        if not self.logs:
            return []
        return [*legend(BINS), *([("past-clip", self._clip())] if self.taken else [])]

    def _clip(self) -> str:
        low, high = self.taken or (0.0, 0.0)
        return f"past the clip, {f'{low:g} to ' if low else ''}{high:g}"

    def mismatch(self, turn: Turn) -> Mismatch | None:
        """None where nothing of the turn has a ratio."""
        logs = [self.logs[place] for place in range(turn.start, turn.end) if place in self.logs]
        if not logs:
            return None
        return Mismatch(
            mean=sum(map(abs, logs)) / len(logs),
            most=max(map(abs, logs)),
            kl=sum(math.expm1(each) - each for each in logs) / len(logs),
            tokens=len(logs),
        )


def ratios_of(job: Job, body: Trajectory) -> Ratios:
    kept = log_ratios(body)
    if kept is None:
        not_kept = NOT_KEPT if body.received is None else NOT_COMPUTED
        return Ratios(reason=not_kept if body.trained else NOT_TRAINED)
    settings = settings_of(job)
    taken = ratio_range(str(settings.get("loss")), float(settings.get("ratio_max") or math.inf))
    return Ratios({place: log for place, log in kept.items() if math.isfinite(log)}, taken)
