"""Forms of people: signing in, members, one's own settings, keys, the audit log."""

from __future__ import annotations

from typing import Any

from django import forms

from hone.accounts.audit import SHELL, AuditFilters, in_words
from hone.accounts.models import Role, User
from hone.core.forms import PlainForm

KEY_DAYS = [("30", "30 days"), ("90", "90 days"), ("365", "a year"), ("", "never")]
THEMES = [("auto", "As the system"), ("light", "Light"), ("dark", "Dark")]


def _new_password(help_text: str) -> forms.CharField:
    """Any text, blanks included; what makes a good one is for the services to say."""
    return forms.CharField(
        label="New password",
        max_length=1000,
        strip=False,
        widget=forms.PasswordInput({"autocomplete": "new-password"}),
        help_text=help_text,
    )


class SignInForm(PlainForm):
    email = forms.CharField(
        label="E-mail",
        max_length=254,
        widget=forms.EmailInput({"autocomplete": "username", "autofocus": True}),
    )
    password = forms.CharField(
        label="Password",
        max_length=1000,
        strip=False,
        widget=forms.PasswordInput({"autocomplete": "current-password"}),
    )


class MemberForm(PlainForm):
    email = forms.CharField(
        label="E-mail", max_length=254, widget=forms.EmailInput({"autocomplete": "off"})
    )
    role = forms.ChoiceField(label="Role", choices=Role.choices, initial=Role.MEMBER)
    password = forms.CharField(
        label="First password",
        required=False,
        max_length=1000,
        strip=False,
        widget=forms.PasswordInput({"autocomplete": "new-password"}),
        help_text="At least 10 characters; tell it to the person yourself. Somebody who has an "
        "account already keeps their own.",
    )


class PasswordForm(PlainForm):
    current = forms.CharField(
        label="Current password",
        max_length=1000,
        strip=False,
        widget=forms.PasswordInput({"autocomplete": "current-password"}),
    )
    password = _new_password("At least 10 characters, not a common one.")


class NewPasswordForm(PlainForm):
    """A password that somebody else chooses; the person can change it in the settings."""

    password = _new_password("At least 10 characters; tell it to the person yourself.")


class BrowserForm(PlainForm):
    """What is remembered in this browser only."""

    theme = forms.ChoiceField(label="Theme", choices=THEMES)
    keys = forms.BooleanField(label="Keyboard shortcuts", required=False)


class ThemeForm(PlainForm):
    """The theme alone, from the bar of any page."""

    theme = forms.ChoiceField(choices=THEMES)


class KeyForm(PlainForm):
    name = forms.CharField(
        label="Name", max_length=64, help_text="What will use it, such as ci-runner."
    )
    days = forms.TypedChoiceField(
        label="Expires after",
        choices=KEY_DAYS,
        initial="90",
        required=False,
        coerce=int,
        empty_value=None,
    )


class AuditForm(PlainForm):
    """The filters of the audit log; a choice that is none leaves out nothing, and says so."""

    person = forms.ChoiceField(label="Person", required=False)
    verb = forms.ChoiceField(label="What was done", required=False)
    thing = forms.CharField(label="Thing, by id or name", required=False, max_length=120)
    since = forms.DateField(
        label="From", required=False, widget=forms.DateInput({"type": "date"}, format="%Y-%m-%d")
    )
    until = forms.DateField(
        label="To", required=False, widget=forms.DateInput({"type": "date"}, format="%Y-%m-%d")
    )

    def __init__(self, data: Any, *, people: list[User], verbs: list[str]) -> None:
        super().__init__(data)
        named = [(str(person.pk), person.email) for person in people]
        self.fields["person"].choices = [("", "anybody"), *named, (SHELL, "command line")]  # type: ignore[attr-defined]
        done = [(verb, in_words(verb)) for verb in verbs]
        self.fields["verb"].choices = [("", "anything"), *done]  # type: ignore[attr-defined]

    def filters(self) -> AuditFilters:
        """What was asked, as far as it can be read."""
        self.is_valid()
        return AuditFilters(**self.cleaned_data)
