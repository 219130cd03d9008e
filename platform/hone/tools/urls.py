"""Addresses of the pages of tools, MCP servers and recordings."""

from __future__ import annotations

from django.urls import URLPattern, URLResolver, include, path

from hone.tools.views import recordings, secrets, servers, tools

tool_urls: list[URLPattern | URLResolver] = [
    path("", tools.tool_page, name="tool"),
    path("edit/", tools.tool_edit, name="tool-edit"),
    path("call/", tools.tool_call_view, name="tool-call"),
    path("check/", tools.tool_check_view, name="tool-check"),
    path("schedule/", tools.tool_schedule_view, name="tool-schedule"),
    path("archive/", tools.tool_archive_view, name="tool-archive"),
    path("secrets/", secrets.tool_secrets, name="tool-secrets"),
    path(
        "secrets/<str:secret_id>/withdraw/",
        secrets.tool_secret_withdraw,
        name="tool-secret-withdraw",
    ),
]

server_urls: list[URLPattern | URLResolver] = [
    path("", servers.server_page, name="mcp"),
    path("ask/", servers.server_ask, name="mcp-ask"),
    path("import/", servers.server_import, name="mcp-import"),
    path("archive/", servers.server_archive, name="mcp-archive"),
    path("secrets/", secrets.server_secrets, name="mcp-secrets"),
    path(
        "secrets/<str:secret_id>/withdraw/",
        secrets.server_secret_withdraw,
        name="mcp-secret-withdraw",
    ),
]

urlpatterns: list[URLPattern | URLResolver] = [
    path("tools/", tools.tools_page, name="tools"),
    path("tools/new/", tools.tool_new, name="tool-new"),
    path("tools/<str:tool_id>/", include(tool_urls)),
    path("mcp/new/", servers.server_new, name="mcp-new"),
    path("mcp/<str:server_id>/", include(server_urls)),
    path("recordings/<str:recording_id>/", recordings.recording_page, name="recording"),
    path(
        "recordings/<str:recording_id>/archive/",
        recordings.recording_archive_view,
        name="recording-archive",
    ),
]
