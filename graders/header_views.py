"""New values for the secret headers of endpoint graders. What is typed is never shown again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from django import forms
from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods

from graders.kinds.parts import endpoints_in
from graders.models import GraderVersion
from graders.selectors import access_grader, access_grader_version_number
from graders.services import header_replace
from hone.accounts.requests import MemberRequest
from hone.core.errors import UserError
from hone.core.forms import PlainForm

Header = tuple[str, str, str]
"""Place of the endpoint in the spec, its address, name of the header."""


class HeaderForm(PlainForm):
    """Which header, and its new value; it is written and never read back."""

    header = forms.ChoiceField(label="Header")
    value = forms.CharField(
        label="New value",
        widget=forms.PasswordInput({"autocomplete": "off"}),
        help_text="It is encrypted and never shown again.",
    )

    def __init__(self, *args: Any, headers: Sequence[Header], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        field = cast(forms.ChoiceField, self.fields["header"])
        field.choices = [
            (str(at), f"{name} to {address}") for at, (_, address, name) in enumerate(headers)
        ]


@sensitive_post_parameters("value")
@require_http_methods(["GET", "HEAD", "POST"])
def headers_page(request: MemberRequest, grader_id: str, number: int) -> HttpResponse:
    grader = access_grader(request.user, grader_id, need="write")
    version = access_grader_version_number(request.user, grader_id, number)
    headers = _headers(version)
    form = HeaderForm(request.POST or None, headers=headers)
    if form.is_valid():
        place, _, name = headers[int(form.cleaned_data["header"])]
        try:
            header_replace(
                acting_user=request.user,
                version=version,
                place=place,
                name=name,
                value=form.cleaned_data["value"],
            )
            messages.success(request, f"{name} has a new value.")
            return redirect("grader-headers", grader.id, number)
        except UserError as error:
            form.refuse(error)
    context = {"grader": grader, "version": version, "headers": headers, "form": form}
    return render(request, "graders/headers.html", context)


def _headers(version: GraderVersion) -> list[Header]:
    return [
        (place, str(part.get("url", "")), name)
        for place, part in endpoints_in(version.spec)
        for name in part.get("headers") or {}
    ]
