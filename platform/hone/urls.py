"""All addresses. Each app brings its own; ids are global, the organisation is in the session."""

from __future__ import annotations

from django.urls import URLPattern, URLResolver, include, path
from django.views.generic import RedirectView

from hone.core import health

handler500 = "hone.core.request_ids.server_error"

urlpatterns: list[URLPattern | URLResolver] = [
    path("", RedirectView.as_view(url="/jobs/"), name="home"),
    path("healthz", health.healthz, name="healthz"),
    path("readyz", health.readyz, name="readyz"),
    path("", include("hone.accounts.urls")),
    path("", include("hone.datasets.urls")),
    path("", include("hone.tools.urls")),
    path("", include("graders.urls")),
    path("", include("jobs.urls")),
    path("", include("hone.search.urls")),
]
