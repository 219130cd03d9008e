"""Contract tests as rows: asked for by a person or by the schedule, run by a worker."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.db import transaction
from django.db.models import DateTimeField, ExpressionWrapper, Q
from django.db.models.functions import Now
from django.utils import timezone

from hone.accounts.models import User
from hone.accounts.services import audit_record
from hone.core.errors import UserError
from hone.core.json_text import object_from_text
from hone.tools.models import CheckStatus, Schedule, Tool, ToolCheck, ToolVersion
from hone.tools.selectors import access_tool, latest_version, tool_headers
from hone.tools.services import contract
from hone.tools.services.bell import CHECK, ring

OPEN = (CheckStatus.WAITING, CheckStatus.RUNNING)
KEPT = 300
"""Tests of one tool that are kept."""
DUE_AT_ONCE = 20
RING_AGAIN = timedelta(seconds=60)
LOST = timedelta(minutes=15)
"""After so long a test that runs has no worker any more."""


def tool_check_ask(
    *, acting_user: User, tool: Tool, arguments: str = "", with_load: bool = False
) -> ToolCheck:
    """Queue a contract test of the newest version. The arguments are kept for the next ones."""
    tool = access_tool(acting_user, tool.pk, need="write")
    version = latest_version(tool)
    if tool.archived:
        raise UserError(f"{tool.name} is archived, so it is not tested.", code="archived")
    if arguments.strip():
        object_from_text(arguments, field="arguments")
    if with_load and version.effects == "writes":
        raise UserError(
            f"{tool.name} writes, so it is not tested under load.", code="writes", field="with_load"
        )
    with transaction.atomic():
        locked = Tool.objects.select_for_update().get(pk=tool.pk)
        if ToolCheck.objects.filter(version__tool=locked, status__in=OPEN).exists():
            raise UserError(
                f"A test of {tool.name} is under way. Wait for its result.", code="check_open"
            )
        if locked.check_arguments != arguments:
            locked.check_arguments = arguments
            locked.save(update_fields=["check_arguments"])
        check = ToolCheck.objects.create(
            version=version, with_load=with_load, created_by=acting_user
        )
        audit_record(
            acting_user=acting_user,
            organisation=tool.organisation,
            action="tool.check",
            target=tool.pk,
            detail={"name": tool.name, "version": version.number, "with_load": with_load},
        )
        ring(CHECK, check.pk)
    return check


def tool_schedule_set(*, acting_user: User, tool: Tool, every_min: int) -> Tool:
    """How often the test runs by itself; the first time after one such period."""
    tool = access_tool(acting_user, tool.pk, need="write")
    if every_min not in Schedule.values:
        known = ", ".join(map(str, Schedule.values))
        raise UserError(f"{every_min} minutes is none of {known}.", field="every_min")
    with transaction.atomic():
        Tool.objects.filter(pk=tool.pk).update(
            check_every_min=every_min, next_check_at=_after(every_min) if every_min else None
        )
        audit_record(
            acting_user=acting_user,
            organisation=tool.organisation,
            action="tool.schedule",
            target=tool.pk,
            detail={"name": tool.name, "every_min": every_min},
        )
    tool.refresh_from_db()
    return tool


def tool_check_run(check_id: int) -> ToolCheck | None:
    """Run a waiting test to its end; None where another worker has it or it has ended."""
    waiting = ToolCheck.objects.filter(pk=check_id, status=CheckStatus.WAITING)
    if not waiting.update(status=CheckStatus.RUNNING, started_at=timezone.now()):
        return None
    check = ToolCheck.objects.select_related("version__tool__organisation").get(pk=check_id)
    version = check.version
    try:
        probe = contract.Probe(
            version=version,
            headers=tool_headers(version),
            arguments=check_arguments(version),
            asked=check.created_by_id is not None,
        )
    except UserError as error:
        return _end(check, None, error.message)

    def note(line: contract.Line) -> None:
        check.lines.append(contract.as_json(line))
        check.calls, check.faults = probe.calls, probe.faults
        check.save(update_fields=["lines", "calls", "faults"])

    contract.run(probe, with_load=check.with_load, note=note)
    return _end(check, probe)


def check_arguments(version: ToolVersion) -> str:
    """What the test calls the tool with."""
    return version.tool.check_arguments.strip() or contract.example_text(version.parameters)


def tool_checks_due() -> int:
    """Queue what the schedule wants by now, and see to tests that nobody runs. Any number of
    sweepers may look at once."""
    _see_to_lost()
    due = Tool.objects.filter(next_check_at__lt=Now(), check_every_min__gt=0, archived=False)
    made = 0
    for tool in due.order_by("next_check_at", "pk")[:DUE_AT_ONCE]:
        # Of several sweepers, the one that moves the time queues the test.
        if due.filter(pk=tool.pk).update(next_check_at=_after(tool.check_every_min)):
            made += _queue(tool)
    return made


def _queue(tool: Tool) -> bool:
    with transaction.atomic():
        if ToolCheck.objects.filter(version__tool=tool, status__in=OPEN).exists():
            return False
        check = ToolCheck.objects.create(version=latest_version(tool))
        ring(CHECK, check.pk)
    return True


def _see_to_lost() -> None:
    now = timezone.now()
    lost = Q(status=CheckStatus.RUNNING, started_at__lt=now - LOST)
    for check in ToolCheck.objects.filter(lost)[:DUE_AT_ONCE]:
        _end(check, None, "The worker that ran this test is gone. Run it again.")
    unheard = ToolCheck.objects.filter(
        status=CheckStatus.WAITING, created_at__lt=now - RING_AGAIN
    ).order_by("pk")
    for check in unheard[:DUE_AT_ONCE]:
        # Moving the time keeps bells from piling up where no worker listens.
        if unheard.filter(pk=check.pk).update(created_at=now):
            with transaction.atomic():
                ring(CHECK, check.pk)


def _end(check: ToolCheck, probe: contract.Probe | None, problem: str = "") -> ToolCheck:
    if problem:
        line = contract.Line("broken", "problem", problem)
        check.lines.append(contract.as_json(line))
    check.status, check.error = contract.verdict(check.lines)
    check.ended_at = timezone.now()
    if probe is not None:
        check.calls, check.faults = probe.calls, probe.faults
        check.p50_s = contract.percentile(probe.seconds, 0.5)
        check.p95_s = contract.percentile(probe.seconds, 0.95)
    check.save()
    tests = ToolCheck.objects.filter(version__tool_id=check.version.tool_id).order_by("-pk")
    kept = list(tests.values_list("pk", flat=True)[:KEPT])
    if len(kept) == KEPT:
        tests.filter(pk__lt=kept[-1]).delete()
    return check


def _after(minutes: int) -> ExpressionWrapper[Any]:
    return ExpressionWrapper(Now() + timedelta(minutes=minutes), output_field=DateTimeField())
