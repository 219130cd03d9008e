"""Where a pasted id leads: to the one page of the thing, through its access door."""

from __future__ import annotations

import re
from collections.abc import Callable

from django.http import Http404
from django.urls import reverse

from graders.selectors import access_grader, access_grader_version, access_judge
from hone.accounts.models import User
from hone.datasets.selectors import access_dataset, access_intake, access_version
from hone.tools.selectors import (
    access_mcp_server,
    access_recording,
    access_tool,
    access_tool_version,
)
from jobs.selectors import access_job
from jobs.selectors.access import access_run
from jobs.views.headings import home
from jobs.workbench.selectors import access_comparison

FORM = re.compile(r"([a-z]+)-[0-9a-f]{16}")


def looks_like_id(text: str) -> bool:
    """Whether it is an id as Hone makes them, of whatever."""
    return FORM.fullmatch(text) is not None


def address_of(user: User, pasted: str) -> str:
    """The address of the thing with that id; empty where there is none that the user can see."""
    found = FORM.fullmatch(pasted)
    place = PLACES.get(found[1]) if found else None
    try:
        return place(user, pasted) if place else ""
    except Http404:
        return ""


def _job(user: User, pk: str) -> str:
    return home(access_job(user, pk))


def _version(user: User, pk: str) -> str:
    version = access_version(user, pk)
    return reverse("dataset-version", args=[version.dataset_id, version.number])


PLACES: dict[str, Callable[[User, str], str]] = {
    "ftjob": _job,
    "preflight": _job,
    "try": _job,
    "run": lambda user, pk: _job(user, access_run(user, pk).job_id),
    "cmp": lambda user, pk: reverse("comparison", args=[access_comparison(user, pk).pk]),
    "ds": lambda user, pk: reverse("dataset", args=[access_dataset(user, pk).pk]),
    "dsv": _version,
    "intake": lambda user, pk: reverse("intake", args=[access_intake(user, pk).pk]),
    "tool": lambda user, pk: reverse("tool", args=[access_tool(user, pk).pk]),
    "toolv": lambda user, pk: reverse("tool", args=[access_tool_version(user, pk).tool_id]),
    "mcp": lambda user, pk: reverse("mcp", args=[access_mcp_server(user, pk).pk]),
    "rec": lambda user, pk: reverse("recording", args=[access_recording(user, pk).pk]),
    "grader": lambda user, pk: reverse("grader", args=[access_grader(user, pk).pk]),
    "gradver": lambda user, pk: reverse(
        "grader", args=[access_grader_version(user, pk).grader_id]
    ),
    "judge": lambda user, pk: reverse("judge", args=[access_judge(user, pk).pk]),
}  # fmt: skip
