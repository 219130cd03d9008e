"""Addresses of the tool pages."""

from __future__ import annotations

from django.urls import path

from hone.tools import views

urlpatterns = [
    path("tools/", views.tools_page, name="tools"),
    path("tools/new/", views.tool_new, name="tool-new"),
    path("tools/<str:tool_id>/", views.tool_page, name="tool"),
    path("tools/<str:tool_id>/edit/", views.tool_edit, name="tool-edit"),
    path("tools/<str:tool_id>/call/", views.tool_call_view, name="tool-call"),
    path("tools/<str:tool_id>/archive/", views.tool_archive_view, name="tool-archive"),
]
