"""What the bar of every page says of jobs."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest

from jobs.models import Job, Status


def bar(request: HttpRequest) -> dict[str, Any]:
    """`jobs_running` is counted where a template asks for it, so that fragments do not pay."""

    def running() -> int:
        standing = getattr(request, "standing", None)
        current = standing.current if standing is not None else None
        if current is None:
            return 0
        return Job.objects.filter(
            organisation=current.organisation_id, status=Status.RUNNING
        ).count()

    return {"jobs_running": running}
