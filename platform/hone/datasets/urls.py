"""Addresses of the dataset pages."""

from __future__ import annotations

from django.urls import path

from hone.datasets.views import findings, intakes, pages, uploads

urlpatterns = [
    path("datasets/", pages.datasets_page, name="datasets"),
    path("datasets/new/", pages.dataset_new, name="dataset-new"),
    path("datasets/uploads/", uploads.upload_new, name="upload-new"),
    path("datasets/uploads/<str:upload_id>/", uploads.upload_state, name="upload"),
    path("datasets/uploads/<str:upload_id>/parts/", uploads.upload_part, name="upload-part"),
    path("datasets/uploads/<str:upload_id>/complete/", uploads.complete, name="upload-complete"),
    path("datasets/uploads/<str:upload_id>/cancel/", uploads.cancel, name="upload-cancel"),
    path("datasets/arriving/", intakes.intake_new, name="intake-new"),
    path("datasets/arriving/<str:intake_id>/", intakes.intake_page, name="intake"),
    path(
        "datasets/arriving/<str:intake_id>/columns/",
        intakes.intake_columns_page,
        name="intake-columns",
    ),
    path("datasets/<str:dataset_id>/", pages.dataset_page, name="dataset"),
    path("datasets/<str:dataset_id>/new/", pages.dataset_version_new, name="dataset-version-new"),
    path("datasets/<str:dataset_id>/archive/", pages.dataset_archive_view, name="dataset-archive"),
    path("datasets/<str:dataset_id>/delete/", pages.dataset_delete_view, name="dataset-delete"),
    path(
        "datasets/<str:dataset_id>/v<int:number>/",
        pages.dataset_version_page,
        name="dataset-version",
    ),
    path(
        "datasets/<str:dataset_id>/v<int:number>/rows/",
        pages.dataset_rows_page,
        name="dataset-rows",
    ),
    path(
        "datasets/<str:dataset_id>/v<int:number>/download/",
        pages.dataset_download,
        name="dataset-download",
    ),
    path(
        "datasets/<str:dataset_id>/v<int:number>/split/",
        intakes.dataset_split_page,
        name="dataset-split",
    ),
    path(
        "datasets/<str:dataset_id>/v<int:number>/overlap/",
        findings.dataset_overlap_page,
        name="dataset-overlap",
    ),
    path(
        "datasets/<str:dataset_id>/v<int:number>/report/",
        findings.dataset_report_again,
        name="dataset-report",
    ),
]
