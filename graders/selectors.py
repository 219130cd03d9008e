"""Reading graders; every fetch by id goes through an access door."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import cast

from django.contrib.auth.models import AnonymousUser
from django.db.models import QuerySet
from django.http import Http404

from graders.kinds.judging.judges import JudgeEndpoint
from graders.models import Fixture, FixtureResult, Grader, GraderVersion, Judge
from hone.accounts.models import Organisation, User
from hone.accounts.selectors import Need, access_row
from hone.core.secrets import decrypt


def access_grader(user: User | AnonymousUser, grader_id: str, *, need: Need = "read") -> Grader:
    """The grader, if the user may `need` it; raises as `access_row` does."""
    return access_row(Grader.objects.select_related("organisation"), user, grader_id, need=need)


def access_grader_version(
    user: User | AnonymousUser, version_id: str, *, need: Need = "read"
) -> GraderVersion:
    """The version, if the user may `need` its grader; raises as `access_row` does."""
    versions = GraderVersion.objects.select_related("grader__organisation", "created_by")
    return access_row(versions, user, version_id, need=need)


def access_judge(user: User | AnonymousUser, judge_id: str, *, need: Need = "read") -> Judge:
    """The judge, if the user may `need` it; raises as `access_row` does."""
    return access_row(Judge.objects.select_related("organisation"), user, judge_id, need=need)


def judge_list(organisation: Organisation, *, archived: bool = False) -> QuerySet[Judge]:
    """The organisation's judges by name."""
    judges = Judge.objects.filter(organisation=organisation, archived=archived)
    return judges.select_related("created_by").order_by("name", "id")


def judge_models(organisation: Organisation) -> dict[str, tuple[Judge, str]]:
    """What a spec may name as its `model`: `judge/model`, and a model alone where exactly one
    judge offers it; each with the judge and the name that the judge knows."""
    offered = [
        (judge, model) for judge in judge_list(organisation) for model in judge.models_offered
    ]
    times = Counter(model for _, model in offered)
    named = {model: (judge, model) for judge, model in offered if times[model] == 1}
    return named | {f"{judge.name}/{model}": (judge, model) for judge, model in offered}


def judge_endpoint(judge: Judge, model: str) -> JudgeEndpoint:
    """The judge as it is called, with its key: for a call or the engine's pipe, never a page."""
    key = decrypt(judge.key_sealed, place=judge.secret_place) if judge.key_sealed else ""
    return JudgeEndpoint(
        url=judge.base_url,
        model=model,
        key=key,
        timeout_s=judge.timeout_s,
        max_concurrency=judge.max_concurrency,
        per_minute=float(judge.per_minute),
        input_price=float(judge.input_price),
        output_price=float(judge.output_price),
    )


def version_headers(version: GraderVersion) -> dict[str, dict[str, str]]:
    """The secret headers of its endpoint graders, by place, in plain text: as for a judge's key."""
    if not version.headers_sealed:
        return {}
    opened: dict[str, dict[str, str]] = json.loads(
        decrypt(version.headers_sealed, place=version.secret_place)
    )
    return opened


def access_grader_version_number(
    user: User | AnonymousUser, grader_id: str, number: int
) -> GraderVersion:
    """Version `number` of the grader, if the user may read it."""
    grader = access_grader(user, grader_id)
    found = version_list(grader).filter(number=number).first()
    return found if found is not None else access_row(version_list(grader).none(), user, grader_id)


def grader_list(organisation: Organisation, *, archived: bool = False) -> QuerySet[Grader]:
    """The organisation's graders by name."""
    graders = Grader.objects.filter(organisation=organisation, archived=archived)
    return graders.select_related("created_by").order_by("name", "id")


def grader_search(organisation: Organisation, text: str, limit: int) -> list[Grader]:
    """Graders whose name holds the text, archived ones last."""
    rows = Grader.objects.filter(organisation=organisation, name__icontains=text)
    return list(rows.order_by("archived", "name", "id")[:limit])


def version_list(grader: Grader) -> QuerySet[GraderVersion]:
    """The grader's versions, newest first."""
    return grader.versions.select_related("grader", "created_by").order_by("-number")


def latest_version(grader: Grader) -> GraderVersion:
    """The newest version; every grader has one."""
    return cast(GraderVersion, version_list(grader).first())


def latest_versions(organisation: Organisation) -> list[GraderVersion]:
    """The newest version of each grader that is not archived, by the grader's name."""
    newest: dict[str, GraderVersion] = {}
    versions = GraderVersion.objects.filter(
        grader__organisation=organisation, grader__archived=False
    )
    for version in versions.select_related("grader", "created_by").order_by("number"):
        newest[version.grader_id] = version
    return sorted(newest.values(), key=lambda version: (version.grader.name, version.grader_id))


@dataclass(frozen=True)
class FixtureCount:
    """How many fixtures of a version's grader pass; `run` is how many it was run on."""

    passed: int
    run: int

    @property
    def failing(self) -> int:
        return self.run - self.passed


def access_fixture(
    user: User | AnonymousUser, grader_id: str, fixture_id: int, *, need: Need = "read"
) -> Fixture:
    """The fixture of a grader that the user may `need`."""
    grader = access_grader(user, grader_id, need=need)
    rows = Fixture.objects.select_related("grader__organisation", "created_by")
    found = rows.filter(grader=grader, pk=fixture_id).first() if fixture_id < 2**63 else None
    if found is None:
        raise Http404("There is nothing here that you can see.")
    return found


def fixture_list(grader: Grader) -> QuerySet[Fixture]:
    """The grader's fixtures, oldest first."""
    return grader.fixtures.select_related("created_by").order_by("pk")


def fixture_results(version: GraderVersion) -> dict[int, FixtureResult]:
    """What the version gave each fixture that it was run on, by the fixture's id."""
    rows = FixtureResult.objects.filter(version=version).select_related("fixture")
    return {row.fixture_id: row for row in rows}


def fixture_counts(versions: Iterable[GraderVersion]) -> dict[str, FixtureCount]:
    """Fixtures that pass, by version; one query for a whole list."""
    rows = FixtureResult.objects.filter(version__in=[version.pk for version in versions])
    counts: dict[str, FixtureCount] = {}
    for row in rows.select_related("fixture").defer("fixture__sample", "fixture__item"):
        before = counts.get(row.version_id, FixtureCount(0, 0))
        counts[row.version_id] = FixtureCount(before.passed + row.passed, before.run + 1)
    return counts
