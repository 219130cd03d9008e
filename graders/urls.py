"""Addresses of the grader pages."""

from __future__ import annotations

from django.urls import path

from graders import views

urlpatterns = [
    path("graders/", views.graders_page, name="graders"),
    path("graders/new/", views.grader_new, name="grader-new"),
    path("graders/<str:grader_id>/", views.grader_page, name="grader"),
    path("graders/<str:grader_id>/edit/", views.grader_edit, name="grader-edit"),
    path("graders/<str:grader_id>/archive/", views.grader_archive_view, name="grader-archive"),
]
