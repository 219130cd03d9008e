"""The pages of fixtures, and the editor that asks why a version is saved although one fails."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.test import Client

from graders.models import Fixture
from hone.accounts.models import User
from tests.pages.conftest import Things

SignedIn = Callable[[User], Client]


@pytest.fixture
def owner(alice: User, signed_in: SignedIn) -> Client:
    return signed_in(alice)


def page_of(client: Client, address: str) -> str:
    answer = client.get(address)
    assert answer.status_code == 200
    return answer.content.decode()


def add(client: Client, things: Things, **typed: str) -> Fixture | None:
    fields = {"name": "close", "low": "1", "output_text": "Rome", "item": '{"answer": "Rome"}'}
    client.post(f"/graders/{things.grader.pk}/fixtures/new/", {**fields, **typed})
    return Fixture.objects.filter(name=typed.get("name", "close")).first()


def test_a_fixture_that_fails_is_named_with_what_it_gets(owner: Client, things: Things) -> None:
    page = page_of(owner, f"/graders/{things.grader.pk}/fixtures/")
    assert "1 of 1 fixture does not get the score that it must get from v1." in page
    assert "fails" in page
    assert "0.000" in page
    assert "<script>alert" not in page
    assert "⟦U+202E⟧" in page
    assert "1 of 1 fail" in page_of(owner, "/graders/")
    assert "with 0.000" in page_of(owner, f"/graders/{things.grader.pk}/")


def test_a_fixture_is_written_by_hand_and_its_range_mended(owner: Client, things: Things) -> None:
    made = add(owner, things, low="0.5", high="0.9")
    assert made is not None
    assert (made.low, made.high, made.item) == (0.5, 0.9, {"answer": "Rome"})
    address = f"/graders/{things.grader.pk}/fixtures/{made.pk}/"
    assert "v1 gives it 1.000" in page_of(owner, address)
    answer = owner.post(address, {"name": "right", "low": "1", "high": ""})
    assert answer.status_code == 302
    made.refresh_from_db()
    assert (made.name, made.low, made.high) == ("right", 1.0, 1.0)
    owner.post(f"{address}delete/")
    assert not Fixture.objects.filter(pk=made.pk).exists()


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ({"low": "2", "high": "1"}, "The most, 1, is under the least, 2. Swap them."),
        ({"low": "inf"}, "Enter a number."),
        ({"item": "{"}, "Line 1, column 2"),
        ({"output_tools": "{}"}, "Tool calls are a list of objects."),
        ({"output_text": "a\x00b"}, "Null characters are not allowed."),
        ({"name": ""}, "This is empty. Fill it in."),
    ],
)
def test_what_is_typed_wrong_is_named_and_nothing_is_kept(
    owner: Client, things: Things, typed: dict[str, str], said: str
) -> None:
    fields = {"name": "n", "low": "1", "output_text": "x", "item": "{}"}
    answer = owner.post(f"/graders/{things.grader.pk}/fixtures/new/", {**fields, **typed})
    assert answer.status_code == 200
    assert said in answer.content.decode()
    assert things.grader.fixtures.count() == 1


def test_saving_a_version_whose_fixtures_fail_asks_for_a_reason(
    owner: Client, things: Things
) -> None:
    address = f"/graders/{things.grader.pk}/edit/"
    spec = '{"type": "string_check", "input": "a", "reference": "b", "operation": "eq"}'
    page = owner.post(address, {"do": "save", "edited": "1", "spec": spec}).content.decode()
    assert "1 of 1 fixtures fails: first" in page
    assert "Why save it although fixtures fail" in page
    assert things.grader.versions.count() == 1
    typed = {"do": "save", "edited": "1", "spec": spec, "reason": "only a sketch"}
    assert owner.post(address, typed).status_code == 302
    page = page_of(owner, f"/graders/{things.grader.pk}/")
    assert "It was saved although fixtures fail: “only a sketch”" in page


def test_a_run_in_the_editor_shows_what_the_draft_gives_each_fixture(
    owner: Client, things: Things
) -> None:
    spec = '{"type": "string_check", "input": "a", "reference": "a", "operation": "eq"}'
    typed = {"do": "try", "edited": "1", "spec": spec, "item": "{}"}
    page = owner.post(f"/graders/{things.grader.pk}/edit/", typed).content.decode()
    outcomes = page.split('id="outcomes"', 1)[1].split("</table>", 1)[0]
    assert "passes" in outcomes
    assert "1.000" in outcomes
    assert things.grader.versions.count() == 1


def test_the_sample_of_the_editor_is_asked_for_its_score(owner: Client, things: Things) -> None:
    typed = {"do": "keep", "output_text": "Rome <b>", "output_tools": "", "item": '{"answer": 1}'}
    page = owner.post(f"/graders/{things.grader.pk}/fixtures/new/", typed).content.decode()
    assert "Rome &lt;b&gt;</textarea>" in page
    assert "{&#34;answer&#34;: 1}" in page
    assert "This is empty" not in page
    assert things.grader.fixtures.count() == 1


def test_all_are_run_again(owner: Client, things: Things) -> None:
    address = f"/graders/{things.grader.pk}/fixtures/rerun/"
    page = owner.post(address, follow=True).content.decode()
    assert "0 of 1 fixtures get their score." in page
