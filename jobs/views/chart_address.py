"""What the address says of the charts: zoom, smoothing, axis, focus step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.http import HttpRequest, QueryDict

from jobs.models import Job
from jobs.views.job_charts import View
from jobs.views.smoothing import CHOICES, half_life

LIMITS = {"tokens": "max_sampled_tokens", "calls": "max_tool_calls"}
LOG = {"1": True, "0": False}
REACHES = (10, 20, 40, 60, 80, 100)


@dataclass(frozen=True)
class Asked:
    """The parts of an address that the charts follow; `query` holds them again."""

    first: int | None
    last: int | None
    smooth: str
    log: bool | None
    step: int | None
    query: str

    @property
    def zoomed(self) -> bool:
        return self.first is not None or self.last is not None

    def view(self, job: Job, columns: dict[str, Any]) -> View:
        """How to make the charts of these columns."""
        steps = columns["step"]
        settings = {each["name"]: each["value"] for each in job.spec.get("settings", ())}
        limits = {chart: settings.get(name) for chart, name in LIMITS.items()}
        span = steps[-1] - (self.first or 0) + 1 if steps else 0
        return View(
            half=half_life(self.smooth, span),
            log=self.log,
            base=job.baseline_reward,
            origin=job.origin_in_full,
            first=self.first if self.zoomed else 0,
            last=self.last if self.zoomed else reach(job),
            limits={chart: int(value) for chart, value in limits.items() if value},
        )


def chart_asked(request: HttpRequest) -> Asked:
    """What the address asks for; what cannot be read is as if it were not there."""
    given = request.GET
    first, last = whole_number(given.get("from", "")), whole_number(given.get("to", ""))
    if first is not None and last is not None and first > last:
        first, last = last, first
    kept = QueryDict(mutable=True)
    for name in ("from", "to", "smooth", "log"):
        if given.get(name):
            kept[name] = given[name][:12]
    query = f"?{kept.urlencode()}" if kept else ""
    log = LOG.get(given.get("log", ""))
    step = whole_number(given.get("step", ""))
    return Asked(first, last, given.get("smooth", "")[:4], log, step, query)


def whole_number(text: str) -> int | None:
    """A step's number as an address has it."""
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 10 else None


def reach(job: Job) -> int:
    """The end of the axis of steps: beyond the newest one, so that a new point moves nothing."""
    if job.is_final or job.last_step < 0:
        return max(job.last_step, 1)
    scale = 1
    while True:
        for each in REACHES:
            if each * scale > job.last_step:
                return min(each * scale, max(job.total_steps, job.last_step))
        scale *= 10


@dataclass(frozen=True)
class Choice:
    """A link of the tool bar."""

    words: str
    query: str
    here: bool


def toolbar(request: HttpRequest, asked: Asked, columns: dict[str, Any]) -> dict[str, Any]:
    """Links for smoothing and axis; each keeps the rest of the address."""

    def link(**changed: str) -> str:
        query = request.GET.copy()
        for name, value in changed.items():
            query[name] = value
        return f"?{query.urlencode()}"

    def plain(*names: str) -> str:
        query = request.GET.copy()
        for name in names:
            query.pop(name, None)
        return f"?{query.urlencode()}"

    steps = columns["step"]
    used = half_life(asked.smooth, steps[-1] - (asked.first or 0) + 1 if steps else 0)
    following = next((each for each in CHOICES if each > used), 0)
    return {
        "smooth": [
            Choice(str(each) if each else "off", link(smooth=str(each)), each == used)
            for each in CHOICES
        ],
        "smooth_next": link(smooth=str(following)),
        "used": used,
        "log": link(log="1"),
        "linear": link(log="0"),
        "whole": plain("from", "to"),
        "size": columns["size"],
        "first": steps[0] if steps else 0,
        "last": steps[-1] if steps else 0,
    }
