"""Base models that the operator allows, and the adapters that jobs made."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_GET, require_POST

from hone.accounts.requests import MemberRequest, current_organisation
from hone.accounts.selectors import access_organisation, may
from hone.core.errors import UserError
from hone.core.htmx import target, vary
from jobs.models import BaseModel, BaseModelStatus
from jobs.selectors.browse import base_models_listed, trained_adapters
from jobs.services.models_list import base_model_retry
from jobs.services.request import Asked
from jobs.views.messages import tell

MOST_ADAPTERS = 200


@require_GET
def models_page(request: HttpRequest) -> HttpResponse:
    """Both lists; with `HX-Target: base-models` the first one alone."""
    organisation = current_organisation(request)
    models = list(base_models_listed())
    context = {
        "models": models,
        "may_retry": may(request.user, organisation.pk, "admin"),
        "loading": any(model.status == BaseModelStatus.DOWNLOADING for model in models),
    }
    if target(request) == "base-models":
        return vary(render(request, "jobs/base_models.html", context))
    context["adapters"] = trained_adapters(organisation)[:MOST_ADAPTERS]
    return vary(render(request, "jobs/models.html", context))


@require_POST
def retry(request: MemberRequest, model_id: int) -> HttpResponse:
    """Try a failed download again; for admins, since the list is everybody's."""
    organisation = current_organisation(request)
    access_organisation(request.user, organisation.pk, need="admin")
    model = get_object_or_404(BaseModel, pk=model_id)
    try:
        base_model_retry(
            model=model, asked=Asked(acting_user=request.user, organisation=organisation)
        )
    except UserError as error:
        tell(request, error)
    return redirect("models")
