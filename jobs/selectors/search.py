"""What the search of the whole organisation asks of jobs; each answer is bounded."""

from __future__ import annotations

import re

from django.db.models import F, Q

from hone.accounts.models import Organisation
from jobs.models import LEADING, BaseModel, Checkpoint, Job, Run, Trajectory

RUNS_LOOKED_AT = 200
SPLITS = {"t": "train", "v": "validation", "p": "preflight"}
UID = re.compile(r"([tvp])-?([0-9]{1,9})-\S{1,70}")
LARGEST_ID = 2**63 - 1


def job_search(organisation: Organisation, text: str, limit: int) -> list[Job]:
    """Jobs and preflights with the text in their name or id, the newest first."""
    rows = Job.objects.filter(organisation=organisation).select_related("base_model")
    named = Q(name__icontains=text) | Q(pk__icontains=text)
    return list(rows.filter(named).order_by("-created_at", "-pk")[:limit])


def model_search(text: str, limit: int) -> list[BaseModel]:
    """Base models by name or source; they are the operator's and belong to everybody."""
    named = Q(name__icontains=text) | Q(source__icontains=text)
    return list(BaseModel.objects.filter(named).order_by("name")[:limit])


def checkpoint_search(organisation: Organisation, text: str, limit: int) -> list[Checkpoint]:
    """Checkpoints on disk of jobs with the text in their name or id, or of that manifest."""
    of_job = Q(run__job__name__icontains=text) | Q(run__job__pk__icontains=text)
    rows = Checkpoint.objects.filter(
        of_job | Q(manifest_sha256__startswith=text.lower()),
        run__job__organisation=organisation,
        available=True,
    )
    best = rows.order_by(F("validation_reward").desc(nulls_last=True), "-pk")
    return list(best.select_related("run__job")[:limit])


def trajectory_search(organisation: Organisation, text: str, limit: int) -> list[Trajectory]:
    """Trajectories with that id, as pages write it or as it stands in their address.

    The id says split and step, so that it is found by index in each of the newest runs.
    """
    rows = Trajectory.objects.filter(run__job__organisation=organisation).select_related("run__job")
    if text.isascii() and text.isdigit():
        return list(rows.filter(pk=int(text))) if int(text) <= LARGEST_ID else []
    found = UID.fullmatch(text)
    if found is None:
        return []
    runs = Run.objects.filter(job__organisation=organisation, kind__in=LEADING)
    newest = runs.order_by("-created_at", "-pk").values_list("pk", flat=True)[:RUNS_LOOKED_AT]
    place = {"split": SPLITS[found[1]], "step": min(int(found[2]), 2**31 - 1), "uid": text}
    return list(rows.filter(run__in=list(newest), **place).order_by("-pk")[:limit])
