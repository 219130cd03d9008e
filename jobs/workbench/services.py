"""Asking for a comparison, ending it, marking a trajectory and keeping one as a fixture."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.db import transaction
from django.db.models.functions import Now

from graders.kinds.parts import endpoints_in
from graders.models import Fixture, Grader, GraderVersion
from graders.services import Wanted, fixture_create, spec_check
from hone.accounts.models import User
from hone.accounts.services import audit_record
from hone.core.errors import UserError
from jobs.engine.rollout.grading import make_sample
from jobs.models import (
    OPEN_COMPARISON,
    ComparedScore,
    Comparison,
    ComparisonStatus,
    HumanMark,
    Job,
    Trajectory,
)
from jobs.selectors import access_job, access_trajectory, trajectory_body
from jobs.selectors.tasks import task_item
from jobs.services.bell import send
from jobs.workbench.mutations import LOW, WORDS, with_answer
from jobs.workbench.plan import drawn, units
from jobs.workbench.selectors import Selection, access_comparison, candidates, mark_range

COMPARE = "jobs.compare"
MOST_TRAJECTORIES = 5_000
MOST_REPEATS = 20
MOST_OPEN = 4
"""Of one organisation: they share the worker that uploads and trials use."""


@dataclass(frozen=True)
class Side:
    """A grader to compare: of a version, or not saved yet. `spec` None: the stored rewards."""

    label: str
    spec: Mapping[str, Any] | None
    version: GraderVersion | None = None

    @staticmethod
    def of(version: GraderVersion) -> Side:
        return Side(str(version), version.spec, version)


STORED = Side("stored rewards", None)


def comparison_create(
    *,
    acting_user: User,
    job: Job,
    sides: tuple[Side, Side],
    selection: Selection,
    repeats: int = 0,
    mutations: bool = False,
) -> Comparison:
    """Queue two graders over trajectories of a job, which stays as it is."""
    job = access_job(acting_user, job.pk, need="write")
    first, second = sides
    if second.spec is None or first.spec == second.spec:
        raise UserError(
            "Both sides are the same, so there is nothing to compare. Choose another grader for B.",
            code="same_sides",
            field="b",
        )
    for side in sides:
        if side.version is None and side.spec is not None and _has_headers(side.spec):
            raise UserError(
                "A draft is kept with its comparison, and this one holds headers, which may be "
                "secret. Save it first: the headers of a version are kept apart.",
                code="draft_headers",
                field="draft",
            )
        if side.spec is not None:
            spec_check(side.spec, organisation=job.organisation if side.version is None else None)
    found = _found(job, selection, repeats)
    chosen = drawn(found, selection.most)
    with transaction.atomic():
        # Whoever else asks in this organisation waits here until this one is written.
        type(job.organisation).objects.select_for_update().get(pk=job.organisation_id)
        _refuse_too_many(job)
        comparison = Comparison.objects.create(
            job=job,
            label_a=first.label[:120],
            spec_a=first.spec,
            version_a=first.version,
            label_b=second.label[:120],
            spec_b=second.spec,
            version_b=second.version,
            first_step=selection.first_step,
            last_step=selection.last_step,
            split=selection.split,
            matching=len(found),
            chosen=chosen,
            repeats=repeats,
            mutations=mutations,
            total=len(units(chosen, repeats=repeats, mutations=mutations)),
            rung_at=Now(),
            created_by=acting_user,
        )
        _note(acting_user, comparison, "create")
        transaction.on_commit(lambda: send(COMPARE, comparison.pk))
    return comparison


def comparison_cancel(*, acting_user: User, comparison: Comparison) -> None:
    """End it as it is: what was graded stays, and its worker stops after the samples at hand."""
    comparison = access_comparison(acting_user, comparison.pk, need="write")
    with transaction.atomic():
        still = Comparison.objects.filter(pk=comparison.pk, status__in=OPEN_COMPARISON)
        if not still.update(status=ComparisonStatus.CANCELLED, lease_until=None, finished_at=Now()):
            raise UserError(
                f"This comparison is {comparison.get_status_display().lower()} already and cannot "
                "be cancelled.",
                code="wrong_state",
            )
        _note(acting_user, comparison, "cancel")


def comparison_delete(*, acting_user: User, comparison: Comparison) -> None:
    """Take away a comparison that has ended, with its scores. Marks and trajectories stay."""
    comparison = access_comparison(acting_user, comparison.pk, need="write")
    if comparison.is_open:
        raise UserError("This comparison has not ended. Cancel it first.", code="wrong_state")
    with transaction.atomic():
        _note(acting_user, comparison, "delete")
        comparison.delete()


def mark_set(*, acting_user: User, trajectory: Trajectory, value: float | None) -> None:
    """Say what a trajectory's answer is worth; None takes one's own mark away."""
    job = access_job(acting_user, trajectory.run.job_id, need="write")
    trajectory = access_trajectory(acting_user, job.pk, trajectory.pk, need="write")
    if value is not None:
        low, high = mark_range(job.grader_version.spec if job.grader_version else None)
        if not (math.isfinite(value) and low <= value <= high):
            raise UserError(
                f"{value:g} is no mark here. Use a number from {low:g} to {high:g}.",
                code="out_of_range",
                field="value",
            )
    with transaction.atomic():
        if value is None:
            HumanMark.objects.filter(trajectory=trajectory, user=acting_user).delete()
        else:
            HumanMark.objects.update_or_create(
                trajectory=trajectory, user=acting_user, defaults={"value": value}
            )
        audit_record(
            acting_user=acting_user,
            organisation=job.organisation,
            action="job.mark",
            target=job.pk,
            detail={"trajectory": trajectory.uid, "value": value},
        )


def trajectory_keep(
    *, acting_user: User, trajectory: Trajectory, grader: Grader, wanted: Wanted, address: str
) -> Fixture:
    """Keep a stored trajectory as a fixture: what graders saw of it, and its row. `address` is
    the page that shows where it comes from."""
    job = access_job(acting_user, trajectory.run.job_id, need="write")
    trajectory = access_trajectory(acting_user, job.pk, trajectory.pk, need="write")
    return fixture_create(
        acting_user=acting_user,
        grader=grader,
        wanted=wanted,
        sample=make_sample(trajectory_body(trajectory), job.spec.get("response_format")),
        item=task_item(job, trajectory),
        origin=(f"{trajectory.uid} of {job.name}", address),
    )


def forgery_keep(
    *, acting_user: User, score: ComparedScore, version: GraderVersion, address: str
) -> Fixture:
    """Keep a changed answer as a fixture of the version's grader: it must get next to nothing."""
    comparison = access_comparison(acting_user, score.comparison_id, need="write")
    job, row = comparison.job, score.trajectory
    body = with_answer(trajectory_body(row), score.answer)
    least = min(0.0, mark_range(version.spec)[0])
    return fixture_create(
        acting_user=acting_user,
        grader=version.grader,
        wanted=Wanted(f"{row.uid} with {WORDS[score.case]}"[:100], least, LOW),
        sample=make_sample(body, job.spec.get("response_format")),
        item=task_item(job, row),
        origin=(f"{row.uid} of {job.name}, changed", address),
    )


