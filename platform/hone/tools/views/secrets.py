"""New values of secret headers. What is typed here is never shown again."""

from __future__ import annotations

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods, require_POST

from hone.accounts.requests import MemberRequest
from hone.core.errors import UserError
from hone.tools.forms import SecretForm
from hone.tools.models import McpServer, Tool
from hone.tools.selectors import (
    access_mcp_server,
    access_tool,
    latest_version,
    secret_list,
    secrets_sent,
)
from hone.tools.services import secret_rotate, secret_withdraw
from hone.tools.views.health import tell


@sensitive_post_parameters("value")
@require_http_methods(["GET", "HEAD", "POST"])
def tool_secrets(request: MemberRequest, tool_id: str) -> HttpResponse:
    tool = access_tool(request.user, tool_id, need="write")
    return _page(request, tool, latest_version(tool).header_names)


@require_POST
def tool_secret_withdraw(request: MemberRequest, tool_id: str, secret_id: str) -> HttpResponse:
    return _withdraw(request, access_tool(request.user, tool_id, need="write"), secret_id)


@sensitive_post_parameters("value")
@require_http_methods(["GET", "HEAD", "POST"])
def server_secrets(request: MemberRequest, server_id: str) -> HttpResponse:
    server = access_mcp_server(request.user, server_id, need="write")
    return _page(request, server, server.header_names)


@require_POST
def server_secret_withdraw(request: MemberRequest, server_id: str, secret_id: str) -> HttpResponse:
    return _withdraw(request, access_mcp_server(request.user, server_id, need="write"), secret_id)


def _page(request: MemberRequest, owner: Tool | McpServer, names: list[str]) -> HttpResponse:
    form = SecretForm(request.POST or None, names=names)
    if form.is_valid():
        try:
            secret = secret_rotate(
                acting_user=request.user,
                owner=owner,
                name=form.cleaned_data["header"],
                value=form.cleaned_data["value"],
            )
            messages.success(request, f"{secret.name} has a new value, number {secret.number}.")
            return redirect(_address(owner))
        except UserError as error:
            form.refuse(error)
    sent = secrets_sent(owner)
    context = {
        "owner": owner,
        "sent": {secret.pk for secret in sent},
        "newer": {secret.name for secret in sent},
        "is_server": isinstance(owner, McpServer),
        "names": names,
        "version": None if isinstance(owner, McpServer) else latest_version(owner),
        "secrets": secret_list(owner),
        "form": form,
    }
    return render(request, "tools/secrets.html", context)


def _withdraw(request: MemberRequest, owner: Tool | McpServer, secret_id: str) -> HttpResponse:
    try:
        secret_withdraw(acting_user=request.user, owner=owner, secret_id=secret_id)
        messages.success(request, "The value is withdrawn; the one before it is sent again.")
    except UserError as error:
        tell(request, error)
    return redirect(_address(owner))


def _address(owner: Tool | McpServer) -> str:
    return reverse(
        "mcp-secrets" if isinstance(owner, McpServer) else "tool-secrets", args=[owner.pk]
    )
