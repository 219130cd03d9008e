"""Pages of tools: list, register, change, and a call and a contract test from the page."""

from __future__ import annotations

import json

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from hone.accounts.requests import MemberRequest, current_organisation
from hone.accounts.selectors import access_organisation, may
from hone.core.errors import UserError
from hone.core.htmx import target, vary
from hone.core.net.errors import BLOCKED
from hone.core.pointing import pointing_at
from hone.tools.forms import CallForm, CheckForm, ScheduleForm, ToolForm, typed_version
from hone.tools.models import Tool, ToolVersion
from hone.tools.selectors import (
    access_tool,
    check_list,
    checks_lately,
    latest_checks,
    latest_version,
    masked_headers,
    mcp_server_list,
    recording_list,
    tool_list,
)
from hone.tools.services import (
    TRIAL_S,
    TriedCall,
    address_warning,
    allow_entry,
    check_arguments,
    load_calls,
    tool_archive,
    tool_call,
    tool_check_ask,
    tool_create,
    tool_schedule_set,
    tool_version_add,
)
from hone.tools.views.health import health_of, spark, tell


@require_safe
def tools_page(request: MemberRequest) -> HttpResponse:
    organisation = current_organisation(request)
    checks, lately = latest_checks(organisation), checks_lately(organisation)
    used = pointing_at(ToolVersion, "tool", tool__organisation=organisation)
    rows = [
        {
            "tool": tool,
            "version": list(tool.versions.all())[-1],
            "health": health_of(checks.get(tool.pk)),
            "lately": lately.get(tool.pk),
            "used": used[tool.pk],
        }
        for tool in tool_list(organisation)
    ]
    context = {
        "rows": rows,
        "servers": mcp_server_list(organisation),
        "recordings": recording_list(organisation),
    }
    return render(request, "tools/list.html", context)


@sensitive_post_parameters("headers")
@require_http_methods(["GET", "HEAD", "POST"])
def tool_new(request: MemberRequest) -> HttpResponse:
    organisation = current_organisation(request)
    access_organisation(request.user, organisation.id, need="write")
    form = ToolForm(request.POST or None)
    if form.is_valid():
        try:
            version = tool_create(
                acting_user=request.user,
                organisation=organisation,
                name=form.cleaned_data["name"],
                fields=form.read_fields(),
            )
            messages.success(request, f"{version.tool.name} is registered. Try it here.")
            _warn(request, version)
            return redirect("tool", version.tool_id)
        except UserError as error:
            form.refuse(error)
    return render(request, "tools/form.html", {"form": form})


@sensitive_post_parameters("headers")
@require_http_methods(["GET", "HEAD", "POST"])
def tool_edit(request: MemberRequest, tool_id: str) -> HttpResponse:
    tool = access_tool(request.user, tool_id, need="write")
    before = latest_version(tool)
    form = ToolForm(request.POST or None, before=before, initial=typed_version(before))
    if form.is_valid():
        try:
            version = tool_version_add(
                acting_user=request.user, tool=tool, fields=form.read_fields()
            )
            messages.success(request, f"{version} is the newest version.")
            _warn(request, version)
            return redirect("tool", tool.pk)
        except UserError as error:
            form.refuse(error)
    return render(request, "tools/form.html", {"form": form, "tool": tool, "before": before})


@require_safe
def tool_page(request: MemberRequest, tool_id: str) -> HttpResponse:
    """The tool; with `HX-Target: contract` its contract test alone."""
    tool = access_tool(request.user, tool_id)
    if target(request) == "contract":
        context = _tests(tool, latest_version(tool), CheckForm(auto_id="check_%s"))
        context["fragment"] = not tool.archived
        return vary(render(request, "tools/contract.html", context))
    return _detail(request, tool, _call_form(request, tool))


