"""Form fields are drawn by Django's templates, and by ours where we have one of the same name."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any

from django import forms
from django.conf import settings
from django.forms.renderers import DjangoTemplates


class OwnTemplates(DjangoTemplates):
    """Looks into the templates of Hone first."""

    @cached_property
    def engine(self) -> Any:
        own: Any = settings.TEMPLATES[0]["DIRS"]
        return self.backend(
            {
                "APP_DIRS": False,
                "DIRS": [*own, Path(forms.__file__).parent / "templates"],
                "NAME": "forms",
                "OPTIONS": {"libraries": {"figures": "hone.core.figures"}},
            }
        )