def _found(job: Job, selection: Selection, repeats: int) -> list[Any]:
    for name, value, least, most in (
        ("most", selection.most, 1, MOST_TRAJECTORIES),
        ("repeats", repeats, 0, MOST_REPEATS),
    ):
        if not least <= value <= most:
            raise UserError(
                f"{value} was asked for; choose {least} to {most}.", code="out_of_range", field=name
            )
    found = candidates(job, selection)
    if not found:
        raise UserError(
            f"{job.name} has no stored trajectory of these steps that can be graded. Choose other "
            "steps, or a job that has finished a step.",
            code="no_trajectories",
            field="job",
        )
    return found


def _has_headers(spec: Mapping[str, Any]) -> bool:
    """Whether any endpoint grader in the spec has headers that are not empty."""
    return any(part.get("headers") for _, part in endpoints_in(spec))


def _refuse_too_many(job: Job) -> None:
    waiting = Comparison.objects.filter(
        job__organisation=job.organisation, status__in=OPEN_COMPARISON
    )
    if waiting.count() >= MOST_OPEN:
        raise UserError(
            f"{MOST_OPEN} comparisons of your organisation have not ended yet. Wait for one of "
            "them or cancel one.",
            code="too_many_comparisons",
        )


def _note(acting_user: User, comparison: Comparison, action: str) -> None:
    audit_record(
        acting_user=acting_user,
        organisation=comparison.job.organisation,
        action=f"comparison.{action}",
        target=comparison.pk,
        detail={"a": comparison.label_a, "b": comparison.label_b, "job": comparison.job_id},
    )
