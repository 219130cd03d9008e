"""What the workbench measured, for pages of graders, which know nothing of jobs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from django import template

from graders.models import GraderVersion
from jobs.workbench.upkeep import Upkeep, upkeep_of

register = template.Library()
UNKNOWN = Upkeep()


@register.filter
def measured(versions: Iterable[tuple[GraderVersion, object, object]]) -> dict[str, Upkeep]:
    """Of the versions of a list's rows, by id; one query."""
    return upkeep_of(version.pk for version, _, _ in versions)


@register.filter
def of(found: Mapping[str, Upkeep], version_id: str) -> Upkeep:
    """That of one version."""
    return found.get(version_id, UNKNOWN)
