"""Forms of people: signing in, members, one's own settings."""

from __future__ import annotations

from django import forms

from hone.accounts.models import Role
from hone.core.forms import PlainForm

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
