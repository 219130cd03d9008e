"""What is drawn by Jinja, which compiles its templates: form fields, and tables of many rows.

Fifty rows of a list take Django's templates eight times as long (docs/adr/0016).
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any

from django import forms, template
from django.conf import settings
from django.forms.renderers import Jinja2 as FormTemplates
from django.template.base import Node, Parser, Token
from django.template.context import Context
from django.template.loader import render_to_string
from jinja2 import Environment, StrictUndefined

from hone.core import figures

COMPILED = "compiled"
"""The name of the template engine in the settings."""

register = template.Library()


class OwnTemplates(FormTemplates):
    """Form fields by Django's Jinja templates, and by ours where we have one of the same name."""

    @cached_property
    def engine(self) -> Any:
        own: Any = settings.TEMPLATES[0]["DIRS"]
        return self.backend(
            {
                "APP_DIRS": False,
                "DIRS": [*own, Path(forms.__file__).parent / "jinja2"],
                "NAME": "forms",
                "OPTIONS": {"environment": "hone.core.rendering.form_environment"},
            }
        )


def form_environment(**options: Any) -> Environment:
    """With the filters that write numbers and names."""
    environment = Environment(**options)  # noqa: S701 - Django asks for autoescape
    environment.filters.update(figures.register.filters)
    return environment


def environment(**options: Any) -> Environment:
    """As for form fields; a name that is not there is an error and not an empty place."""
    return form_environment(**{**options, "undefined": StrictUndefined, "trim_blocks": True})


class Compiled(Node):
    """The text of a Jinja template; the engine that writes it escapes each value in it."""

    def __init__(self, name: str) -> None:
        self.name = name

    def render(self, context: Context) -> str:
        known: Any = context.flatten()
        return render_to_string(self.name, known, using=COMPILED)


@register.tag
def compiled(parser: Parser, token: Token) -> Compiled:
    """`{% compiled "folder/rows.jinja" %}`: that template, with what the page knows."""
    _, name = token.split_contents()
    return Compiled(name.strip('"'))