@require_POST
def tool_call_view(request: MemberRequest, tool_id: str) -> HttpResponse:
    tool = access_tool(request.user, tool_id, need="write")
    form, tried = _call_form(request, tool), None
    if form.is_valid():
        try:
            tried = tool_call(
                acting_user=request.user,
                version=latest_version(tool),
                arguments=form.cleaned_data["arguments"],
                item=form.read_item(),
                replay=form.read_replay(),
                record_as=form.cleaned_data["record_as"],
            )
        except UserError as error:
            form.refuse(error)
    return _detail(request, tool, form, tried)


@require_POST
def tool_check_view(request: MemberRequest, tool_id: str) -> HttpResponse:
    tool = access_tool(request.user, tool_id, need="write")
    form = CheckForm(request.POST)
    if form.is_valid():
        try:
            tool_check_ask(acting_user=request.user, tool=tool, **form.cleaned_data)
        except UserError as error:
            tell(request, error)
    return redirect(f"/tools/{tool.pk}/#contract")


@require_POST
def tool_schedule_view(request: MemberRequest, tool_id: str) -> HttpResponse:
    tool = access_tool(request.user, tool_id, need="write")
    form = ScheduleForm(request.POST)
    if form.is_valid():
        tool_schedule_set(acting_user=request.user, tool=tool, **form.cleaned_data)
        messages.success(request, "The schedule is set.")
    else:
        messages.error(request, "Nothing was changed: choose one of the listed periods.")
    return redirect(f"/tools/{tool.pk}/#contract")


@require_POST
def tool_archive_view(request: MemberRequest, tool_id: str) -> HttpResponse:
    tool = access_tool(request.user, tool_id, need="write")
    tool_archive(acting_user=request.user, tool=tool)
    messages.success(request, f"{tool.name} is archived. Jobs that use it keep it.")
    return redirect("tools")


def _warn(request: MemberRequest, version: ToolVersion) -> None:
    if warning := address_warning(version.url):
        messages.warning(request, warning)


def _allow(request: MemberRequest, version: ToolVersion, tried: TriedCall | None) -> str:
    """What the operator adds to let a blocked address be called; blank where none is blocked."""
    check = version.checks.order_by("-pk").first()
    said = [tried.outcome.error] if tried else [check.error if check else ""]
    blocked = any(BLOCKED in each for each in said)
    if not blocked or not may(request.user, version.tool.organisation_id, "admin"):
        return ""
    return allow_entry(version.url)


def _call_form(request: MemberRequest, tool: Tool) -> CallForm:
    recordings = list(recording_list(tool.organisation))
    if request.method == "POST":
        return CallForm(request.POST, recordings=recordings)
    example = check_arguments(latest_version(tool))
    return CallForm(initial={"arguments": example, "item": "{}"}, recordings=recordings)


def _tests(tool: Tool, version: ToolVersion, form: CheckForm) -> dict[str, object]:
    """The contract tests of a tool, the newest first."""
    checks = check_list(tool)
    ended = [check for check in checks if not check.is_open]
    return {
        "tool": tool,
        "version": version,
        "checks": ended,
        "check": checks[0] if checks else None,
        "last_errors": [check for check in ended if check.error][:5],
        "health": health_of(ended[0] if ended else None),
        "spark": spark([check.p95_s for check in reversed(ended)]),
        "check_form": form,
        "schedule_form": ScheduleForm(
            initial={"every_min": tool.check_every_min}, auto_id="schedule_%s"
        ),
        "load_calls": load_calls(version),
    }


def _detail(
    request: MemberRequest, tool: Tool, form: CallForm, tried: TriedCall | None = None
) -> HttpResponse:
    version = latest_version(tool)
    check_form = CheckForm(initial={"arguments": check_arguments(version)}, auto_id="check_%s")
    context = {
        **_tests(tool, version, check_form),
        "versions": tool.versions.select_related("created_by").order_by("-number"),
        "schema": json.dumps(version.parameters, indent=2, ensure_ascii=False),
        "headers": masked_headers(version),
        "form": form,
        "tried": tried,
        "allow": _allow(request, version, tried),
        "trial_s": min(version.timeout_s, TRIAL_S),
        "sent": json.dumps(tried.request, indent=2, ensure_ascii=False) if tried else "",
    }
    return vary(render(request, "tools/detail.html", context))
