"""Graders as JSON: every kind's start works, other people's JSON is taken, and given back."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.test import Client

from graders.kinds.registry import KINDS
from graders.models import Grader, GraderVersion
from graders.starts import PASTE, STARTS
from hone.accounts.models import User
from tests.pages.conftest import Things

REWARDS = {
    "python": 1.0,
    "string_check": 1.0,
    "text_similarity": 1.0,
    "numeric_match": 1.0,
    "json_schema_match": 1.0,
    "tool_trace": 1.0,
    "budget": 1.0,
    "multi": 1.0,
}


@pytest.fixture
def member(bob: User, signed_in: Any) -> Client:
    browser: Client = signed_in(bob)
    return browser


def test_the_editor_offers_every_kind_that_has_a_start(member: Client) -> None:
    page = member.get("/graders/new/").content.decode()
    assert STARTS.keys() <= KINDS.keys()
    for kind in [*STARTS, PASTE]:
        assert f'href="?kind={kind}"' in page


@pytest.mark.parametrize("kind", sorted(REWARDS))
def test_the_example_of_each_kind_works_as_it_stands(member: Client, kind: str) -> None:
    path = f"/graders/new/?kind={kind}"
    shown = member.get(path).context["form"].initial
    typed = {key: value for key, value in shown.items() if value is not None}
    page = member.post(path, typed | {"do": "try"})
    tried = page.context["tried"]
    assert (tried.error, tried.reward) == (None, REWARDS[kind])
    result = json.loads(page.context["result"])
    assert (result["reward"], result["metadata"]["type"]) == (REWARDS[kind], kind)
    assert member.post(path, typed | {"name": kind, "do": "save"}).status_code == 302
    assert GraderVersion.objects.get().spec["type"] == kind


def test_the_body_of_a_job_is_pasted_and_its_grader_taken(member: Client) -> None:
    grader = STARTS["string_check"] | {"operation": "neq"}
    body = {"method": {"type": "reinforcement", "reinforcement": {"grader": grader}}, "seed": 42}
    form = {"spec": json.dumps(body), "do": "save"}
    page = member.post(f"/graders/new/?kind={PASTE}", form, follow=True).content.decode()
    assert "exact answer is saved as version 1." in page
    assert "Of the JSON only `method` was taken, and not seed." in page
    assert "`neq` is written `ne`." in page
    version = GraderVersion.objects.get()
    assert version.spec == STARTS["string_check"] | {"operation": "ne"}


@pytest.mark.parametrize(
    ("pasted", "said"),
    [
        ("", "Line 1, column 1"),
        ("[]", "This is no JSON object."),
        ('{"grader": "x"}', "is no kind of grader"),
        ('{"grader": {"type": "strin_check"}}', "Did you mean `string_check`?"),
    ],
)
def test_what_holds_no_grader_is_refused_and_kept(member: Client, pasted: str, said: str) -> None:
    form = {"name": "x", "spec": pasted, "do": "save"}
    page = member.post(f"/graders/new/?kind={PASTE}", form)
    assert said in page.content.decode()
    assert page.context["form"].data["spec"] == pasted
    assert Grader.objects.count() == 0


def test_a_version_is_downloaded_in_the_contracts_form(member: Client, things: Things) -> None:
    path = f"/graders/{things.grader.pk}/v1/export/"
    assert path in member.get(f"/graders/{things.grader.pk}/").content.decode()
    answer = member.get(path)
    assert answer["Content-Disposition"] == 'attachment; filename="first-v1.json"'
    assert answer["Content-Type"].startswith("application/json")
    assert answer.json() == STARTS["string_check"]
    for number in (2, 10**30):
        assert member.get(f"/graders/{things.grader.pk}/v{number}/export/").status_code == 404
