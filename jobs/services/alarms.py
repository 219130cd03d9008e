"""What a person does about an alarm: say that it was seen."""

from __future__ import annotations

from django.db import transaction
from django.db.models import Max

from hone.accounts.models import User
from hone.accounts.services import audit_record
from hone.core.errors import UserError
from jobs.engine.alarms import ALARMS
from jobs.models import AlarmSeen, Job, JobEvent
from jobs.selectors.access import access_job


def alarm_see(*, acting_user: User, job: Job, rule: str, step: int) -> AlarmSeen:
    """Quiet an alarm for this person until its rule tells something after `step`.

    A step at which it had told nothing yet counts as the last one at which it had.
    """
    job = access_job(acting_user, job.pk, need="write")
    told = JobEvent.objects.filter(job=job, code=rule, step__lte=step) if rule in ALARMS else None
    last = told.aggregate(last=Max("step"))["last"] if told is not None else None
    if last is None:
        raise UserError(
            f"{rule} told nothing of {job.pk} up to step {step}, so there is nothing to see.",
            code="no_such_alarm",
        )
    with transaction.atomic():
        seen, made = AlarmSeen.objects.select_for_update().get_or_create(
            job=job, user=acting_user, rule=rule, defaults={"step": last}
        )
        if not made and seen.step < last:
            seen.step = last
            seen.save(update_fields=["step"])
        audit_record(
            acting_user=acting_user,
            organisation=job.organisation,
            action="alarm.see",
            target=job.pk,
            detail={"rule": rule, "step": last},
        )
    return seen
