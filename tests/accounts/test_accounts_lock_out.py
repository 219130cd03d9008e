"""Ten failures close the door for one address and e-mail, whatever stands between."""

from __future__ import annotations

import pytest
from django.test import Client, RequestFactory
from pytest_django.fixtures import Settings

from hone.accounts.models import User
from hone.accounts.requests import client_address

FORM = {"email": "alice@example.org", "password": "correct horse battery"}


def sign_in(password: str, forwarded: str) -> str:
    form = {**FORM, "password": password}
    page = Client().post("/login/", form, headers={"X-Forwarded-For": forwarded})
    return page.content.decode()


def test_behind_a_proxy_one_attacker_does_not_lock_everybody_out(
    alice: User, settings: Settings
) -> None:
    settings.BEHIND_TLS_PROXY = True
    for n in range(10):
        sign_in("wrong", f"10.0.0.{n}, 203.0.113.9")
    assert "10 failed sign-ins" in sign_in(FORM["password"], "203.0.113.9")
    assert "10 failed sign-ins" not in sign_in(FORM["password"], "198.51.100.4")


def test_without_a_proxy_nobody_chooses_an_address(alice: User) -> None:
    for n in range(10):
        sign_in("wrong", f"203.0.113.{n}")
    page = sign_in(FORM["password"], "198.51.100.4")
    assert (
        "There were 10 failed sign-ins for this address and e-mail in 15 minutes, so more are "
        "refused for now, the right password too. Wait up to 15 minutes. If you forgot it, an "
        "owner or admin of your organisation can set a new one meanwhile."
    ) in page


@pytest.mark.parametrize(
    ("behind", "forwarded", "address"),
    [
        (False, "203.0.113.9", "127.0.0.1"),
        (True, "203.0.113.9", "203.0.113.9"),
        (True, "1.2.3.4, 203.0.113.9", "203.0.113.9"),
        (True, "", "127.0.0.1"),
    ],
)
def test_the_address_is_what_the_nearest_machine_of_ours_saw(
    settings: Settings, behind: bool, forwarded: str, address: str
) -> None:
    settings.BEHIND_TLS_PROXY = behind
    request = RequestFactory().get("/", headers={"X-Forwarded-For": forwarded})
    assert client_address(request) == address
