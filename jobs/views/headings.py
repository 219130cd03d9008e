"""What stands above every tab of a job: its state, its tabs and what may be done to it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.http import HttpRequest
from django.urls import reverse

from hone.accounts.selectors import may
from jobs.models import Job, Purpose, Status
from jobs.selectors.marks import Mark, job_mark
from jobs.words import STATUS_ICONS

TABS = (
    ("overview", "Overview", "job"),
    ("trajectories", "Trajectories", "job-trajectories"),
    ("credit", "Credit", "job-credit"),
    ("graders", "Graders", "job-graders"),
    ("loops", "Loops & tails", "job-loops"),
    ("checkpoints", "Checkpoints", "job-checkpoints"),
    ("events", "Events", "job-events"),
    ("spec", "Spec", "job-spec"),
)
PREFLIGHT_TABS = (
    ("overview", "Preflight", "preflight"),
    *(tab for tab in TABS if tab[0] in {"trajectories", "events", "spec"}),
)
TRYOUT_TABS = (("overview", "Try", "tryout"), *PREFLIGHT_TABS[1:])
PURPOSE_TABS = {
    Purpose.TRAIN: TABS,
    Purpose.PREFLIGHT: PREFLIGHT_TABS,
    Purpose.PLAYGROUND: TRYOUT_TABS,
}
HOMES = {Purpose.TRAIN: "job", Purpose.PREFLIGHT: "preflight", Purpose.PLAYGROUND: "tryout"}
POLL_RUNNING, POLL_WAITING = "1500ms", "10s"


@dataclass(frozen=True)
class Badge:
    """A state as icon, word and colour."""

    icon: str
    word: str
    tone: str


@dataclass(frozen=True)
class Tab:
    """A plain link; `here` marks the page that is shown."""

    word: str
    address: str
    here: bool


def job_badge(job: Job, wanted: str = "") -> Badge:
    """The job's state; a wanted pause or cancel is said while the engine is still at work."""
    icon, tone = STATUS_ICONS[job.status]
    word = str(Status(job.status).label)
    if job.status == Status.RUNNING and wanted in {"pause", "cancel"}:
        word = "Pausing…" if wanted == "pause" else "Cancelling…"
    return Badge(icon, word, tone)


def heading(request: HttpRequest, job: Job, here: str, mark: Mark | None = None) -> dict[str, Any]:
    """The context that each page of a job shares; `mark` where it was read already."""
    mark = mark or job_mark(job)
    return {
        "job": job,
        "badge": job_badge(job, mark.wanted),
        "tabs": [
            Tab(word, reverse(name, args=[job.pk]), key == here)
            for key, word, name in PURPOSE_TABS[Purpose(job.purpose)]
        ],
        "home": home(job),
        "here": here,
        "mark": mark,
        "poll_every": poll_every(job, request),
        **actions(request, job, mark.wanted),
    }


def home(job: Job) -> str:
    """The address of the job's first page."""
    return reverse(HOMES[Purpose(job.purpose)], args=[job.pk])


def actions(request: HttpRequest, job: Job, wanted: str) -> dict[str, Any]:
    """Which buttons to show; whoever may only read sees none."""
    writes = may(request.user, job.organisation_id, "write")
    open_ = writes and not job.is_final and wanted != "cancel"
    pausing = job.status == Status.RUNNING and wanted == "pause"
    return {
        "may_write_here": writes,
        "may_pause": open_ and job.status != Status.PAUSED and not pausing,
        "may_resume": open_ and (job.status == Status.PAUSED or pausing),
        "may_cancel": open_,
    }


def poll_every(job: Job, request: HttpRequest) -> str:
    """How often the page asks for news; empty for a final job and for `?live=0`."""
    if job.is_final or request.GET.get("live") == "0":
        return ""
    return POLL_RUNNING if job.status == Status.RUNNING else POLL_WAITING
