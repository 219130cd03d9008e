"""Every page of Hone, once: its address in the seeded world of `world.py`, and who opens it.

A page that is new takes one line in `PAGES`, with the name that its pictures bear. What answers a
GET and is no page stands in `NO_PAGES`, with the reason. A test holds both against the addresses.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from django.urls import URLPattern, URLResolver, get_resolver, resolve

OWNER, VIEWER, NEWCOMER, STRANGER = "owner", "viewer", "newcomer", "stranger"
"""Who looks: an owner and a viewer of Acme, the owner of an organisation without anything in it,
and somebody who is not signed in."""


@dataclass(frozen=True)
class Page:
    """One page in one state; `{word}` in the address is an id of the seeded world."""

    name: str
    address: str
    who: str = OWNER
    status: int = 200

    @property
    def url_name(self) -> str:
        """Its name in the URL configuration."""
        path = re.sub(r"{\w+}", "1", self.address).partition("?")[0]
        return resolve(path).url_name or ""


PAGES = (
    Page("jobs", "/jobs/"),
    Page("jobs_no_match", "/jobs/?q=nothing"),
    Page("jobs_none", "/jobs/", NEWCOMER),
    Page("jobs_viewer", "/jobs/", VIEWER),
    Page("job_running", "/jobs/{running}/"),
    Page("job_done", "/jobs/{done}/"),
    Page("job_failed", "/jobs/{failed}/"),
    Page("job_paused", "/jobs/{paused}/"),
    Page("job_queued", "/jobs/{queued}/"),
    Page("job_viewer", "/jobs/{running}/", VIEWER),
    Page("job_chart", "/jobs/{running}/charts/reward.table"),
    Page("job_pause", "/jobs/{running}/pause/"),
    Page("job_resume", "/jobs/{running}/resume/"),
    Page("job_cancel", "/jobs/{running}/cancel/"),
    Page("trajectories", "/jobs/{running}/trajectories/"),
    Page("trajectories_no_match", "/jobs/{running}/trajectories/?task=99"),
    Page("trajectory", "/jobs/{running}/trajectories/{plain}/"),
    Page("trajectory_loop", "/jobs/{running}/trajectories/{looped}/"),
    Page("trajectory_fault", "/jobs/{running}/trajectories/{faulty}/"),
    Page("trajectory_grade", "/jobs/{running}/trajectories/{plain}/grade/"),
    Page("trajectory_group", "/jobs/{running}/trajectories/{plain}/?view=group"),
    Page("trajectory_tokens", "/jobs/{running}/trajectories/{plain}/?view=tokens"),
    Page(
        "trajectory_ratio", "/jobs/{running}/trajectories/{plain}/?view=tokens&colour=ratio&token=2"
    ),
    Page("trajectories_done", "/jobs/{done}/trajectories/"),
    Page("group", "/jobs/{running}/groups/{group}/"),
    Page("credit", "/jobs/{running}/credit/"),
    Page("credit_none", "/jobs/{queued}/credit/"),
    Page("job_graders", "/jobs/{running}/graders/"),
    Page("job_graders_none", "/jobs/{queued}/graders/"),
    Page("loops", "/jobs/{running}/loops/"),
    Page("loops_none", "/jobs/{queued}/loops/"),
    Page("checkpoints", "/jobs/{done}/checkpoints/"),
    Page("checkpoints_none", "/jobs/{queued}/checkpoints/"),
    Page("events", "/jobs/{running}/events/"),
    Page("spec", "/jobs/{running}/spec/"),
    Page("compare", "/compare/?jobs={running},{done}"),
    Page("compare_choose", "/compare/"),
    Page("compare_none", "/compare/", NEWCOMER),
    Page("job_new", "/jobs/new/"),
    Page("job_clone", "/jobs/new/?from={done}"),
    Page("job_new_none", "/jobs/new/", NEWCOMER),
    Page("preflights", "/preflights/"),
    Page("preflights_none", "/preflights/", NEWCOMER),
    Page("preflight", "/preflights/{tried}/"),
    Page("preflight_queued", "/preflights/{waiting}/"),
    Page("preflight_viewer", "/preflights/{tried}/", VIEWER),
    Page("preflight_cancel", "/jobs/{waiting}/cancel/"),
    Page("preflight_start", "/jobs/new/?from={tried}"),
    Page("playground", "/playground/"),
    Page("playground_none", "/playground/", NEWCOMER),
    Page("playground_viewer", "/playground/", VIEWER),
    Page("tryout", "/playground/{answered}/"),
    Page("tryout_running", "/playground/{answering}/"),
    Page("tryout_viewer", "/playground/{answered}/", VIEWER),
    Page("comparisons", "/workbench/"),
    Page("comparisons_none", "/workbench/", NEWCOMER),
    Page("comparison_new", "/workbench/new/?job={done}"),
    Page("comparison", "/workbench/{compared}/"),
    Page("comparison_ungraded", "/workbench/{compared}/?only=ungraded"),
    Page("comparison_queued", "/workbench/{comparing}/"),
    Page("comparison_viewer", "/workbench/{compared}/", VIEWER),
    Page("models", "/models/"),
    Page("models_none", "/models/", NEWCOMER),
    Page("model", "/models/{model}/"),
    Page("model_tuned", "/models/{done}/"),
    Page("datasets", "/datasets/"),
    Page("datasets_none", "/datasets/", NEWCOMER),
    Page("datasets_viewer", "/datasets/", VIEWER),
    Page("dataset_new", "/datasets/new/"),
    Page("dataset", "/datasets/{dataset}/"),
    Page("dataset_viewer", "/datasets/{dataset}/", VIEWER),
    Page("dataset_version", "/datasets/{dataset}/v1/"),
    Page("dataset_version_new", "/datasets/{dataset}/new/"),
    Page("dataset_delete", "/datasets/{dataset}/delete/"),
    Page("dataset_rows", "/datasets/{dataset}/v1/rows/"),
    Page("dataset_rows_found", "/datasets/{dataset}/v1/rows/?q=broken"),
    Page("dataset_rows_no_match", "/datasets/{dataset}/v1/rows/?q=nothing"),
    Page("dataset_split", "/datasets/{dataset}/v1/split/"),
    Page("dataset_overlap", "/datasets/{dataset}/v1/overlap/?other={other_version}"),
    Page("intake_columns", "/datasets/arriving/{table}/columns/"),
    Page("intake_running", "/datasets/arriving/{arriving}/"),
    Page("intake_refused", "/datasets/arriving/{refused}/"),
    Page("tools", "/tools/"),
    Page("tools_none", "/tools/", NEWCOMER),
    Page("tools_viewer", "/tools/", VIEWER),
    Page("tool_new", "/tools/new/"),
    Page("tool", "/tools/{tool}/"),
    Page("tool_viewer", "/tools/{tool}/", VIEWER),
    Page("tool_edit", "/tools/{tool}/edit/"),
    Page("tool_secrets", "/tools/{tool}/secrets/"),
    Page("mcp_new", "/mcp/new/"),
    Page("mcp", "/mcp/{server}/"),
    Page("mcp_secrets", "/mcp/{server}/secrets/"),
    Page("recording", "/recordings/{recording}/"),
    Page("graders", "/graders/"),
    Page("graders_none", "/graders/", NEWCOMER),
    Page("graders_viewer", "/graders/", VIEWER),
    Page("grader_new", "/graders/new/"),
    Page("grader_new_python", "/graders/new/?kind=python"),
    Page("grader_new_judge", "/graders/new/?kind=score_model"),
    Page("grader", "/graders/{grader}/"),
    Page("grader_edit", "/graders/{grader}/edit/"),
    Page("grader_headers", "/graders/{remote_grader}/v1/headers/"),
    Page("fixtures", "/graders/{grader}/fixtures/"),
    Page("fixture_new", "/graders/{grader}/fixtures/new/"),
    Page("fixture", "/graders/{grader}/fixtures/{fixture}/"),
    Page("judges", "/graders/judges/"),
    Page("judges_none", "/graders/judges/", NEWCOMER),
    Page("judge_new", "/graders/judges/new/"),
    Page("judge", "/graders/judges/{judge}/"),
    Page("judge_edit", "/graders/judges/{judge}/edit/"),
    Page("settings", "/settings/"),
    Page("usage_storage", "/settings/usage/storage/"),
    Page("members", "/settings/members/"),
    Page("member_password", "/settings/members/{membership}/password/"),
    Page("keys", "/settings/keys/"),
    Page("keys_none", "/settings/keys/", NEWCOMER),
    Page("usage", "/settings/usage/"),
    Page("usage_none", "/settings/usage/", NEWCOMER),
    Page("usage_job", "/settings/usage/{done}/"),
    Page("audit", "/settings/audit/"),
    Page("audit_no_match", "/settings/audit/?thing=nothing"),
    Page("system", "/settings/system/"),
    Page("search", "/search/?q=refund"),
    Page("search_no_match", "/search/?q=unheard"),
    Page("sign_in", "/login/", STRANGER),
    Page("error_400", "/errors/400/", status=400),
    Page("error_403", "/tools/new/", VIEWER, 403),
    Page("error_403_form", "/errors/csrf/", status=403),
    Page("error_404", "/jobs/absent/", status=404),
    Page("error_405", "/errors/405/"),
    Page("error_413", "/errors/413/", status=413),
    Page("error_500", "/errors/500/", status=500),
    Page("error_507", "/errors/507/", status=507),
)

NO_PAGES = {
    "home": "leads to the jobs",
    "healthz": "a word for machines",
    "readyz": "a word for machines",
    "job-pulse": "a fragment",
    "jobs-pulse": "a fragment",
    "job-check": "a fragment",
    "preflight-pulse": "a fragment",
    "tryout-pulse": "a fragment",
    "comparison-pulse": "a fragment",
    "job-trajectories-news": "a fragment",
    "trajectory-turn": "a fragment",
    "trajectory-text": "a fragment",
    "trajectory-peek": "a fragment",
    "job-series": "JSON",
    "trajectory-json": "JSON",
    "job-report-json": "JSON",
    "job-spec-json": "JSON",
    "job-proof": "JSON",
    "upload": "JSON",
    "grader-export": "JSON to keep",
    "job-steps-csv": "CSV",
    "compare-chart": "CSV, or a picture to keep",
    "job-results": "CSV",
    "audit-csv": "CSV",
    "dataset-download": "a file",
    "job-adapter": "a file",
    "job-report": "a file",
    "job-checkpoint-download": "a file",
}


def addresses() -> dict[str, Any]:
    """Every named address with its view."""
    return dict(_addresses(get_resolver().url_patterns))


def _addresses(parts: list[Any]) -> Iterator[tuple[str, Any]]:
    for part in parts:
        if isinstance(part, URLResolver):
            yield from _addresses(part.url_patterns)
        elif isinstance(part, URLPattern) and part.name:
            yield part.name, part.callback


def readable() -> set[str]:
    """The names of the addresses that answer a GET, by the guards of their views."""
    return {name for name, view in addresses().items() if "GET" in _methods(view)}


def _methods(view: Any) -> list[str]:
    while view is not None:
        guarded = inspect.getclosurevars(view).nonlocals if inspect.isfunction(view) else {}
        if "request_method_list" in guarded:
            return list(guarded["request_method_list"])
        view = getattr(view, "__wrapped__", None)
    return ["GET", "POST"]
