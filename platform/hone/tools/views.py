"""Pages of tools: list, register, change, and a call from the page."""

from __future__ import annotations

import json

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from hone.accounts.requests import MemberRequest, current_organisation
from hone.accounts.selectors import access_organisation
from hone.core.errors import UserError
from hone.tools.forms import CallForm, ToolForm, example_arguments, typed_version
from hone.tools.models import Tool, ToolVersion
from hone.tools.selectors import access_tool, latest_version, masked_headers, tool_list
from hone.tools.services import (
    TRIAL_S,
    TriedCall,
    address_warning,
    tool_archive,
    tool_call,
    tool_create,
    tool_version_add,
)


@require_safe
def tools_page(request: MemberRequest) -> HttpResponse:
    tools = tool_list(current_organisation(request))
    rows = [(tool, list(tool.versions.all())[-1]) for tool in tools]
    return render(request, "tools/list.html", {"rows": rows})


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
    form = ToolForm(request.POST or None, named=True, initial=typed_version(before))
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
    tool = access_tool(request.user, tool_id)
    example = example_arguments(latest_version(tool).parameters)
    return _detail(request, tool, CallForm(initial={"arguments": example, "item": "{}"}))


@require_POST
def tool_call_view(request: MemberRequest, tool_id: str) -> HttpResponse:
    tool = access_tool(request.user, tool_id, need="write")
    form, tried = CallForm(request.POST), None
    if form.is_valid():
        try:
            tried = tool_call(
                acting_user=request.user,
                version=latest_version(tool),
                arguments=form.cleaned_data["arguments"],
                item=form.read_item(),
            )
        except UserError as error:
            form.refuse(error)
    return _detail(request, tool, form, tried)


@require_POST
def tool_archive_view(request: MemberRequest, tool_id: str) -> HttpResponse:
    tool = access_tool(request.user, tool_id, need="write")
    tool_archive(acting_user=request.user, tool=tool)
    messages.success(request, f"{tool.name} is archived. Jobs that use it keep it.")
    return redirect("tools")


def _warn(request: MemberRequest, version: ToolVersion) -> None:
    if warning := address_warning(version.url):
        messages.warning(request, warning)


def _detail(
    request: MemberRequest, tool: Tool, form: CallForm, tried: TriedCall | None = None
) -> HttpResponse:
    version = latest_version(tool)
    context = {
        "tool": tool,
        "version": version,
        "versions": tool.versions.select_related("created_by").order_by("-number"),
        "schema": json.dumps(version.parameters, indent=2, ensure_ascii=False),
        "headers": masked_headers(version),
        "form": form,
        "tried": tried,
        "trial_s": min(version.timeout_s, TRIAL_S),
        "sent": json.dumps(tried.request, indent=2, ensure_ascii=False) if tried else "",
    }
    return render(request, "tools/detail.html", context)
