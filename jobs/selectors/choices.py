"""What an organisation can choose from when it makes a job: the newest version of each thing."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from graders.models import Grader
from graders.selectors import judge_list, latest_versions
from hone.accounts.models import Organisation
from hone.datasets.models import DatasetVersion
from hone.tools.models import Tool, ToolVersion
from hone.tools.selectors import recording_list
from jobs.selectors.access import base_models_ready

Choice = tuple[Any, str]
MOST_VERSIONS = 500


@dataclass(frozen=True)
class JobChoices:
    """Ids and words for each select of the form."""

    base_models: list[Choice]
    datasets: list[Choice]
    tools: list[Choice]
    graders: list[Choice]
    judges: list[Choice]
    recordings: list[Choice]


def job_choices(organisation: Organisation) -> JobChoices:
    """All choices, in five queries."""
    return JobChoices(
        base_models=[(model.pk, _model_words(model)) for model in base_models_ready()],
        datasets=_datasets(organisation),
        tools=[
            (version.pk, f"{version.tool.name} v{version.number}")
            for version in newest_tools(organisation)
        ],
        graders=[(version.pk, str(version)) for version in latest_versions(organisation)],
        judges=_judges(organisation),
        recordings=[
            (row.pk, f"recording {row.name} · {row.entries} answers")
            for row in recording_list(organisation)
        ],
    )


def newest_version(parent: Tool | Grader) -> Any:
    """What is offered of a tool or a grader; None where it is archived."""
    return None if parent.archived else parent.versions.order_by("-number").first()


def _judges(organisation: Organisation) -> list[Choice]:
    named = [
        f"{judge.name}/{model}"
        for judge in judge_list(organisation)
        for model in judge.models_offered
    ]
    return [(name, name) for name in named]


def _datasets(organisation: Organisation) -> list[Choice]:
    """Every version: an older one is a fair choice, and a clone needs it."""
    rows = DatasetVersion.objects.filter(
        dataset__organisation=organisation, dataset__archived=False
    )
    rows = rows.select_related("dataset").order_by("dataset__name", "-number")[:MOST_VERSIONS]
    return [
        (version.pk, f"{version.dataset.name} v{version.number} · {version.rows} rows")
        for version in rows
    ]


def newest_tools(organisation: Organisation) -> list[ToolVersion]:
    """The newest version of each tool that is not archived, by name."""
    rows = ToolVersion.objects.filter(tool__organisation=organisation, tool__archived=False)
    return _newest(rows.select_related("tool").order_by("tool__name", "number"))


def _newest(versions: Iterable[ToolVersion]) -> list[ToolVersion]:
    last = {version.tool_id: version for version in versions}
    return list(last.values())


def _model_words(model: Any) -> str:
    size = f" · {model.parameters / 1e6:.3g} M" if model.parameters else ""
    context = f" · context {model.context_length}" if model.context_length else ""
    return f"{model.name}{size}{context}"
