"""A refusal or a result, told on the next page."""

from __future__ import annotations

from django.contrib import messages
from django.http import HttpRequest

from hone.core.errors import UserError


def tell(request: HttpRequest, error: UserError) -> None:
    """Show the refusal on the next page that this person opens."""
    messages.error(request, error.message)
