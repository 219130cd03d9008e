"""Addresses of the job pages; `/jobs/` is the first page after signing in."""

from __future__ import annotations

from django.urls import URLPattern, URLResolver, include, path, re_path

from jobs.views import (
    checkpoints,
    compare,
    control,
    create,
    groups,
    lists,
    models,
    outputs,
    overview,
    playground,
    preflights,
    recordings,
    regrade,
    replays,
    reports,
    system,
    trajectories,
    trajectory_list,
    usage,
)
from jobs.views.insight import credit, graders, loops
from jobs.workbench import trajectory_views

trajectory_urls: list[URLPattern | URLResolver] = [
    path("", trajectories.trajectory_page, name="trajectory"),
    path("turns/<int:number>/", trajectories.turn_fragment, name="trajectory-turn"),
    path("text/", trajectories.text_fragment, name="trajectory-text"),
    path("peek/", trajectory_list.trajectory_peek, name="trajectory-peek"),
    path("raw.json", trajectories.trajectory_json, name="trajectory-json"),
    path("grade/", regrade.regrade_page, name="trajectory-grade"),
    path("measure/", replays.measure, name="trajectory-measure"),
    path("mark/", trajectory_views.mark, name="trajectory-mark"),
    path("keep/", trajectory_views.keep, name="trajectory-keep"),
]

checkpoint_urls: list[URLPattern | URLResolver] = [
    path("download/", checkpoints.checkpoint_download, name="job-checkpoint-download"),
    path("keep/", checkpoints.keep, name="job-checkpoint-keep"),
    path("let-go/", checkpoints.let_go, name="job-checkpoint-let-go"),
    path("verify/", checkpoints.verify, name="job-checkpoint-verify"),
    path("delete/", checkpoints.delete, name="job-checkpoint-delete"),
]

job_urls: list[URLPattern | URLResolver] = [
    path("", overview.job_page, name="job"),
    path("pulse/", overview.job_pulse, name="job-pulse"),
    path("series.json", overview.job_series_json, name="job-series"),
    re_path(
        r"^charts/(?P<key>[a-z]+)\.(?P<form>csv|svg|table)$", overview.job_chart, name="job-chart"
    ),
    path("steps.csv", overview.job_steps_csv, name="job-steps-csv"),
    path("results.csv", reports.results_csv, name="job-results"),
    path("report.json", reports.report_json, name="job-report-json"),
    path("report.html", reports.report_html, name="job-report"),
    path("pause/", control.pause, name="job-pause"),
    path("resume/", control.resume, name="job-resume"),
    path("cancel/", control.cancel, name="job-cancel"),
    path("alarms/<str:rule>/seen/", control.alarm_seen, name="job-alarm-seen"),
    path("record/", recordings.record, name="job-record"),
    path("trajectories/", trajectory_list.trajectory_list_page, name="job-trajectories"),
    path("trajectories/news/", trajectory_list.trajectory_news, name="job-trajectories-news"),
    path("trajectories/<int:trajectory_id>/", include(trajectory_urls)),
    path("credit/", credit.credit_page, name="job-credit"),
    path("graders/", graders.graders_page, name="job-graders"),
    path("loops/", loops.loops_page, name="job-loops"),
    path("groups/<path:group>/measure/", groups.measure_sides, name="job-group-measure"),
    path("groups/<path:group>/", groups.group_page, name="job-group"),
    path("replays/<str:run_id>/cancel/", replays.cancel, name="replay-cancel"),
    path("checkpoints/", checkpoints.checkpoints_page, name="job-checkpoints"),
    path("checkpoints/<int:step>/", include(checkpoint_urls)),
    path("adapter.zip", checkpoints.adapter_download, name="job-adapter"),
    path("proof.json", checkpoints.proof, name="job-proof"),
    path("events/", outputs.events_page, name="job-events"),
    path("spec/", outputs.spec_page, name="job-spec"),
    path("spec.json", outputs.spec_json, name="job-spec-json"),
]

urlpatterns: list[URLPattern | URLResolver] = [
    path("jobs/", lists.job_list_page, name="jobs"),
    path("jobs/pulse/", lists.job_list_pulse, name="jobs-pulse"),
    path("jobs/new/", create.new_job_page, name="job-new"),
    path("jobs/new/check/", create.check_panel, name="job-check"),
    path("jobs/<str:job_id>/", include(job_urls)),
    path("compare/", compare.compare_page, name="compare"),
    re_path(
        r"^compare/charts/(?P<key>[a-z]+)\.(?P<form>csv|svg)$",
        compare.compare_chart,
        name="compare-chart",
    ),
    path("preflights/", preflights.preflight_list_page, name="preflights"),
    path("preflights/<str:job_id>/", preflights.preflight_page, name="preflight"),
    path("preflights/<str:job_id>/pulse/", preflights.preflight_pulse, name="preflight-pulse"),
    path("preflights/<str:job_id>/narrow/", preflights.preflight_narrow, name="preflight-narrow"),
    path("playground/", playground.playground_page, name="playground"),
    path("playground/<str:job_id>/", playground.tryout_page, name="tryout"),
    path("playground/<str:job_id>/pulse/", playground.tryout_pulse, name="tryout-pulse"),
    path("playground/<str:job_id>/stop/", playground.stop, name="tryout-stop"),
    path("", include("jobs.workbench.urls")),
    path("settings/usage/", usage.usage_page, name="usage"),
    path("settings/usage/storage/", usage.usage_storage, name="usage-storage"),
    path("settings/usage/<str:job_id>/", usage.usage_job_page, name="job-usage"),
    path("settings/system/", system.system_page, name="system"),
    path("settings/system/look/", system.system_look, name="system-look"),
    path("models/", models.models_page, name="models"),
    path("models/retry/", models.retry, name="models-retry"),
    path("models/<path:name>/", models.model_page, name="model"),
]
