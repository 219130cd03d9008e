"""Addresses of the dataset pages."""

from __future__ import annotations

from django.urls import path

from hone.datasets import views

urlpatterns = [
    path("datasets/", views.datasets_page, name="datasets"),
    path("datasets/new/", views.dataset_new, name="dataset-new"),
    path("datasets/<str:dataset_id>/", views.dataset_page, name="dataset"),
    path("datasets/<str:dataset_id>/new/", views.dataset_version_new, name="dataset-version-new"),
    path("datasets/<str:dataset_id>/archive/", views.dataset_archive_view, name="dataset-archive"),
    path("datasets/<str:dataset_id>/delete/", views.dataset_delete_view, name="dataset-delete"),
    path(
        "datasets/<str:dataset_id>/v<int:number>/",
        views.dataset_version_page,
        name="dataset-version",
    ),
    path(
        "datasets/<str:dataset_id>/v<int:number>/rows/",
        views.dataset_rows_page,
        name="dataset-rows",
    ),
]
