"""Addresses of the grader pages."""

from __future__ import annotations

from django.urls import path

from graders import fixture_views, header_views, judge_views, views

urlpatterns = [
    path("graders/", views.graders_page, name="graders"),
    path("graders/new/", views.grader_new, name="grader-new"),
    path("graders/judges/", judge_views.judges_page, name="judges"),
    path("graders/judges/new/", judge_views.judge_new, name="judge-new"),
    path("graders/judges/<str:judge_id>/", judge_views.judge_page, name="judge"),
    path("graders/judges/<str:judge_id>/edit/", judge_views.judge_edit, name="judge-edit"),
    path("graders/judges/<str:judge_id>/key/", judge_views.judge_key_view, name="judge-key"),
    path("graders/judges/<str:judge_id>/try/", judge_views.judge_try_view, name="judge-try"),
    path(
        "graders/judges/<str:judge_id>/archive/",
        judge_views.judge_archive_view,
        name="judge-archive",
    ),
    path("graders/<str:grader_id>/", views.grader_page, name="grader"),
    path(
        "graders/<str:grader_id>/v<int:number>/export/", views.grader_export, name="grader-export"
    ),
    path(
        "graders/<str:grader_id>/v<int:number>/headers/",
        header_views.headers_page,
        name="grader-headers",
    ),
    path("graders/<str:grader_id>/edit/", views.grader_edit, name="grader-edit"),
    path("graders/<str:grader_id>/archive/", views.grader_archive_view, name="grader-archive"),
    path("graders/<str:grader_id>/fixtures/", fixture_views.fixtures_page, name="fixtures"),
    path("graders/<str:grader_id>/fixtures/new/", fixture_views.fixture_new, name="fixture-new"),
    path(
        "graders/<str:grader_id>/fixtures/rerun/",
        fixture_views.fixtures_rerun_view,
        name="fixtures-rerun",
    ),
    path(
        "graders/<str:grader_id>/fixtures/<int:fixture_id>/",
        fixture_views.fixture_page,
        name="fixture",
    ),
    path(
        "graders/<str:grader_id>/fixtures/<int:fixture_id>/delete/",
        fixture_views.fixture_delete_view,
        name="fixture-delete",
    ),
]
