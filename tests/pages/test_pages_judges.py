"""The pages of judges: registered, refused in words, asked, changed; and no key on any of them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from django.core import management
from django.test import Client

from graders.models import GraderVersion, Judge
from graders.selectors import judge_endpoint, version_headers
from graders.starts import STARTS
from hone.accounts.models import AuditEntry, User
from tests.graders.judge_server import Server, completion, scored

KEY = "sk-canary-page-4711/x"
SECRET = "tok-canary-page-0815/x"
HOSTILE = "</script><script>alert(1)</script>\u202e"


@pytest.fixture
def server(settings: Any) -> Iterator[Server]:
    with Server(scored(0.5)).serving() as served:
        settings.OUTBOUND_ALLOW = (f"127.0.0.1:{served.port}",)
        yield served


@pytest.fixture
def member(bob: User) -> Client:
    client = Client()
    client.force_login(bob)
    return client


def typed(server: Server, **changes: Any) -> dict[str, Any]:
    return {
        "name": "ours",
        "base_url": f"{server.url}/v1",
        "models": "small\n org/large \n\n",
        "key": KEY,
        "input_price": "0.15",
        "output_price": "0.6",
        "per_minute": "0",
        "max_concurrency": "8",
        "timeout_s": "60",
    } | changes


def register(member: Client, server: Server, **changes: Any) -> str:
    page = member.post("/graders/judges/new/", typed(server, **changes), follow=True)
    assert KEY not in page.content.decode()
    return page.content.decode()


def test_a_judge_is_registered_and_shown_as_graders_name_it(member: Client, server: Server) -> None:
    page = register(member, server)
    assert "ours is registered. Ask it something." in page
    assert "ours/small" in page
    assert "ours/org/large" in page
    assert "A key is set. It is encrypted and never shown." in page
    judge = Judge.objects.get()
    assert (judge.models_offered, str(judge.input_price)) == (["small", "org/large"], "0.150000")
    assert server.requests == [], "nothing is sent by registering"


def test_all_that_is_wrong_is_said_and_the_key_is_not_sent_back(
    member: Client, server: Server
) -> None:
    wrong = {"name": "a/b", "base_url": "x", "models": "", "input_price": "-1", "timeout_s": "no"}
    page = register(member, server, **wrong)
    for words in (
        "is no name of a judge",
        "scheme is missing",
        "0 models are named",
        "The price is -1",
        "Write a number of seconds",
    ):
        assert words in page
    assert Judge.objects.count() == 0


def test_an_answer_is_shown_with_its_time_tokens_and_cost(member: Client, server: Server) -> None:
    register(member, server)
    server.answer = completion({"answer": HOSTILE, "score": 1}, model=f"small{HOSTILE}")
    path = f"/graders/judges/{Judge.objects.get().pk}/try/"
    page = member.post(path, {"model": "small", "question": "Agree?"}).content.decode()
    assert "✓ Answered." in page
    assert "<dd>100</dd>" in page
    assert "<dd>20</dd>" in page
    assert "0.000027" in page
    assert "<script>alert" not in page
    assert "⟦U+202E⟧" in page
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ((503, f"no room, {KEY}"), "✗ No answer."),
        (completion("Sure!"), "! Not usable."),
        (completion(None, refusal="I must not."), "! Refused."),
        ("<html>", "✗ No answer."),
    ],
)
def test_what_went_wrong_is_said_in_its_own_words_and_never_with_the_key(
    member: Client, server: Server, answer: Any, words: str
) -> None:
    register(member, server)
    server.answer = answer
    path = f"/graders/judges/{Judge.objects.get().pk}/try/"
    page = member.post(path, {"model": "small", "question": "Agree?"}).content.decode()
    assert words in page
    assert KEY not in page


def test_a_question_that_cannot_be_asked_is_refused_at_its_field(
    member: Client, server: Server
) -> None:
    register(member, server)
    path = f"/graders/judges/{Judge.objects.get().pk}/try/"
    page = member.post(path, {"model": "tiny", "question": ""}).content.decode()
    assert "It was not asked." in page
    assert server.requests == []


def test_a_change_without_a_key_keeps_it_and_another_key_replaces_it(
    member: Client, server: Server
) -> None:
    register(member, server, input_price="100")
    judge = Judge.objects.get()
    page = member.get(f"/graders/judges/{judge.pk}/edit/").content.decode()
    assert KEY not in page
    assert 'name="input_price" value="100"' in page
    changed = typed(server, key="", models="new", per_minute="60")
    member.post(f"/graders/judges/{judge.pk}/edit/", changed)
    judge.refresh_from_db()
    assert (judge.models_offered, judge.per_minute) == (["new"], 60)
    assert judge_endpoint(judge, "new").key == KEY
    page = member.post(f"/graders/judges/{judge.pk}/key/", {"key": ""}).content.decode()
    assert "Type the new key." in page
    sent = member.post(f"/graders/judges/{judge.pk}/key/", {"key": "sk-next"}, follow=True)
    assert "ours has a new key; the old one is gone." in sent.content.decode()
    judge.refresh_from_db()
    assert judge_endpoint(judge, "new").key == "sk-next"


def test_an_archived_judge_leaves_the_list_and_can_be_read(member: Client, server: Server) -> None:
    register(member, server)
    judge = Judge.objects.get()
    page = member.post(f"/graders/judges/{judge.pk}/archive/", follow=True).content.decode()
    assert "ours is archived. Jobs that use it keep it." in page
    assert "Archived judges" in page
    assert "Archived" in member.get(f"/graders/judges/{judge.pk}/").content.decode()


def test_an_empty_list_says_what_to_do_next(member: Client, dora: User) -> None:
    assert "Register judge" in member.get("/graders/judges/").content.decode()
    reader = Client()
    reader.force_login(dora)
    page = reader.get("/graders/judges/").content.decode()
    assert "No judges yet. Members of the organisation can register one." in page


def edited(spec: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {
        "name": "judged",
        "spec": json.dumps(spec),
        "output_text": "Paris",
        "output_tools": "",
        "item": '{"answer": "Paris"}',
    } | more


def test_a_grader_with_a_judge_is_tried_in_the_editor_with_its_tokens(
    member: Client, server: Server
) -> None:
    register(member, server)
    spec = STARTS["score_model"] | {"model": "ours/small"}
    form = edited(spec, do="try")
    page = member.post("/graders/new/?kind=score_model", form).content.decode()
    assert "0.500" in page
    assert '<th scope="row">ours/small</th><td class="num">100</td>' in page
    assert "&lt;answer&gt;" not in str(server.requests)
    assert "<answer>Paris</answer>" in server.requests[0][1]["messages"][1]["content"]


def test_the_editor_says_which_judges_there_are(member: Client, server: Server) -> None:
    register(member, server)
    form = edited(STARTS["label_model"] | {"model": "gpt"}, do="save")
    page = member.post("/graders/new/?kind=label_model", form).content.decode()
    assert "is offered by no judge. Write one of ours/org/large, ours/small." in page


def test_a_header_of_an_endpoint_is_masked_once_it_is_saved_and_still_sent(
    member: Client, server: Server
) -> None:
    server.answer = {"score": 3}
    spec = STARTS["endpoint"] | {"url": f"{server.url}/score", "headers": {"X-Key": SECRET}}
    page = member.post("/graders/new/?kind=endpoint", edited(spec, do="save"), follow=True)
    assert SECRET not in page.content.decode()
    version = GraderVersion.objects.get()
    assert version_headers(version) == {"": {"X-Key": SECRET}}
    path = f"/graders/{version.grader_id}/edit/"
    page = member.get(path).content.decode()
    assert SECRET not in page
    form = edited(version.spec, do="try", edited="1")
    page = member.post(path, form).content.decode()
    assert "3.000" in page
    assert SECRET not in page
    assert [headers["x-key"] for headers in server.headers] == [SECRET]


def test_a_header_of_a_saved_version_gets_a_new_value_that_no_page_shows(
    member: Client, server: Server
) -> None:
    spec = STARTS["endpoint"] | {"url": f"{server.url}/score", "headers": {"X-Key": "old"}}
    member.post("/graders/new/?kind=endpoint", edited(spec, do="save"))
    version = GraderVersion.objects.get()
    path = f"/graders/{version.grader_id}/v1/headers/"
    assert path in member.get(f"/graders/{version.grader_id}/").content.decode()
    page = member.post(path, {"header": "0", "value": f"{SECRET}\x01x"}).content.decode()
    assert "holds a control character" in page
    page = member.post(path, {"header": "0", "value": SECRET}, follow=True).content.decode()
    assert "X-Key has a new value." in page
    assert SECRET not in page
    version.refresh_from_db()
    assert version_headers(version) == {"": {"X-Key": SECRET}}
    assert GraderVersion.objects.count() == 1
    entry = AuditEntry.objects.get(action="grader.header")
    assert entry.detail == {"number": 1, "place": "", "header": "X-Key"}


def test_no_secret_is_in_a_dump_of_the_database(
    member: Client, server: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    register(member, server)
    server.answer = (401, f"unknown {KEY} {SECRET}")
    judge = Judge.objects.get()
    member.post(f"/graders/judges/{judge.pk}/try/", {"model": "small", "question": "?"})
    spec = STARTS["endpoint"] | {"url": f"{server.url}/score", "headers": {"X-Key": SECRET}}
    member.post("/graders/new/?kind=endpoint", edited(spec, do="try"))
    member.post("/graders/new/?kind=endpoint", edited(spec, do="save"))
    management.call_command("dumpdata", stdout=None)
    dump, log = capsys.readouterr()
    assert judge.pk in dump
    for secret in (KEY, SECRET):
        assert secret not in dump + log
