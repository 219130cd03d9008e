"""The Checkpoints tab: which one to take, whether it is sound, and what may be done to it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from django.contrib import messages
from django.http import Http404, HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import redirect, render
from django.views.decorators.http import require_GET, require_POST

from hone.accounts.keys import came_with_key, opens_to_keys
from hone.accounts.requests import MemberRequest
from hone.core.errors import UserError
from jobs.models import Adapter, Checkpoint, Job, Status
from jobs.selectors import (
    access_checkpoint,
    access_job,
    adapter_proof,
    adapter_zip,
    checkpoint_zip,
    job_checkpoints,
)
from jobs.selectors.browse import has_no_signal
from jobs.selectors.checkpoints import ROLLING, Judged, judged, why_not_deleted
from jobs.services.checkpoints import (
    checkpoint_delete,
    checkpoint_pin,
    checkpoint_unpin,
    checkpoint_verify,
)
from jobs.services.downloads import download_record
from jobs.views.headings import heading
from jobs.views.messages import tell


@dataclass(frozen=True)
class Line:
    """A row of the table. `needed`: why it cannot be deleted; empty where it can. `note` says so
    where `why` does not say it already."""

    judged: Judged
    why: str
    needed: str
    may_download: bool

    @property
    def note(self) -> str:
        said = self.checkpoint.pinned or self.why.endswith("to resume from")
        return "" if said else self.needed

    @property
    def checkpoint(self) -> Checkpoint:
        return self.judged.checkpoint


@require_GET
def checkpoints_page(request: MemberRequest, job_id: str) -> HttpResponse:
    """Best first, then the newest; and the exported adapter with its proof."""
    job = access_job(request.user, job_id)
    adapter = Adapter.objects.filter(job=job).first()
    rows = judged(job, job_checkpoints(job))
    shared = heading(request, job, "checkpoints")
    context = {
        **shared,
        "lines": list(_lines(job, rows, adapter)),
        "alike": _alike(rows),
        "writing": job.last_step + 1 if shared["mark"].phase.startswith("checkpoint") else None,
        "adapter": adapter,
        "no_signal": has_no_signal(job),
    }
    return render(request, "jobs/checkpoints.html", context)


def _lines(job: Job, rows: list[Judged], adapter: Adapter | None) -> Iterator[Line]:
    kept = [row.checkpoint.step for row in rows if row.checkpoint.kept and row.checkpoint.available]
    for row in rows:
        each = row.checkpoint
        needed = why_not_deleted(job, each, adapter_step=adapter.step if adapter else None)
        if not needed and each.waiting:  # type: ignore[attr-defined]
            needed = "A fork is to begin with it, and has not begun."
        stays = each.kept or each.pinned or job.status != Status.RUNNING
        yield Line(row, _why(job, each, kept), needed, each.available and stays)


def _why(job: Job, each: Checkpoint, kept: list[int]) -> str:
    """Why its files are still there."""
    if not each.available:
        return "set aside"
    reasons = []
    if each.step in kept:
        reasons.append(f"best {kept.index(each.step) + 1} of {len(kept)}")
    if each.pinned:
        reasons.append("kept by a person")
    if not reasons and each.step > job.last_step - ROLLING:
        reasons.append("newest, to resume from" if not job.is_final else "among the newest")
    return ", ".join(reasons) or "let go, not yet removed"


def _alike(rows: list[Judged]) -> str:
    """The steps that validation cannot tell from the best one; empty where it can."""
    found = [row for row in rows if row.unlike_best is False and row.difference is not None]
    if not found:
        return ""
    steps = sorted(row.checkpoint.step for row in [rows[0], *found])
    tasks = min(row.difference.n for row in found if row.difference)
    named = f"{', '.join(map(str, steps[:-1]))} and {steps[-1]}"
    return f"Steps {named} cannot be told apart on {tasks} tasks."


@opens_to_keys
@require_GET
def adapter_download(request: MemberRequest, job_id: str) -> HttpResponseBase:
    """The adapter as a zip, made while it is sent."""
    job, adapter = _adapter(request, job_id)
    try:
        pieces = adapter_zip(adapter)
    except UserError as error:
        if came_with_key(request):
            raise
        tell(request, error)
        return redirect("job-checkpoints", job.pk)
    download_record(acting_user=request.user, job=job, what="adapter", step=adapter.step)
    return _sent(pieces, f"{job.pk}-adapter.zip")


@opens_to_keys
@require_GET
def proof(request: MemberRequest, job_id: str) -> HttpResponse:
    """The report that travels with the download: trajectories with the trainer's log-probabilities,
    and how far plain PEFT differs from them."""
    job, adapter = _adapter(request, job_id)
    try:
        return HttpResponse(adapter_proof(adapter), content_type="application/json")
    except UserError as error:
        if came_with_key(request):
            raise
        tell(request, error)
        return redirect("job-checkpoints", job.pk)


def _adapter(request: MemberRequest, job_id: str) -> tuple[Job, Adapter]:
    job = access_job(request.user, job_id)
    adapter = Adapter.objects.filter(job=job).first()
    if adapter is None:
        raise Http404("This job has no adapter.")
    return job, adapter


@opens_to_keys
@require_GET
def checkpoint_download(request: MemberRequest, job_id: str, step: int) -> HttpResponseBase:
    """The adapter of a checkpoint as a zip: it was verified, and not proved."""
    checkpoint = access_checkpoint(request.user, job_id, step)
    try:
        pieces = checkpoint_zip(checkpoint)
    except UserError as error:
        if came_with_key(request):
            raise
        tell(request, error)
        return redirect("job-checkpoints", job_id)
    job = checkpoint.run.job
    download_record(acting_user=request.user, job=job, what="checkpoint", step=step)
    return _sent(pieces, f"{job_id}-step-{step}-not-proved.zip")


def _sent(pieces: Iterator[bytes], name: str) -> StreamingHttpResponse:
    response = StreamingHttpResponse(pieces, content_type="application/zip")
    response["Content-Disposition"] = f'attachment; filename="{name}"'
    return response


@require_POST
def keep(request: MemberRequest, job_id: str, step: int) -> HttpResponse:
    """Keep a checkpoint whatever it is worth."""
    return _do(request, job_id, step, checkpoint_pin, "The checkpoint of step {} stays.")


@require_POST
def let_go(request: MemberRequest, job_id: str, step: int) -> HttpResponse:
    """Undo a keep."""
    said = "The checkpoint of step {} is kept by nobody now. It stays while it is among the best "
    return _do(request, job_id, step, checkpoint_unpin, f"{said}or the newest.")


@require_POST
def delete(request: MemberRequest, job_id: str, step: int) -> HttpResponse:
    """Free its room on the disk; the page has asked."""
    return _do(request, job_id, step, checkpoint_delete, "The checkpoint of step {} was deleted.")


@require_POST
def verify(request: MemberRequest, job_id: str, step: int) -> HttpResponse:
    """Compare every file with the manifest now."""
    checkpoint = access_checkpoint(request.user, job_id, step, need="write")
    try:
        found = checkpoint_verify(acting_user=request.user, checkpoint=checkpoint)
        if found.damage:
            messages.error(request, f"{found.damage}. It was set aside.")
        else:
            messages.success(request, f"Every file of step {step} has the hash of its manifest.")
    except UserError as error:
        tell(request, error)
    return redirect("job-checkpoints", job_id)


def _do(
    request: MemberRequest, job_id: str, step: int, service: Callable[..., object], done: str
) -> HttpResponse:
    checkpoint = access_checkpoint(request.user, job_id, step, need="write")
    try:
        service(acting_user=request.user, checkpoint=checkpoint)
        messages.success(request, done.format(step))
    except UserError as error:
        tell(request, error)
    return redirect("job-checkpoints", job_id)
