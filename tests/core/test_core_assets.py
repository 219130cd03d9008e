"""Style sheets and scripts arrive as one file of each kind, and only those of ours."""

from __future__ import annotations

import gzip

import pytest
from django.template import Context, Template
from django.test import Client

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


def test_an_address_of_other_contents_is_not_kept() -> None:
    answer = Client().get("/assets/0000.css?files=css/tokens.css")
    assert (answer.status_code, answer["Cache-Control"]) == (200, "no-cache")


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/assets/0.css", 404),
        ("/assets/0.css?files=css/absent.css", 404),
        ("/assets/0.css?files=js/boot.js", 404),
        ("/assets/0.html?files=css/base.css", 404),
        ("/assets/0.css?files=" + ",".join(["css/base.css"] * 25), 404),
        ("/assets/0.css?files=../templates/x.css", 400),
        ("/assets/0.css?files=/etc/passwd.css", 400),
    ],
)
def test_nothing_else_can_be_had(path: str, status: int) -> None:
    assert Client(raise_request_exception=False).get(path).status_code == status
