"""The address of a form, opened as a page; and a form that is sent after its session ended."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver, resolve

from hone.accounts.models import User

SignedIn = Callable[[User], Client]
ABOVE = {
    "/logout/": "/",
    "/organisation/": "/",
    "/settings/browser/": "/settings/",
    "/settings/theme/": "/settings/",
    "/settings/keys/key-7/revoke/": "/settings/keys/",
    "/settings/system/look/": "/settings/system/",
    "/settings/members/leave/": "/settings/members/",
    "/settings/members/add/": "/settings/members/",
    "/settings/members/7/role/": "/settings/members/",
    "/settings/members/7/remove/": "/settings/members/",
    "/datasets/file-7/archive/": "/datasets/file-7/",
    "/datasets/file-7/v1/report/": "/datasets/file-7/v1/",
    "/datasets/arriving/": "/datasets/",
    "/datasets/uploads/": "/datasets/",
    "/datasets/uploads/upload-7/parts/": "/datasets/uploads/upload-7/",
    "/datasets/uploads/upload-7/complete/": "/datasets/uploads/upload-7/",
    "/datasets/uploads/upload-7/cancel/": "/datasets/uploads/upload-7/",
    "/tools/tool-7/call/": "/tools/tool-7/",
    "/tools/tool-7/archive/": "/tools/tool-7/",
    "/tools/tool-7/check/": "/tools/tool-7/",
    "/tools/tool-7/schedule/": "/tools/tool-7/",
    "/tools/tool-7/secrets/secret-7/withdraw/": "/tools/tool-7/secrets/",
    "/mcp/mcp-7/ask/": "/mcp/mcp-7/",
    "/mcp/mcp-7/import/": "/mcp/mcp-7/",
    "/mcp/mcp-7/archive/": "/mcp/mcp-7/",
    "/mcp/mcp-7/secrets/secret-7/withdraw/": "/mcp/mcp-7/secrets/",
    "/recordings/rec-7/archive/": "/recordings/rec-7/",
    "/graders/grader-7/archive/": "/graders/grader-7/",
    "/graders/judges/judge-7/key/": "/graders/judges/judge-7/",
    "/graders/judges/judge-7/try/": "/graders/judges/judge-7/",
    "/graders/judges/judge-7/archive/": "/graders/judges/judge-7/",
    "/graders/grader-7/fixtures/rerun/": "/graders/grader-7/fixtures/",
    "/graders/grader-7/fixtures/7/delete/": "/graders/grader-7/fixtures/7/",
    "/jobs/new/check/": "/jobs/new/",
    "/jobs/ftjob-7/record/": "/jobs/ftjob-7/",
    "/jobs/ftjob-7/alarms/mismatch/seen/": "/jobs/ftjob-7/",
    "/preflights/preflight-7/narrow/": "/preflights/preflight-7/",
    "/playground/try-7/stop/": "/playground/try-7/",
    "/jobs/ftjob-7/trajectories/7/measure/": "/jobs/ftjob-7/trajectories/7/",
    "/jobs/ftjob-7/groups/4-train-a/measure/": "/jobs/ftjob-7/groups/4-train-a/",
    "/jobs/ftjob-7/trajectories/7/mark/": "/jobs/ftjob-7/trajectories/7/",
    "/jobs/ftjob-7/trajectories/7/keep/": "/jobs/ftjob-7/trajectories/7/",
    "/jobs/ftjob-7/checkpoints/7/keep/": "/jobs/ftjob-7/checkpoints/",
    "/jobs/ftjob-7/checkpoints/7/let-go/": "/jobs/ftjob-7/checkpoints/",
    "/jobs/ftjob-7/checkpoints/7/verify/": "/jobs/ftjob-7/checkpoints/",
    "/jobs/ftjob-7/checkpoints/7/delete/": "/jobs/ftjob-7/checkpoints/",
    "/jobs/ftjob-7/replays/run-7/cancel/": "/jobs/ftjob-7/",
    "/workbench/cmp-7/forgeries/7/keep/": "/workbench/cmp-7/",
    "/workbench/cmp-7/cancel/": "/workbench/cmp-7/",
    "/workbench/cmp-7/delete/": "/workbench/cmp-7/",
    "/models/retry/": "/models/",
}


def views(parts: list[Any]) -> list[Any]:
    """Every view with its name."""
    found = []
    for part in parts:
        if isinstance(part, URLResolver):
            found += views(part.url_patterns)
        elif isinstance(part, URLPattern):
            found.append((part.name, part.callback))
    return found


def test_every_address_that_takes_only_a_form_is_known(rf: Any) -> None:
    known = {resolve(path).url_name for path in ABOVE}
    takes_only_a_form = set()
    for name, view in views(get_resolver().url_patterns):
        # The decorator refuses before anything is looked up; a view that is asked falls over.
        try:
            refused = view(rf.get("/")).status_code == 405
        except Exception:  # noqa: BLE001
            refused = False
        if refused:
            takes_only_a_form.add(name)
    assert takes_only_a_form == known


@pytest.mark.parametrize("path", ABOVE)
def test_the_address_of_a_form_leads_to_the_page_above(
    path: str, alice: User, signed_in: SignedIn
) -> None:
    answer = signed_in(alice).get(path)
    assert (answer.status_code, answer["Location"]) == (302, ABOVE[path])
    assert signed_in(alice).head(path).status_code == 302


def test_another_method_is_refused_on_a_page(alice: User, signed_in: SignedIn) -> None:
    answer = signed_in(alice).put("/tools/tool-7/call/")
    assert (answer.status_code, answer["Allow"]) == (405, "POST")
    assert "The request was a PUT, and this address takes POST." in answer.content.decode()
    assert signed_in(alice).post("/tools/").status_code == 405


@pytest.mark.django_db
@pytest.mark.parametrize("path", ABOVE)
def test_a_form_sent_signed_out_leads_back_to_its_page(path: str) -> None:
    answer = Client().post(path, headers={"Referer": "http://testserver/tools/t/?from=3#try"})
    assert answer.status_code == 302
    assert answer["Location"] == "/login/?next=/tools/t/%3Ffrom%3D3"


@pytest.mark.django_db
@pytest.mark.parametrize(
    "page",
    [
        "",
        "https://elsewhere.example.org/tools/",
        "http://testserver:81/",
        "//elsewhere.example.org/",
        "javascript:alert(1)",
        "http://testserver@elsewhere.example.org/",
        "http://testserver",
    ],
)
def test_a_form_of_nowhere_leads_to_the_start(page: str) -> None:
    answer = Client().post("/tools/tool-7/call/", headers={"Referer": page})
    assert answer["Location"] == "/login/?next=/"


@pytest.mark.django_db
def test_a_page_opened_signed_out_is_where_one_lands() -> None:
    assert Client().get("/tools/?a=1")["Location"] == "/login/?next=/tools/%3Fa%3D1"


@pytest.mark.django_db
def test_a_fragment_that_is_refused_leads_back_to_its_page() -> None:
    headers = {"HX-Request": "true", "HX-Current-URL": "http://testserver/jobs/new/?from=a"}
    page = Client().post("/jobs/new/check/", headers=headers, follow=True).content.decode()
    assert '<a href="/login/?next=/jobs/new/%3Ffrom%3Da">Sign in</a>' in page
