"""Whom a job's graders call: judges frozen by id, their secrets opened when an engine starts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from graders.kinds.judging.judges import JudgeEndpoint
from graders.kinds.parts import endpoints_in
from graders.models import GraderVersion, Judge
from graders.selectors import judge_endpoint, judge_models, version_headers
from hone.accounts.models import Organisation
from jobs.engine.spec import GraderRole
from jobs.models import Job

RoleHeaders = dict[GraderRole, dict[str, dict[str, str]]]


def judges_frozen(organisation: Organisation, models: Iterable[str]) -> dict[str, Any]:
    """Who answers for each model as specs name it; those that no judge offers are left out."""
    offered = judge_models(organisation)
    found = {model: offered[model] for model in models if model in offered}
    return {
        named: {"judge": judge.pk, "name": judge.name, "model": model}
        for named, (judge, model) in found.items()
    }


def job_judges(job: Job) -> dict[str, JudgeEndpoint]:
    """The judges of a job as they stand now, with their keys: for a call or the engine's pipe."""
    frozen: dict[str, Any] = job.spec.get("judges") or {}
    ids = [each["judge"] for each in frozen.values()]
    rows = {row.pk: row for row in Judge.objects.filter(organisation=job.organisation, pk__in=ids)}
    return {
        named: judge_endpoint(rows[each["judge"]], each["model"])
        for named, each in frozen.items()
        if each["judge"] in rows
    }


def job_grader_headers(job: Job) -> RoleHeaders:
    """The secret headers of each grader's endpoints: for the engine's pipe alone."""
    found = {role: version_headers(version) for role, version in _versions(job)}
    return {role: headers for role, headers in found.items() if headers}


def job_endpoints(job: Job) -> list[tuple[str, dict[str, str]]]:
    """The URL and the headers of each endpoint grader of the job."""
    found = []
    for _, version in _versions(job):
        secrets = version_headers(version)
        for place, part in endpoints_in(version.spec):
            headers = {**(part.get("headers") or {}), **secrets.get(place, {})}
            found.append((str(part["url"]).strip(), headers))
    return found


def _versions(job: Job) -> Iterator[tuple[GraderRole, GraderVersion]]:
    if job.grader_version is not None:
        yield "grader", job.grader_version
    rewards = job.spec.get("turn_rewards") or {}
    frozen: list[tuple[GraderRole, Any]] = [
        ("turn_grader", rewards.get("grader")),
        ("held_out_grader", job.spec.get("held_out_grader")),
    ]
    for role, whole in frozen:
        if whole:
            rows = GraderVersion.objects.filter(grader__organisation=job.organisation)
            version = rows.select_related("grader").filter(pk=whole["version"]).first()
            if version is not None:
                yield role, version
