"""Whether what a paused run waits for answers again. Looks only; changes nothing anywhere."""

from __future__ import annotations

import logging
import shutil
from typing import Any

from django.conf import settings

from hone.core.net.client import post_sync
from hone.core.net.errors import OutboundError
from hone.core.net.policy import OutboundPolicy
from jobs.errors import StorageFailed
from jobs.models import PauseReason, Run
from jobs.services.artifacts import storage_check

log = logging.getLogger(__name__)

PROBE_TIMEOUT_S = 5.0
ROOM_BYTES = 256 * 1024 * 1024


def run_probe(run: Run) -> bool:
    """True where the run may go on; the engine finds out about what cannot be probed."""
    match run.pause_reason:
        case PauseReason.TOOL_UNAVAILABLE:
            return all(_answers(tool) for tool in run.job.spec["tools"])
        case PauseReason.DISK_FULL:
            return _has_room()
        case PauseReason.STORAGE_UNAVAILABLE:
            return _stores()
        case PauseReason.GRADER_UNAVAILABLE:
            return True
    return False


def _has_room() -> bool:
    try:
        return shutil.disk_usage(settings.MEDIA_ROOT).free > ROOM_BYTES
    except OSError as error:
        log.warning("The room in %s is not known: %s", settings.MEDIA_ROOT, error)
        return False


def _stores() -> bool:
    try:
        storage_check()
    except StorageFailed as error:
        log.info("The file storage does not answer: %s", error)
        return False
    return True


def _answers(tool: dict[str, Any]) -> bool:
    """Whether the endpoint answers an empty object, which is no call, with anything but a 5xx.

    An endpoint that writes is not asked: the engine's next real call is the probe.
    """
    if tool["effects"] == "writes":
        return True
    policy = OutboundPolicy.parse(settings.OUTBOUND_ALLOW)
    headers = {"content-type": "application/json"}
    try:
        answer = post_sync(
            policy, tool["url"], headers=headers, content=b"{}", timeout_s=PROBE_TIMEOUT_S
        )
    except OutboundError:
        return False
    return answer.status < 500
