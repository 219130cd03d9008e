"""Base models and the adapters made on them, as the models pages list them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from django.db.models import Count, Q, QuerySet

from hone.accounts.models import Organisation
from jobs.models import Adapter, BaseModel, Job, Purpose

PAGE = 50


@dataclass(frozen=True)
class AdapterPage:
    """Newest first, each with `forked`; `after` is the id that the next page begins below."""

    rows: Sequence[Adapter]
    after: int | None


def adapters_page(
    organisation: Organisation,
    *,
    text: str = "",
    after: int | None = None,
    base: BaseModel | None = None,
    limit: int = PAGE,
) -> AdapterPage:
    """What the organisation's jobs made; `text` is looked for in names and ids."""
    rows = Adapter.objects.filter(job__organisation=organisation)
    if base is not None:
        rows = rows.filter(job__base_model=base)
    if after is not None:
        rows = rows.filter(pk__lt=after)
    if text:
        named = Q(job__name__icontains=text) | Q(job__base_model__name__icontains=text)
        rows = rows.filter(named | Q(job__pk__icontains=text))
    rows = rows.annotate(forked=Count("run__checkpoints__forks", distinct=True))
    found = list(rows.select_related("job__base_model").order_by("-pk")[: limit + 1])
    return AdapterPage(found[:limit], found[limit - 1].pk if len(found) > limit else None)


def jobs_on(organisation: Organisation, model: BaseModel, limit: int = 20) -> QuerySet[Job]:
    """The newest training jobs of the organisation that start from a base model."""
    rows = Job.objects.filter(
        organisation=organisation, base_model=model, purpose=Purpose.TRAIN
    ).select_related("base_model")
    return rows.order_by("-created_at", "-pk")[:limit]


def forks_of(job: Job, limit: int = 50) -> list[Job]:
    """The jobs that begin with a checkpoint of this one, newest first."""
    rows = Job.objects.filter(start_checkpoint__run__job=job, organisation=job.organisation)
    return list(rows.select_related("start_checkpoint").order_by("-created_at", "-pk")[:limit])


def base_model_named(name: str) -> BaseModel | None:
    """A model of the operator's list."""
    return None if "\x00" in name else BaseModel.objects.filter(name=name).first()
