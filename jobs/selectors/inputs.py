"""What a job reads of other apps' versions: files, rows, tool specs and secret headers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

from django.core.exceptions import ValidationError
from django.db.models import Model, QuerySet

from graders.models import GraderVersion
from hone.accounts.models import Organisation
from hone.datasets.models import DatasetVersion
from hone.datasets.selectors import dataset_local_path, dataset_rows
from hone.tools.models import Recording, ToolVersion
from hone.tools.selectors import tool_headers as stored_headers

VersionId = str | int
_Version = TypeVar("_Version", bound=Model)
ROWS_AT_ONCE = 500


def dataset_version(organisation: Organisation, version_id: VersionId) -> DatasetVersion | None:
    """The version, if it is the organisation's; a foreign id is as an absent one."""
    rows = DatasetVersion.objects.filter(dataset__organisation=organisation)
    return _first(rows.select_related("dataset"), version_id)


def tool_version(organisation: Organisation, version_id: VersionId) -> ToolVersion | None:
    """The version, if it is the organisation's."""
    rows = ToolVersion.objects.filter(tool__organisation=organisation)
    return _first(rows.select_related("tool"), version_id)


def grader_version(organisation: Organisation, version_id: VersionId) -> GraderVersion | None:
    """The version, if it is the organisation's."""
    rows = GraderVersion.objects.filter(grader__organisation=organisation)
    return _first(rows.select_related("grader"), version_id)


def recording(organisation: Organisation, recording_id: VersionId) -> Recording | None:
    """The recording, if it is the organisation's."""
    return _first(Recording.objects.filter(organisation=organisation), recording_id)


def _first(rows: QuerySet[_Version], version_id: VersionId) -> _Version | None:
    try:
        return rows.filter(pk=version_id).first()
    except (ValueError, OverflowError, ValidationError):
        return None


def dataset_name(version: DatasetVersion) -> str:
    return f"{version.dataset.name} v{version.number}"


def dataset_path(version: DatasetVersion) -> Path:
    """The version's file on this machine."""
    path = dataset_local_path(version)
    path.stat()
    return path


def dataset_items(version: DatasetVersion) -> Iterator[dict[str, Any]]:
    """All rows in order, one at a time."""
    for start in range(0, version.rows, ROWS_AT_ONCE):
        yield from dataset_rows(version, start, ROWS_AT_ONCE)


def tool_name(version: ToolVersion) -> str:
    return version.tool.name


def tool_spec(version: ToolVersion) -> dict[str, Any]:
    """What the engine is told of a tool; no secrets."""
    return {
        "name": version.tool.name,
        "url": version.url,
        "description": version.description,
        "parameters": version.parameters,
        "effects": version.effects,
        "idempotent": version.idempotent,
        "timeout_s": version.timeout_s,
        "max_concurrency": version.max_concurrency,
        "rate_limit": version.rate_limit,
        "kind": version.kind,
        "remote_name": version.remote_name,
    }


def tool_schema(version: ToolVersion) -> dict[str, Any]:
    """What the model is told of a tool where a row has no tools of its own."""
    return {
        "type": "function",
        "function": {
            "name": version.tool.name,
            "description": version.description,
            "parameters": version.parameters,
        },
    }


def tool_headers(version: ToolVersion) -> dict[str, str]:
    """Decrypted headers, for the engine's pipe alone."""
    return stored_headers(version)
