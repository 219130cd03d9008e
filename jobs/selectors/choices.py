"""What an organisation can choose from when it makes a job: the newest version of each thing."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from django.db.models import QuerySet

from graders.models import GraderVersion
from graders.selectors import judge_list
from hone.accounts.models import Organisation
from hone.datasets.models import DatasetVersion
from hone.tools.models import ToolVersion
from hone.tools.selectors import recording_list
from jobs.selectors.access import base_models_ready

Choice = tuple[Any, str]
MOST_VERSIONS = 500


@dataclass(frozen=True)
class Version:
    """A version of a tool or a grader, `parent`."""

    pk: str
    parent: str
    name: str
    number: int


class Versions:
    """Every version of what is not archived; the newest of each is on offer."""

    def __init__(self, oldest_first: Iterable[Version]) -> None:
        self._known = {version.pk: version for version in oldest_first}
        self._newest = {version.parent: version for version in self._known.values()}

    @property
    def offered(self) -> list[Choice]:
        """By name."""
        newest = sorted(self._newest.values(), key=lambda version: (version.name, version.parent))
        return [(version.pk, f"{version.name} v{version.number}") for version in newest]

    def renewed(self, version_id: str | None) -> tuple[Version, Version] | None:
        """The version and the newest of the same thing; None where that is archived or gone."""
        known = self._known.get(version_id or "")
        return (known, self._newest[known.parent]) if known else None


@dataclass(frozen=True)
class JobChoices:
    """Ids and words for each select of the form."""

    base_models: list[Choice]
    datasets: list[Choice]
    tools: Versions
    graders: Versions
    judges: list[Choice]
    recordings: list[Choice]


def job_choices(organisation: Organisation) -> JobChoices:
    """All choices, in six queries."""
    return JobChoices(
        base_models=base_model_choices(),
        datasets=dataset_choices(organisation),
        tools=_versions(ToolVersion.objects.filter(tool__organisation=organisation), "tool"),
        graders=grader_versions(organisation),
        judges=_judges(organisation),
        recordings=recording_choices(organisation),
    )


def base_model_choices() -> list[Choice]:
    """By name, with size and context."""
    return [(model.pk, _model_words(model)) for model in base_models_ready()]


def grader_versions(organisation: Organisation) -> Versions:
    """Of the graders that are not archived."""
    return _versions(GraderVersion.objects.filter(grader__organisation=organisation), "grader")


def recording_choices(organisation: Organisation) -> list[Choice]:
    """By name, with what each can answer."""
    return [
        (row.pk, f"recording {row.name} · {row.entries} answers")
        for row in recording_list(organisation)
    ]


def _judges(organisation: Organisation) -> list[Choice]:
    named = [
        f"{judge.name}/{model}"
        for judge in judge_list(organisation)
        for model in judge.models_offered
    ]
    return [(name, name) for name in named]


def dataset_choices(organisation: Organisation) -> list[Choice]:
    """Every version: an older one is a fair choice, and a clone needs it."""
    rows = DatasetVersion.objects.filter(
        dataset__organisation=organisation, dataset__archived=False
    )
    rows = rows.select_related("dataset").order_by("dataset__name", "-number")[:MOST_VERSIONS]
    return [
        (version.pk, f"{version.dataset.name} v{version.number} · {version.rows} rows")
        for version in rows
    ]


def _versions(rows: QuerySet[Any], parent: str) -> Versions:
    kept = rows.filter(**{f"{parent}__archived": False}).order_by("number")
    fields = ("pk", f"{parent}_id", f"{parent}__name", "number")
    return Versions(Version(*found) for found in kept.values_list(*fields))


def newest_tools(organisation: Organisation) -> list[ToolVersion]:
    """The newest version of each tool that is not archived, by name."""
    rows = ToolVersion.objects.filter(tool__organisation=organisation, tool__archived=False)
    in_order = rows.select_related("tool").order_by("tool__name", "number")
    return list({version.tool_id: version for version in in_order}.values())


def _model_words(model: Any) -> str:
    size = f" · {model.parameters / 1e6:.3g} M" if model.parameters else ""
    context = f" · context {model.context_length}" if model.context_length else ""
    return f"{model.name}{size}{context}"
