"""Weights leave the platform: who took which, for the audit log."""

from __future__ import annotations

from typing import Literal

from hone.accounts.models import User
from hone.accounts.services import audit_record
from jobs.models import Job


def download_record(
    *, acting_user: User, job: Job, what: Literal["adapter", "checkpoint"], step: int
) -> None:
    """Note that the adapter, or a checkpoint as one, is about to be sent."""
    audit_record(
        acting_user=acting_user,
        organisation=job.organisation,
        action=f"{what}.download",
        target=job.pk,
        detail={"name": job.name, "step": step},
    )
