"""Addresses of the workbench."""

from __future__ import annotations

from django.urls import URLPattern, URLResolver, path

from jobs.workbench import trajectory_views, views

urlpatterns: list[URLPattern | URLResolver] = [
    path("workbench/", views.comparisons_page, name="comparisons"),
    path("workbench/new/", views.comparison_new, name="comparison-new"),
    path("workbench/<str:comparison_id>/", views.comparison_page, name="comparison"),
    path("workbench/<str:comparison_id>/pulse/", views.comparison_pulse, name="comparison-pulse"),
    path(
        "workbench/<str:comparison_id>/cancel/",
        views.comparison_cancel_view,
        name="comparison-cancel",
    ),
    path(
        "workbench/<str:comparison_id>/delete/",
        views.comparison_delete_view,
        name="comparison-delete",
    ),
    path(
        "workbench/<str:comparison_id>/forgeries/<int:score_id>/keep/",
        trajectory_views.keep_forgery,
        name="comparison-forgery-keep",
    ),
]
