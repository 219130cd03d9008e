"""MCP servers: registered, asked for their tools, and their tools imported."""

from __future__ import annotations

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from hone.accounts.requests import MemberRequest, current_organisation
from hone.accounts.selectors import access_organisation
from hone.core.errors import UserError
from hone.tools.forms import ImportForm, ServerForm
from hone.tools.models import McpServer
from hone.tools.selectors import access_mcp_server
from hone.tools.services import (
    address_warning,
    mcp_offers,
    mcp_server_archive,
    mcp_server_ask,
    mcp_server_create,
    mcp_tools_import,
)


@sensitive_post_parameters("headers")
@require_http_methods(["GET", "HEAD", "POST"])
def server_new(request: MemberRequest) -> HttpResponse:
    organisation = current_organisation(request)
    access_organisation(request.user, organisation.id, need="write")
    form = ServerForm(request.POST or None)
    if form.is_valid():
        try:
            server = mcp_server_create(
                acting_user=request.user, organisation=organisation, **form.cleaned_data
            )
            if warning := address_warning(server.url):
                messages.warning(request, warning)
            _ask(request, server)
            return redirect("mcp", server.pk)
        except UserError as error:
            form.refuse(error)
    return render(request, "tools/server_form.html", {"form": form})


@require_safe
def server_page(request: MemberRequest, server_id: str) -> HttpResponse:
    return _detail(request, access_mcp_server(request.user, server_id))


@require_POST
def server_ask(request: MemberRequest, server_id: str) -> HttpResponse:
    server = access_mcp_server(request.user, server_id, need="write")
    _ask(request, server)
    return redirect("mcp", server.pk)


@require_POST
def server_import(request: MemberRequest, server_id: str) -> HttpResponse:
    server = access_mcp_server(request.user, server_id, need="write")
    form = ImportForm(request.POST, names=[offer.name for offer in mcp_offers(server)])
    if form.is_valid():
        try:
            made = mcp_tools_import(acting_user=request.user, server=server, **form.cleaned_data)
            names = ", ".join(str(version) for version in made) or "Nothing new"
            messages.success(request, f"{names}: imported.")
            return redirect("mcp", server.pk)
        except UserError as error:
            form.refuse(error)
    return _detail(request, server, form)


@require_POST
def server_archive(request: MemberRequest, server_id: str) -> HttpResponse:
    server = access_mcp_server(request.user, server_id, need="write")
    mcp_server_archive(acting_user=request.user, server=server)
    messages.success(request, f"{server.name} is archived. Its tools stay as they are.")
    return redirect("tools")


def _ask(request: MemberRequest, server: McpServer) -> None:
    asked = mcp_server_ask(acting_user=request.user, server=server)
    if asked.list_error:
        messages.error(request, f"No list of tools: {asked.list_error}")
    else:
        messages.success(request, f"{asked.name} lists {len(asked.listed)} tools.")


def _detail(
    request: MemberRequest, server: McpServer, form: ImportForm | None = None
) -> HttpResponse:
    offers = mcp_offers(server)
    known = [offer.name for offer in offers]
    context = {
        "server": server,
        "offers": offers,
        "changed": [offer for offer in offers if offer.state in {"changed", "gone"}],
        "form": form or ImportForm(names=known),
    }
    return render(request, "tools/server.html", context)
