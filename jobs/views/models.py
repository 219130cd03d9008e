"""Base models that the operator allows, and the adapters that jobs made."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_GET, require_POST

from hone.accounts.requests import MemberRequest, current_organisation
from hone.accounts.selectors import access_organisation, may
from hone.core.errors import UserError
from hone.core.htmx import target, vary
from jobs.engine.host_memory import host_memory
from jobs.engine.rollout.parse import detect_format
from jobs.forms.filters import address
from jobs.models import Adapter, BaseModel, BaseModelStatus, Checkpoint, Job
from jobs.selectors import access_job
from jobs.selectors.browse import base_models_listed, has_no_signal
from jobs.selectors.checkpoints import judged
from jobs.selectors.models_made import adapters_page, base_model_named, forks_of, jobs_on
from jobs.services.chat import chat_template
from jobs.services.memory import memory_needed
from jobs.services.models_list import base_model_retry
from jobs.services.request import Asked
from jobs.views.chart_address import whole_number
from jobs.views.headings import job_badge
from jobs.views.messages import tell

LONGEST_SEARCH = 200
JOB_PREFIX = "ftjob-"


@dataclass(frozen=True)
class Fit:
    """Bytes that a model needs and that this machine has; `fits` None: its size is unknown."""

    model: BaseModel
    needed: float | None
    here: int

    @property
    def fits(self) -> bool | None:
        return None if self.needed is None else self.needed <= self.here


@require_GET
def models_page(request: HttpRequest) -> HttpResponse:
    """Both lists; with `HX-Target: base-models` the first one alone."""
    organisation = current_organisation(request)
    models = list(base_models_listed())
    context = {
        "fits": _fits(models),
        "may_retry": may(request.user, organisation.pk, "admin"),
        "loading": any(model.status == BaseModelStatus.DOWNLOADING for model in models),
    }
    if target(request) == "base-models":
        return vary(render(request, "jobs/base_models.html", context))
    given = request.GET.get("after", "")
    text = request.GET.get("q", "").replace("\x00", "").strip()[:LONGEST_SEARCH]
    after = int(given) if given.isdecimal() and len(given) < 19 else None
    page = adapters_page(organisation, text=text, after=after)
    context |= {
        "adapters": page.rows,
        "text": text,
        "first": address(request.GET, after=None) if given else "",
        "older": address(request.GET, after=page.after) if page.after else "",
    }
    return vary(render(request, "jobs/models.html", context))


@require_GET
def model_page(request: MemberRequest, name: str) -> HttpResponse:
    """A base model by its name, or the adapter of a job by the job's id."""
    if name.startswith(JOB_PREFIX):
        return _tuned(request, access_job(request.user, name))
    model = base_model_named(name)
    if model is None:
        raise Http404("There is nothing here that you can see.")
    organisation = current_organisation(request)
    jobs = list(jobs_on(organisation, model))
    context = {
        "model": model,
        "fit": _fits([model])[0],
        "format": _tool_format(model),
        "jobs": [(job, job_badge(job)) for job in jobs],
        "adapters": adapters_page(organisation, base=model).rows,
        "may_start": may(request.user, organisation.pk, "write")
        and model.enabled
        and model.status == BaseModelStatus.READY,
    }
    return render(request, "jobs/base_model.html", context)


def _tuned(request: MemberRequest, job: Job) -> HttpResponse:
    adapter = Adapter.objects.filter(job=job).first()
    if adapter is None:
        raise Http404("This job has no adapter.")
    made_from = Checkpoint.objects.filter(run=adapter.run_id, step=adapter.step).first()
    context = {
        "job": job,
        "adapter": adapter,
        "measured": judged(job, [made_from])[0] if made_from else None,
        "forks": [(fork, job_badge(fork)) for fork in forks_of(job)],
        "no_signal": has_no_signal(job),
        "may_start": may(request.user, job.organisation_id, "write"),
    }
    return render(request, "jobs/tuned_model.html", context)


def _fits(models: Iterable[BaseModel]) -> list[Fit]:
    here = host_memory().total
    return [
        Fit(each, memory_needed(each.parameters) if each.parameters else None, here)
        for each in models
    ]


def _tool_format(model: BaseModel) -> str:
    """How the model writes tool calls, by its chat template; empty where it has none here."""
    folder = Path(model.folder) if model.folder else None
    template = chat_template(folder) if folder is not None and folder.is_dir() else None
    if isinstance(template, dict):
        template = template.get("tool_use") or template.get("default")
    return str(detect_format(template)) if template else ""


@require_POST
def retry(request: MemberRequest) -> HttpResponse:
    """Try a failed download again; for admins, since the list is everybody's.

    The form names the model: below `/models/` addresses are names of models.
    """
    organisation = current_organisation(request)
    access_organisation(request.user, organisation.pk, need="admin")
    model = get_object_or_404(BaseModel, pk=whole_number(request.POST.get("model", "")))
    try:
        base_model_retry(
            model=model, asked=Asked(acting_user=request.user, organisation=organisation)
        )
    except UserError as error:
        tell(request, error)
    return redirect("models")
