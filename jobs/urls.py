"""Addresses of the job pages; `/jobs/` is the first page after signing in."""

from __future__ import annotations

from django.urls import URLPattern, URLResolver, include, path

from jobs.views import control, create, lists, models, outputs, overview, regrade, trajectories

trajectory_urls: list[URLPattern | URLResolver] = [
    path("", trajectories.trajectory_page, name="trajectory"),
    path("raw.json", trajectories.trajectory_json, name="trajectory-json"),
    path("grade/", regrade.regrade_page, name="trajectory-grade"),
]

job_urls: list[URLPattern | URLResolver] = [
    path("", overview.job_page, name="job"),
    path("pulse/", overview.job_pulse, name="job-pulse"),
    path("series.json", overview.job_series_json, name="job-series"),
    path("steps.csv", overview.job_steps_csv, name="job-steps-csv"),
    path("pause/", control.pause, name="job-pause"),
    path("resume/", control.resume, name="job-resume"),
    path("cancel/", control.cancel, name="job-cancel"),
    path("trajectories/", trajectories.trajectory_list_page, name="job-trajectories"),
    path("trajectories/<int:trajectory_id>/", include(trajectory_urls)),
    path("checkpoints/", outputs.checkpoints_page, name="job-checkpoints"),
    path(
        "checkpoints/<int:step>/download/",
        outputs.checkpoint_download,
        name="job-checkpoint-download",
    ),
    path("adapter.zip", outputs.adapter_download, name="job-adapter"),
    path("events/", outputs.events_page, name="job-events"),
    path("spec/", outputs.spec_page, name="job-spec"),
]

urlpatterns: list[URLPattern | URLResolver] = [
    path("jobs/", lists.job_list_page, name="jobs"),
    path("jobs/pulse/", lists.job_list_pulse, name="jobs-pulse"),
    path("jobs/new/", create.new_job_page, name="job-new"),
    path("jobs/new/check/", create.check_panel, name="job-check"),
    path("jobs/<str:job_id>/", include(job_urls)),
    path("models/", models.models_page, name="models"),
    path("models/<int:model_id>/retry/", models.retry, name="models-retry"),
]
