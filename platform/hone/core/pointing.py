"""How many things of the apps above point at rows of an app that does not know them.

They are found as Django finds them when it deletes a row: by the keys that point here.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import Any

from django.db.models import ManyToManyRel, ManyToOneRel, Model


def pointing_at(model: type[Model], group: str, **which: Any) -> Counter[str]:
    """For the rows of `model` that `which` names: things of other apps, counted by the row's field
    `group`; what points at several rows of a group counts once."""
    found: dict[str, set[tuple[str, Any]]] = defaultdict(set)
    for key in model._meta.get_fields(include_hidden=True):
        if not isinstance(key, (ManyToOneRel, ManyToManyRel)):
            continue
        other: Any = key.related_model
        if other._meta.app_label == model._meta.app_label or other._meta.auto_created:
            continue
        name = key.field.name
        rows = other._default_manager.filter(**{f"{name}__{at}": it for at, it in which.items()})
        for owner, pk in rows.values_list(f"{name}__{group}", "pk"):
            found[owner].add((other._meta.label, pk))
    return Counter({owner: len(things) for owner, things in found.items()})
