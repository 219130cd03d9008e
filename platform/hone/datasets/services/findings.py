"""The background report of a version: asked for again, rung for, and used to compare versions."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import numpy as np
from django.core.files.storage import default_storage
from django.db import transaction
from django.utils import timezone

from hone.accounts.models import User
from hone.core.errors import UserError
from hone.datasets.findings.overlap import overlap
from hone.datasets.findings.prints import Prints
from hone.datasets.models import DatasetVersion
from hone.datasets.selectors import access_dataset
from hone.datasets.services.bell import FIND, send

AGAIN_S = 3600
"""A report that was begun and is not there after an hour is begun again."""
RING_S = 300
MOST_RUNG = 20
MOST_LOOKED_AT = 500


def findings_again(*, acting_user: User, version: DatasetVersion) -> None:
    """Look through the rows anew, for instance for a base model that came later."""
    access_dataset(acting_user, version.dataset_id, need="write")
    findings_set(version.pk, {})
    transaction.on_commit(lambda: send(FIND, version.pk))


def findings_compared(first: DatasetVersion, second: DatasetVersion) -> dict[str, Any]:
    """The rows both versions have, from what their reports kept."""
    return overlap(_prints(first), _prints(second))


def findings_sweep() -> int:
    """Ring again for versions whose report was not made; how many those were."""
    now = timezone.now()
    recent = DatasetVersion.objects.filter(
        created_at__gt=now - timedelta(days=1), created_at__lt=now - timedelta(seconds=RING_S)
    )
    rung = 0
    for version in recent.order_by("-created_at")[:MOST_LOOKED_AT]:
        if rung < MOST_RUNG and _is_left(version.findings):
            findings_set(version.pk, {**version.findings, "rung": now.isoformat()})
            rung += send(FIND, version.pk)
    return rung


def _is_left(findings: dict[str, Any]) -> bool:
    """Whether nobody works on the report and no bell was rung of late."""
    if findings.get("state") in {"done", "failed"}:
        return False
    begun, rung = findings.get("begun", ""), findings.get("rung", "")
    return bool(begun < ago(AGAIN_S) and rung < ago(RING_S))


def ago(seconds: float) -> str:
    return (timezone.now() - timedelta(seconds=seconds)).isoformat()


def findings_set(version_id: str, findings: dict[str, Any]) -> bool:
    """Versions never change; what is found out about one does."""
    return DatasetVersion.objects.filter(pk=version_id).update(findings=findings) > 0


def _prints(version: DatasetVersion) -> Prints:
    try:
        with default_storage.open(version.prints_key) as file, np.load(file) as kept:
            return Prints(kept["prompts"], kept["sampled"], kept["signatures"])
    except FileNotFoundError as error:
        raise UserError(
            f"The rows of {version} were not looked through yet. Wait for its report.",
            code="no_report",
            field="other",
        ) from error
