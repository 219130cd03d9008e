"""Addresses for machines: `/healthz` says the process answers, `/readyz` that it can work."""

from __future__ import annotations

from django.contrib.auth.decorators import login_not_required
from django.db import DatabaseError, connection
from django.db.migrations.executor import MigrationExecutor
from django.http import HttpRequest, HttpResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

PLAIN = "text/plain; charset=utf-8"


@login_not_required
@never_cache
@require_safe
def healthz(request: HttpRequest) -> HttpResponse:
    """200 whenever the process answers."""
    return HttpResponse("ok\n", content_type=PLAIN)


@login_not_required
@never_cache
@require_safe
def readyz(request: HttpRequest) -> HttpResponse:
    """200 where the database answers and holds every migration, else 503 with the reason."""
    reason = not_ready()
    return HttpResponse(f"{reason or 'ready'}\n", status=503 if reason else 200, content_type=PLAIN)


def not_ready() -> str:
    """Why this process cannot work yet, or an empty string."""
    try:
        executor = MigrationExecutor(connection)
        missing = executor.migration_plan(executor.loader.graph.leaf_nodes())
    except DatabaseError:
        return "The database does not answer. Check DATABASE_URL and that the server runs."
    if missing:
        return f"{len(missing)} migrations are missing. Run `python manage.py migrate`."
    return ""
