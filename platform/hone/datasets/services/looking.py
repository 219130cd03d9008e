"""A worker looks through the rows of a version and stores the report beside it."""

from __future__ import annotations

import io
import logging

import numpy as np
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.db import transaction
from django.utils import timezone

from hone.datasets.findings.known import KnownModel, known_models
from hone.datasets.findings.prints import Prints
from hone.datasets.findings.scan import scan
from hone.datasets.models import DatasetVersion
from hone.datasets.services.findings import AGAIN_S, ago, findings_set
from hone.datasets.sources import version_lines

log = logging.getLogger(__name__)


def findings_make(version_id: str) -> bool:
    """Look through the rows, if nobody does; whether a report was made."""
    version = _claimed(version_id)
    if version is None:
        return False
    try:
        found, prints = scan(version_lines(version), version.rows, _models())
        _keep(version, prints)
    except Exception:
        log.exception("%s: the background report broke off", version_id)
        findings_set(version_id, {"state": "failed"})
        raise
    done = {**found, "state": "done", "at": timezone.now().isoformat()}
    return findings_set(version_id, done)


def _claimed(version_id: str) -> DatasetVersion | None:
    with transaction.atomic():
        version = DatasetVersion.objects.select_for_update().filter(pk=version_id).first()
        if version is None or version.findings.get("state") == "done":
            return None
        if version.findings.get("begun", "") > ago(AGAIN_S):
            return None
        begun = {"state": "running", "begun": timezone.now().isoformat()}
        findings_set(version_id, begun)
    return version


def _models() -> list[KnownModel]:
    return [model for listed in known_models for model in listed()]


def _keep(version: DatasetVersion, prints: Prints) -> None:
    packed = io.BytesIO()
    np.savez(
        packed,
        prompts=prints.prompts,
        sampled=prints.sampled,
        signatures=prints.signatures,
    )
    default_storage.delete(version.prints_key)
    default_storage.save(version.prints_key, ContentFile(packed.getvalue()))
