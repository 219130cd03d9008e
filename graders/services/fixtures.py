"""Fixtures: samples with the score they must get, run at every save of their grader."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import msgspec
from django.db import IntegrityError, transaction

from graders.errors import GraderArchived, TooManyFixtures
from graders.kinds.base import Grader, Grading, GradingError, Sample
from graders.models import Fixture, FixtureResult, GraderVersion
from graders.models import Grader as GraderRow
from graders.selectors import access_fixture, access_grader, fixture_list, latest_version
from graders.services.ready import AT_ONCE, grade_or_error, grader_ready, version_ready
from hone.accounts.models import Organisation, User
from hone.accounts.services import audit_record
from hone.core import text
from hone.core.errors import UserError
from hone.core.json_text import json_check

MOST = 50
LARGEST = 1_000_000
RUN_S = 60.0
"""All fixtures together; those not begun by then are errors, never passes."""
LARGEST_SCORE = 1e12


@dataclass(frozen=True)
class Outcome:
    """One fixture and what a grader that may not be saved yet gave it."""

    fixture: Fixture
    grading: Grading

    @property
    def passed(self) -> bool:
        return self.fixture.holds(self.grading.reward)


@dataclass(frozen=True)
class Wanted:
    """What a fixture is called and the scores it may get; raises UserError where it cannot be."""

    name: str
    low: float
    high: float

    def __post_init__(self) -> None:
        text.name(self.name)
        for field, value in (("low", self.low), ("high", self.high)):
            if not math.isfinite(value) or abs(value) > LARGEST_SCORE:
                raise UserError(f"{value} is no score. Write a number.", code="range", field=field)
        if self.low > self.high:
            raise UserError(
                f"The most, {self.high:g}, is under the least, {self.low:g}. Swap them.",
                code="range",
                field="high",
            )


def fixture_create(
    *,
    acting_user: User,
    grader: GraderRow,
    wanted: Wanted,
    sample: Sample,
    item: Mapping[str, Any],
    origin: tuple[str, str] = ("", ""),
) -> Fixture:
    """Keep a sample; the newest version is run on it at once. `origin` is words and an address."""
    access_grader(acting_user, grader.id, need="write")
    if grader.archived:
        raise GraderArchived(grader.name)
    kept = _kept(sample, item)
    version = latest_version(grader)
    words, address = origin
    made = Fixture(
        grader=grader,
        name=wanted.name.strip(),
        sample=kept,
        item=dict(item),
        low=wanted.low,
        high=wanted.high,
        origin=words[:200],
        origin_address=address[:200],
        created_by=acting_user,
    )
    with version_ready(version, within_s=RUN_S) as ready:
        outcomes = _run(ready, [made])
    try:
        with transaction.atomic():
            GraderRow.objects.select_for_update().get(pk=grader.pk)
            if grader.fixtures.count() >= MOST:
                raise TooManyFixtures(grader.name, MOST)
            made.save(force_insert=True)
            results_save(version, outcomes)
            _record(acting_user, made, "create")
    except IntegrityError as error:
        raise _taken(wanted.name) from error
    return made


def fixture_change(*, acting_user: User, fixture: Fixture, wanted: Wanted) -> Fixture:
    """Give it another name or range; its sample stays, and so do the scores it got."""
    fixture = access_fixture(acting_user, fixture.grader_id, fixture.pk, need="write")
    before = {"low": fixture.low, "high": fixture.high}
    fixture.name, fixture.low, fixture.high = wanted.name.strip(), wanted.low, wanted.high
    try:
        with transaction.atomic():
            fixture.save(update_fields=["name", "low", "high"])
            _record(acting_user, fixture, "change", before=before)
    except IntegrityError as error:
        raise _taken(wanted.name) from error
    return fixture


def fixture_delete(*, acting_user: User, fixture: Fixture) -> None:
    """Take a fixture away, with what versions gave it."""
    fixture = access_fixture(acting_user, fixture.grader_id, fixture.pk, need="write")
    with transaction.atomic():
        _record(acting_user, fixture, "delete")
        fixture.delete()


def fixtures_rerun(*, acting_user: User, grader: GraderRow) -> list[Outcome]:
    """Run the newest version on all fixtures again, as where a judge did not answer."""
    access_grader(acting_user, grader.id, need="write")
    version = latest_version(grader)
    with version_ready(version, within_s=RUN_S) as ready:
        outcomes = _run(ready, list(fixture_list(grader)))
    with transaction.atomic():
        results_save(version, outcomes)
        audit_record(
            acting_user=acting_user,
            organisation=grader.organisation,
            action="fixture.rerun",
            target=grader.id,
            detail={"version": version.number, "failing": sum(not one.passed for one in outcomes)},
        )
    return outcomes


def fixtures_run(
    organisation: Organisation, spec: Mapping[str, Any], fixtures: Iterable[Fixture]
) -> list[Outcome]:
    """What a grader of `spec` gives each; changes nothing. Raises InvalidSpec."""
    with grader_ready(spec, organisation=organisation, within_s=RUN_S) as ready:
        return _run(ready, list(fixtures))


def results_save(version: GraderVersion, outcomes: Sequence[Outcome]) -> None:
    """Keep what a version gave; what it gave before is replaced."""
    for outcome in outcomes:
        error = outcome.grading.error
        FixtureResult.objects.update_or_create(
            version=version,
            fixture=outcome.fixture,
            defaults={
                "reward": outcome.grading.reward,
                "code": error.code if error else "",
                "message": _plain(error.message) if error else "",
                "seconds": outcome.grading.seconds,
            },
        )


def _run(grader: Grader, fixtures: Sequence[Fixture]) -> list[Outcome]:
    end = time.monotonic() + RUN_S
    with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="fixture") as threads:
        gradings = list(threads.map(lambda fixture: _graded(grader, fixture, end), fixtures))
    return [Outcome(*pair) for pair in zip(fixtures, gradings, strict=True)]


def _graded(grader: Grader, fixture: Fixture, end: float) -> Grading:
    if time.monotonic() > end:
        message = f"It was not run: all fixtures together took longer than {RUN_S:g} s."
        return Grading(reward=None, error=GradingError("other", message, infra=True))
    return grade_or_error(grader, msgspec.convert(fixture.sample, Sample), fixture.item)


def _kept(sample: Sample, item: Mapping[str, Any]) -> dict[str, Any]:
    """The sample as it is stored; UserError where it cannot be."""
    kept: dict[str, Any] = msgspec.to_builtins(sample)
    json_check(kept, field="output_text")
    json_check(item, field="item")
    size = len(json.dumps(kept)) + len(json.dumps(item))
    if size > LARGEST:
        raise UserError(
            f"Sample and row have {size} bytes; a fixture holds at most {LARGEST}.", code="too_long"
        )
    return kept


def _plain(message: str) -> str:
    """As a database column can hold it."""
    shown = message[:4000].replace("\x00", "\N{REPLACEMENT CHARACTER}")
    return shown.encode("utf-8", "replace").decode()


def _taken(name: str) -> UserError:
    return UserError(
        f"There is a fixture named {name} already. Choose another name.",
        code="name_taken",
        field="name",
    )


def _record(acting_user: User, fixture: Fixture, action: str, **detail: Any) -> None:
    audit_record(
        acting_user=acting_user,
        organisation=fixture.grader.organisation,
        action=f"fixture.{action}",
        target=fixture.grader_id,
        detail={"name": fixture.name, "low": fixture.low, "high": fixture.high, **detail},
    )
