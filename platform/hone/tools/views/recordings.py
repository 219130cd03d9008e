"""Recordings of tool traffic: what is in one, and taking it off the lists."""

from __future__ import annotations

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_POST, require_safe

from hone.accounts.requests import MemberRequest
from hone.core.net.recorded import unpacked
from hone.tools.selectors import access_recording
from hone.tools.services import recording_archive

SHOWN = 100


@require_safe
def recording_page(request: MemberRequest, recording_id: str) -> HttpResponse:
    recording = access_recording(request.user, recording_id)
    entries = unpacked(bytes(recording.content))
    context = {"recording": recording, "entries": entries[:SHOWN], "shown": SHOWN}
    return render(request, "tools/recording.html", context)


@require_POST
def recording_archive_view(request: MemberRequest, recording_id: str) -> HttpResponse:
    recording = access_recording(request.user, recording_id, need="write")
    recording_archive(acting_user=request.user, recording=recording)
    messages.success(request, f"The recording {recording.name} is archived.")
    return redirect("tools")
