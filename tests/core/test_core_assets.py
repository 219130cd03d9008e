"""Style sheets and scripts arrive as one file of each kind, and only those of ours."""

from __future__ import annotations

import gzip
from dataclasses import replace
from typing import Any

import pytest
from django.template import Context, Template
from django.test import Client

from hone.core import assets

LINKS = (
    '{% load assets %}{% together css %}<link rel="stylesheet" href="/static/css/tokens.css">'
    '<link rel="stylesheet" href="/static/css/base.css"><noscript>kept</noscript>'
    '<link rel="stylesheet" href="https://elsewhere.example.org/x.css">{% endtogether %}'
)


def rendered(text: str = LINKS) -> str:
    return Template(text).render(Context())


def address(page: str) -> str:
    return page.split('href="', 1)[1].split('"', 1)[0].replace("&amp;", "&")


def test_links_to_files_of_ours_become_one_and_the_rest_stays() -> None:
    page = rendered()
    assert page.startswith('<link rel="stylesheet" href="/assets/')
    assert address(page).endswith(".css?files=css/tokens.css,css/base.css")
    assert page.count("<link") == 2
    assert "<noscript>kept</noscript>" in page
    assert 'href="https://elsewhere.example.org/x.css"' in page


def test_nothing_is_linked_where_nothing_stands() -> None:
    assert rendered("{% load assets %}{% together js %} {% endtogether %}").strip() == ""


def test_the_file_holds_all_of_them_in_their_order_and_stays_for_a_year() -> None:
    answer = Client().get(address(rendered()))
    text = answer.content.decode()
    assert text.index("--bg:") < text.index("@layer base {")
    assert answer["Content-Type"] == "text/css; charset=utf-8"
    assert answer["Cache-Control"] == "public, max-age=31536000, immutable"
    assert "Cookie" not in answer.get("Vary", "")


def test_it_is_packed_for_those_who_unpack() -> None:
    plain = Client().get(address(rendered()))
    packed = Client(headers={"Accept-Encoding": "br, gzip"}).get(address(rendered()))
    assert (packed["Content-Encoding"], packed["Vary"]) == ("gzip", "Accept-Encoding")
    assert gzip.decompress(packed.content) == plain.content


def test_a_page_from_before_an_update_gets_the_files_as_they_are_now(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    old = address(rendered())
    now = assets.joined("css", ("css/tokens.css", "css/base.css"))
    monkeypatch.setattr(assets, "joined", lambda kind, names: replace(now, digest="another"))
    answer = Client().get(old)
    assert (answer.status_code, answer["Cache-Control"]) == (200, "no-cache")
    assert answer.content == now.plain


def test_another_process_and_a_new_start_know_the_address_too() -> None:
    given = address(rendered())
    assets.joined.cache_clear()
    assert Client().get(given).status_code == 200


def test_another_key_makes_other_addresses(settings: Any) -> None:
    given = address(rendered())
    settings.SECRET_KEY = "another"
    assert Client().get(given).status_code == 404
    assert address(rendered()) != given


@pytest.mark.parametrize(
    ("change", "by"),
    [
        ("css/tokens.css,css/base.css", "css/base.css,css/tokens.css"),
        ("css/tokens.css,css/base.css", "css/tokens.css"),
        ("css/tokens.css,css/base.css", "css/tokens.css,css/base.css,"),
        ("css/tokens.css,css/base.css", "../templates/x.css"),
        ("css/tokens.css,css/base.css", "/etc/passwd.css"),
        ("?files=css/tokens.css,css/base.css", ""),
        (".css?", ".js?"),
        ("/assets/", "/assets/0"),
        ("-", ""),
        ("-", "-é"),
    ],
)
def test_what_no_page_asks_for_is_not_read(
    monkeypatch: pytest.MonkeyPatch, change: str, by: str
) -> None:
    given = address(rendered())
    assert change in given
    read: list[str] = []
    monkeypatch.setattr(assets, "_found", lambda name, kind: read.append(name) or b"")
    assets.joined.cache_clear()
    answer = Client().get(given.replace(change, by, 1))
    assert (answer.status_code, answer.content) == (404, b"No page asks for this.")
    assert "default-src 'none'" in answer["Content-Security-Policy"]
    assert (read, assets.joined.cache_info().currsize) == ([], 0)
