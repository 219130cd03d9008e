"""Judges as rows: registering, changing, another key, asking, and graders that name them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from django.core.exceptions import PermissionDenied
from django.http import Http404

from graders.errors import InvalidSpec
from graders.kinds.base import Sample
from graders.models import GraderVersion, Judge
from graders.selectors import (
    access_judge,
    judge_endpoint,
    judge_list,
    judge_models,
    latest_version,
    version_headers,
)
from graders.services import (
    grader_create,
    grader_ready,
    grader_try,
    grader_version_add,
    version_opened,
)
from graders.services.judges import (
    JudgeFields,
    judge_archive,
    judge_change,
    judge_create,
    judge_key_rotate,
    judge_problems,
    judge_try,
)
from hone.accounts.models import AuditEntry
from hone.core.errors import UserError
from hone.core.net.function_call import MASK
from hone.core.secrets import SecretUnreadable
from tests.graders.judge_server import Server, completion, scored

pytestmark = pytest.mark.django_db

KEY = "sk-canary-row-0815"
FIELDS = JudgeFields(
    base_url="https://judges.example.org/v1/",
    models=("small", "org/large"),
    input_price=Decimal("0.15"),
    output_price=Decimal("0.6"),
)
SCORE: dict[str, Any] = {
    "type": "score_model",
    "model": "small",
    "input": [{"role": "user", "content": "{{sample.output_text}}"}],
}
ENDPOINT: dict[str, Any] = {
    "type": "endpoint",
    "url": "https://grader.example.org/score",
    "headers": {"X-Key": "tok-canary-header"},
}


@pytest.fixture
def judge(alice, organisation) -> Judge:
    return make(alice, organisation)


def make(user, organisation, name="ours", fields=FIELDS, key=KEY) -> Judge:
    return judge_create(
        acting_user=user, organisation=organisation, name=name, fields=fields, key=key
    )


@pytest.fixture
def server(settings) -> Iterator[Server]:
    with Server(scored(0.5)).serving() as served:
        settings.OUTBOUND_ALLOW = (f"127.0.0.1:{served.port}",)
        yield served


def test_a_judge_is_kept_with_its_key_sealed_and_said_in_the_audit_without_it(judge, alice) -> None:
    assert (judge.base_url, judge.models_offered) == (
        "https://judges.example.org/v1",
        ["small", "org/large"],
    )
    assert KEY not in str(list(Judge.objects.values()))
    assert judge_endpoint(judge, "small").key == KEY
    entry = AuditEntry.objects.get(action="judge.create")
    assert (entry.target, entry.detail["name"]) == (judge.pk, "ours")
    assert KEY not in str(list(AuditEntry.objects.values()))


def test_a_sealed_key_that_is_copied_to_another_row_does_not_open(
    judge, alice, organisation
) -> None:
    other = make(alice, organisation, "other", key="")
    Judge.objects.filter(pk=other.pk).update(key_sealed=judge.key_sealed)
    other.refresh_from_db()
    with pytest.raises(SecretUnreadable):
        judge_endpoint(other, "small")


def test_only_members_change_and_only_of_their_own(judge, dora, charlie, organisation) -> None:
    with pytest.raises(PermissionDenied):
        make(dora, organisation, "hers")
    for change in (
        lambda user: judge_change(acting_user=user, judge=judge, fields=FIELDS),
        lambda user: judge_key_rotate(acting_user=user, judge=judge, key="k"),
        lambda user: judge_archive(acting_user=user, judge=judge),
        lambda user: judge_try(acting_user=user, judge=judge, model="small", question="?"),
    ):
        with pytest.raises(PermissionDenied):
            change(dora)
        with pytest.raises(Http404):
            change(charlie)
    with pytest.raises(Http404):
        access_judge(charlie, judge.pk)


def test_a_name_is_given_once_until_it_is_archived(judge, alice, organisation) -> None:
    with pytest.raises(UserError, match="called 'ours' already"):
        make(alice, organisation)
    judge_archive(acting_user=alice, judge=judge)
    assert make(alice, organisation).pk != judge.pk
    assert judge.pk in {row.pk for row in judge_list(organisation, archived=True)}


def test_a_change_keeps_the_key_for_the_same_server_and_for_no_other(judge, alice) -> None:
    same = replace(FIELDS, base_url="https://judges.example.org/v2", models=("new",))
    judge_change(acting_user=alice, judge=judge, fields=same)
    judge.refresh_from_db()
    assert judge_endpoint(judge, "new").key == KEY
    assert judge.models_offered == ["new"]
    moved = replace(FIELDS, base_url="https://thief.example.net/v1")
    with pytest.raises(UserError, match=r"given for https://judges\.example\.org") as refused:
        judge_change(acting_user=alice, judge=judge, fields=moved)
    assert refused.value.field == "key"
    judge.refresh_from_db()
    assert judge.base_url == "https://judges.example.org/v2"
    judge_change(acting_user=alice, judge=judge, fields=moved, key="another")
    judge.refresh_from_db()
    assert judge_endpoint(judge, "small").key == "another"


def test_another_key_takes_the_place_of_the_old_one(judge, alice) -> None:
    judge_key_rotate(acting_user=alice, judge=judge, key="sk-new")
    judge.refresh_from_db()
    assert judge_endpoint(judge, "small").key == "sk-new"
    assert AuditEntry.objects.filter(action="judge.key", target=judge.pk).count() == 1
    with pytest.raises(UserError, match="Type the new key"):
        judge_key_rotate(acting_user=alice, judge=judge, key="")
    judge_archive(acting_user=alice, judge=judge)
    with pytest.raises(UserError, match="archived"):
        judge_key_rotate(acting_user=alice, judge=judge, key="sk-newer")


def test_all_that_is_wrong_is_said_at_once_and_never_the_key() -> None:
    wrong = JudgeFields(
        base_url="https://x.example.org/v1/chat/completions",
        models=("a", "a"),
        input_price=Decimal(-1),
        output_price=Decimal("NaN"),
        per_minute=-1,
        max_concurrency=0,
        timeout_s=601,
    )
    found = judge_problems(wrong, name="a/b", key="sk-\u20ac")
    assert [problem.field for problem in found] == [
        "name",
        "base_url",
        "models",
        "input_price",
        "output_price",
        "per_minute",
        "max_concurrency",
        "timeout_s",
        "key",
    ]
    assert "sk-" not in str([problem.message for problem in found])


@pytest.mark.parametrize(
    "url",
    ["", "ftp://x/", "https://u:p@x.example.org/", "https://x.example.org/v1?a=1", "http://x\x00"],
)
def test_a_url_that_cannot_be_called_is_refused(url) -> None:
    [problem] = judge_problems(replace(FIELDS, base_url=url))
    assert problem.field == "base_url"


def test_a_spec_names_a_judge_and_its_model_or_a_model_that_one_judge_offers(
    judge, alice, organisation
) -> None:
    assert sorted(judge_models(organisation)) == [
        "org/large",
        "ours/org/large",
        "ours/small",
        "small",
    ]
    make(alice, organisation, "other", replace(FIELDS, models=("small",)))
    assert sorted(judge_models(organisation)) == [
        "org/large",
        "other/small",
        "ours/org/large",
        "ours/small",
    ]


def create(user, organisation, spec, name="judged"):
    return grader_create(acting_user=user, organisation=organisation, name=name, spec=spec)


def test_a_grader_is_saved_with_a_model_that_a_judge_offers(judge, alice, organisation) -> None:
    grader = create(alice, organisation, SCORE)
    assert latest_version(grader).spec == SCORE


def test_a_model_that_no_judge_offers_is_refused_with_those_there_are(
    judge, alice, organisation
) -> None:
    multi = {"type": "multi", "graders": {"j": SCORE | {"model": "tiny"}}, "calculate_output": "j"}
    with pytest.raises(InvalidSpec) as refused:
        create(alice, organisation, multi)
    assert refused.value.param == "graders.j.model"
    assert refused.value.message == (
        "graders.j.model: 'tiny' is offered by no judge. Write one of ours/org/large, ours/small."
    )


def test_without_judges_the_way_to_one_is_said(alice, organisation) -> None:
    with pytest.raises(InvalidSpec, match="Register one under Graders › Judges"):
        create(alice, organisation, SCORE)


def test_a_model_that_two_judges_offer_has_to_be_named_in_full(judge, alice, organisation) -> None:
    make(alice, organisation, "other", replace(FIELDS, models=("small",)))
    with pytest.raises(InvalidSpec, match="Write one of other/small, ours/small"):
        create(alice, organisation, SCORE)


def test_a_foreign_judge_is_as_none(judge, charlie) -> None:
    elsewhere = charlie.memberships.get().organisation
    with pytest.raises(InvalidSpec, match="none is registered"):
        create(charlie, elsewhere, SCORE)


def test_the_values_of_headers_are_sealed_and_masked_for_ever_after(alice, organisation) -> None:
    version = latest_version(create(alice, organisation, ENDPOINT))
    assert version.spec["headers"] == {"X-Key": MASK}
    assert version_headers(version) == {"": {"X-Key": "tok-canary-header"}}
    assert version_opened(version) == ENDPOINT
    assert "tok-canary" not in str(list(GraderVersion.objects.values()))
    assert "tok-canary" not in str(list(AuditEntry.objects.values()))
    assert ENDPOINT["headers"] == {"X-Key": "tok-canary-header"}, "what was sent is left as it was"


def add(user, grader, spec, edited=1):
    return grader_version_add(acting_user=user, grader=grader, spec=spec, edited=edited)


def test_a_mask_keeps_the_value_for_the_same_server_alone(alice, organisation) -> None:
    grader = create(alice, organisation, ENDPOINT)
    masked = latest_version(grader).spec
    second = add(alice, grader, masked | {"rate_limit": 5})
    assert version_headers(second) == {"": {"X-Key": "tok-canary-header"}}
    moved = masked | {"url": "https://thief.example.net/score"}
    with pytest.raises(UserError, match=r"given for https://grader\.example\.org"):
        add(alice, grader, moved, edited=2)
    with pytest.raises(UserError, match="the header X-New has no value"):
        add(alice, grader, masked | {"headers": {"X-New": MASK}}, edited=2)
    assert latest_version(grader).number == 2


def test_another_value_makes_another_version_and_the_same_one_none(alice, organisation) -> None:
    grader = create(alice, organisation, ENDPOINT)
    assert add(alice, grader, ENDPOINT).number == 1
    changed = add(alice, grader, ENDPOINT | {"headers": {"X-Key": "tok-canary-second"}})
    assert changed.number == 2
    assert version_headers(changed) == {"": {"X-Key": "tok-canary-second"}}


def test_a_value_that_no_header_carries_is_refused_and_not_said(alice, organisation) -> None:
    with pytest.raises(InvalidSpec) as refused:
        create(alice, organisation, ENDPOINT | {"headers": {"X-Key": "tok-canary\r\nX: y"}})
    assert refused.value.param == "headers"
    assert "tok-canary" not in refused.value.message
    assert GraderVersion.objects.count() == 0


def test_graders_inside_a_multi_keep_their_own_headers(alice, organisation) -> None:
    children = [ENDPOINT | {"name": "a"}, ENDPOINT | {"name": "b", "headers": {"X-Key": "second"}}]
    spec = {"type": "multi", "graders": children, "calculate_output": "a + b"}
    version = latest_version(create(alice, organisation, spec))
    assert version_headers(version) == {
        "graders.a": {"X-Key": "tok-canary-header"},
        "graders.b": {"X-Key": "second"},
    }
    assert [child["headers"] for child in version.spec["graders"]] == [{"X-Key": MASK}] * 2


def at(server: Server, **fields: Any) -> JudgeFields:
    return replace(FIELDS, base_url=f"{server.url}/v1", **fields)


def test_a_judge_is_asked_from_the_page_once(server, alice, organisation) -> None:
    judge = make(alice, organisation, fields=at(server))
    server.answer = completion({"answer": "Yes.", "score": 1})
    tried = judge_try(acting_user=alice, judge=judge, model="org/large", question="Agree?")
    assert (tried.reply, tried.error) == ('{"answer": "Yes.", "score": 1}', "")
    assert tried.cost == pytest.approx((100 * 0.15 + 20 * 0.6) / 1e6)
    [(path, body)] = server.requests
    assert (path, body["model"]) == ("/v1/chat/completions", "org/large")
    assert body["messages"] == [{"role": "user", "content": "Agree?"}]
    assert server.headers[0]["authorization"] == f"Bearer {KEY}"


def test_a_judge_that_fails_on_the_page_is_asked_once_and_its_words_hold_no_key(
    server, alice, organisation
) -> None:
    judge = make(alice, organisation, fields=at(server))
    server.answer = (500, f"no room for {KEY}")
    tried = judge_try(acting_user=alice, judge=judge, model="small", question="?")
    assert tried.error == f"The judge answered HTTP 500: no room for {MASK}."
    assert len(server.requests) == 1


def test_what_is_no_json_is_shown_and_said(server, alice, organisation) -> None:
    judge = make(alice, organisation, fields=at(server))
    server.answer = completion("Sure! 0.7")
    tried = judge_try(acting_user=alice, judge=judge, model="small", question="?")
    assert (tried.reply, tried.refusal) == ("Sure! 0.7", False)
    assert tried.error == "What the judge wrote is no JSON: Sure! 0.7."


@pytest.mark.parametrize(
    ("asked", "field"),
    [
        ({"model": "tiny", "question": "?"}, "model"),
        ({"model": "small", "question": " "}, "question"),
        ({"model": "small", "question": "x" * 4001}, "question"),
        ({"model": "small", "question": "\x00"}, "question"),
    ],
)
def test_a_question_that_cannot_be_asked_is_refused(judge, alice, asked, field) -> None:
    with pytest.raises(UserError) as refused:
        judge_try(acting_user=alice, judge=judge, **asked)
    assert refused.value.field == field


def test_a_grader_with_a_judge_is_tried_before_it_is_saved(server, alice, organisation) -> None:
    make(alice, organisation, fields=at(server))
    grading = grader_try(
        spec=SCORE, sample=Sample(output_text="x"), item={}, organisation=organisation
    )
    assert grading.reward == 0.5
    assert grading.usage["small"].total_tokens == 120


def test_a_grader_with_an_endpoint_is_tried_with_a_trace_of_its_own(
    server, alice, organisation
) -> None:
    server.answer = {"score": 4}
    spec = ENDPOINT | {"url": f"{server.url}/score"}
    grading = grader_try(
        spec=spec, sample=Sample(output_text="x"), item={"a": 1}, organisation=organisation
    )
    assert grading.reward == 4.0
    assert server.headers[0]["x-key"] == "tok-canary-header"
    body = server.requests[0][1]
    assert body["item"] == {"a": 1}
    assert len(body["trace_id"]) == len("trace_") + 32


def test_a_private_address_is_not_called(settings, alice, organisation) -> None:
    settings.OUTBOUND_ALLOW = ()
    with Server({"score": 4}).serving() as server:
        spec = ENDPOINT | {"url": f"{server.url}/score"}
        grading = grader_try(
            spec=spec, sample=Sample(output_text="x"), item={}, organisation=organisation
        )
    assert grading.error is not None
    assert "HONE_OUTBOUND_ALLOW" in grading.error.message
    assert json.dumps(server.requests) == "[]"


def test_a_grader_that_is_kept_asks_its_judge_from_any_thread(server, alice, organisation) -> None:
    make(alice, organisation, fields=at(server))
    samples = [Sample(output_text=str(number)) for number in range(12)]
    with (
        grader_ready(SCORE, organisation=organisation) as grader,
        ThreadPoolExecutor(4) as threads,
    ):
        gradings = list(threads.map(lambda sample: grader.grade(sample, {}), samples))
    assert [grading.reward for grading in gradings] == [0.5] * 12


COSINE = {
    "type": "text_similarity",
    "input": "{{sample.output_text}}",
    "reference": "Paris",
    "evaluation_metric": "cosine",
    "model": "small",
}


def embeddings(*vectors: Any) -> dict[str, Any]:
    rows = [{"index": place, "embedding": vector} for place, vector in enumerate(vectors)]
    return {"data": rows[::-1], "model": "small-2", "usage": {"prompt_tokens": 3}}


def test_cosine_asks_a_registered_judge_for_embeddings(server, alice, organisation) -> None:
    make(alice, organisation, fields=at(server))
    server.answer = embeddings([1, 0], [3.0, 4.0])
    grading = grader_try(
        spec=COSINE, sample=Sample(output_text="Rome"), item={}, organisation=organisation
    )
    assert grading.reward == pytest.approx(0.6)
    assert (grading.usage["small"].prompt_tokens, grading.sampled_model) == (3, "small-2")
    path, body = server.requests[-1]
    assert path.endswith("/embeddings")
    assert body["input"] == ["Rome", "Paris"]


@pytest.mark.parametrize(
    "answer",
    [
        embeddings([1.0]),
        embeddings([1.0], [1.0, 2.0]),
        embeddings([True], [1.0]),
        embeddings([1e999], [1.0]),
        embeddings([], []),
        {"data": "none"},
    ],
)
def test_embeddings_that_are_none_are_no_score(server, alice, organisation, answer) -> None:
    make(alice, organisation, fields=at(server))
    server.answer = answer
    grading = grader_try(
        spec=COSINE, sample=Sample(output_text="Rome"), item={}, organisation=organisation
    )
    assert (grading.reward, grading.error and grading.error.code) == (None, "model_grader_parse")


def test_cosine_without_a_judge_for_its_model_is_refused(alice, organisation) -> None:
    with pytest.raises(InvalidSpec, match="no judge") as refused:
        grader_create(acting_user=alice, organisation=organisation, name="near", spec=COSINE)
    assert refused.value.field == "spec"
