"""Whether what a paused run waits for answers again. Looks only; changes nothing anywhere."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Mapping
from typing import Any

from django.conf import settings

from graders.kinds.judging.judges import CHAT
from hone.core.net.client import post_sync
from hone.core.net.errors import OutboundError
from hone.core.net.policy import OutboundPolicy
from hone.core.secrets import SecretUnreadable
from jobs.errors import StorageFailed
from jobs.models import Job, PauseReason, Run
from jobs.selectors.judges import job_endpoints, job_judges
from jobs.services.artifacts import storage_check

log = logging.getLogger(__name__)

PROBE_TIMEOUT_S = 5.0
NOT_AT_WORK = frozenset({None, 401, 402, 403, 404, 408, 429, 502, 503, 504})
"""What a judge or an endpoint answers that is down, or that somebody has to let in again."""
ROOM_BYTES = 256 * 1024 * 1024


def run_probe(run: Run) -> bool:
    """True where the run may go on; the engine finds out about what cannot be probed."""
    match run.pause_reason:
        case PauseReason.TOOL_UNAVAILABLE:
            if run.job.spec.get("recording"):
                # Nothing is asked that could answer again: its misses are the same every time.
                return False
            return all(_answers(tool) for tool in run.job.spec["tools"])
        case PauseReason.DISK_FULL:
            return _has_room()
        case PauseReason.STORAGE_UNAVAILABLE:
            return _stores()
        case PauseReason.GRADER_UNAVAILABLE:
            return _graders_answer(run.job)
        case PauseReason.SAMPLER_UNAVAILABLE:
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
    status = _status(tool["url"], {}, {})
    return status is not None and status < 500


def _graders_answer(job: Job) -> bool:
    """Whether all judges and endpoints of the job answer what is no question, and costs nothing,
    with anything that speaks of a server at work. What chokes on it is at work. A judge is told
    its model, so that one that has it no more says so."""
    try:
        places = [
            (f"{judge.url.rstrip('/')}{CHAT}", _bearer(judge.key), {"model": judge.model})
            for judge in job_judges(job).values()
        ]
        places += [(url, headers, {}) for url, headers in job_endpoints(job)]
    except SecretUnreadable as error:
        log.warning("A secret of %s cannot be read: %s", job.pk, error)
        return False
    return all(_status(*place) not in NOT_AT_WORK for place in places)


def _bearer(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"} if key else {}


def _status(url: str, headers: Mapping[str, str], told: Mapping[str, str]) -> int | None:
    """The status that `told` is answered with; None without an answer."""
    policy = OutboundPolicy.parse(settings.OUTBOUND_ALLOW)
    sent = {"content-type": "application/json", **headers}
    try:
        content = json.dumps(told).encode()
        return post_sync(
            policy, url, headers=sent, content=content, timeout_s=PROBE_TIMEOUT_S
        ).status
    except OutboundError:
        return None
