"""Jobs whose graders call out: what is checked and frozen, told to the engine, and probed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from graders.models import GraderVersion, Judge
from graders.selectors import latest_version
from graders.services import grader_create, header_replace
from graders.services.judges import (
    JudgeFields,
    judge_archive,
    judge_change,
    judge_create,
    judge_key_rotate,
)
from hone.core.net.function_call import MASK
from jobs.engine import events
from jobs.errors import JobRefused, MustPause
from jobs.models import Job, PauseReason, Run, Usage
from jobs.selectors.usage import job_sums
from jobs.services.checks import job_checks
from jobs.services.commit import step_commit
from jobs.services.create import job_create
from jobs.services.lease import run_acquire
from jobs.services.probe import run_probe
from jobs.services.request import JobRequest
from jobs.supervisor.handshake import handshake_build
from tests.graders.judge_server import Server, reset
from tests.jobs.conftest import EXACT, make_dataset, task

pytestmark = pytest.mark.django_db(transaction=True)

KEY = "sk-canary-job-4711"
SECRET = "tok-canary-job-0815"
SCORE: dict[str, Any] = {
    "type": "score_model",
    "model": "ours/small",
    "input": [{"role": "user", "content": "{{sample.output_text}} {{item.answer}}"}],
}


@pytest.fixture
def server(settings) -> Iterator[Server]:
    with Server((400, "no messages")).serving() as served:
        settings.OUTBOUND_ALLOW = (f"127.0.0.1:{served.port}",)
        yield served


@pytest.fixture
def judge(organisation, alice, server) -> Judge:
    return judge_create(
        acting_user=alice,
        organisation=organisation,
        name="ours",
        fields=JudgeFields(base_url=f"{server.url}/v1", models=("small", "large")),
        key=KEY,
    )


@pytest.fixture
def grader(organisation, alice, judge):
    def make(spec: dict[str, Any] = SCORE, name: str = "judged") -> str:
        made = grader_create(acting_user=alice, organisation=organisation, name=name, spec=spec)
        return latest_version(made).pk

    return make


@pytest.fixture
def ask(organisation, alice, base_model, grader, settings, tmp_path) -> JobRequest:
    settings.MEDIA_ROOT = tmp_path / "files"
    train = make_dataset(organisation, alice, [task(number) for number in range(12)])
    validation = make_dataset(organisation, alice, [task(number) for number in range(20, 30)])
    return JobRequest(
        base_model=base_model.pk,
        train_version=train.pk,
        validation_version=validation.pk,
        grader_version=grader(),
    )


def endpoint(server: Server) -> dict[str, Any]:
    return {"type": "endpoint", "url": f"{server.url}/score", "headers": {"X-Key": SECRET}}


def said(organisation, request: JobRequest) -> list[tuple[str, str, str, str]]:
    checks = job_checks(organisation, request).checks
    return [(c.state, c.code, c.field, c.sentence) for c in checks if c.topic == "Judges"]


def create(ask: JobRequest, alice, organisation) -> Job:
    return job_create(acting_user=alice, organisation=organisation, request=ask)


def lease_of(job: Job):
    lease = run_acquire(Run.objects.get(job=job).pk, holder="w", host="h")
    assert lease is not None
    return lease


def test_a_job_without_judges_says_nothing_of_them(organisation, alice, ask, grader) -> None:
    plain = replace(ask, grader_version=grader(EXACT, "exact"))
    assert said(organisation, plain) == []
    assert create(plain, alice, organisation).spec["judges"] == {}


def test_an_address_that_may_be_called_is_said_and_one_that_may_not_refuses(
    organisation, ask, settings, server
) -> None:
    assert said(organisation, ask) == [("ok", "", "", "Every judge's address may be called.")]
    settings.OUTBOUND_ALLOW = ()
    [(state, code, field, sentence)] = said(organisation, ask)
    assert (state, code, field) == ("problem", "judge_blocked", "grader_version")
    assert sentence.startswith(f"the judge ours at {server.url}/v1: This address may not be called")
    assert server.requests == []


def test_a_deterministic_job_with_a_judge_is_refused_with_a_sentence(
    organisation, alice, ask
) -> None:
    with pytest.raises(JobRefused) as refused:
        create(replace(ask, deterministic=True), alice, organisation)
    assert refused.value.problems == [
        (
            "judge_deterministic",
            "grader_version",
            "The job is deterministic, and a judge promises no equal answers. Turn deterministic "
            "off, or choose graders without a judge.",
        )
    ]
    assert Job.objects.count() == 0


def test_a_deterministic_job_may_ask_an_endpoint(organisation, alice, ask, grader, server) -> None:
    scored = replace(ask, grader_version=grader(endpoint(server), "ours"), deterministic=True)
    assert create(scored, alice, organisation).spec["engine"]["deterministic"] is True


def test_a_model_that_no_judge_offers_any_more_is_a_problem(
    organisation, alice, ask, judge
) -> None:
    judge_archive(acting_user=alice, judge=judge)
    [(state, code, field, sentence)] = said(organisation, ask)
    assert (state, code, field) == ("problem", "judge_unknown", "grader_version")
    assert sentence.startswith("judged v1 asks for 'ours/small', which no judge offers any more.")


def test_the_engine_is_told_of_judges_and_headers_as_they_are_when_it_starts(
    organisation, alice, ask, grader, judge, server
) -> None:
    whole = replace(
        ask,
        held_out_grader=grader(
            {"type": "multi", "graders": {"e": endpoint(server)}, "calculate_output": "e"}, "held"
        ),
        turn_judge="ours/large",
        judge_instructions="  Be fair. ",
    )
    job = create(whole, alice, organisation)
    assert job.spec["judges"] == {
        "ours/small": {"judge": judge.pk, "name": "ours", "model": "small"},
        "ours/large": {"judge": judge.pk, "name": "ours", "model": "large"},
    }
    assert job.spec["turn_rewards"] == {
        "judge": {"model": "ours/large", "instructions": "Be fair."}
    }
    assert SECRET not in str(job.spec)
    judge_key_rotate(acting_user=alice, judge=judge, key="sk-next")
    judge_archive(acting_user=alice, judge=judge)
    lease = lease_of(job)
    shake = handshake_build(lease)
    small = shake.judges["ours/small"]
    assert (small.url, small.model, small.key) == (f"{server.url}/v1", "small", "sk-next")
    assert shake.grader_headers == {"held_out_grader": {"graders.e": {"X-Key": SECRET}}}
    held_out = GraderVersion.objects.exclude(headers_sealed="").get()
    header_replace(
        acting_user=alice, version=held_out, place="graders.e", name="X-Key", value="next"
    )
    again = handshake_build(lease)
    assert again.grader_headers == {"held_out_grader": {"graders.e": {"X-Key": "next"}}}
    assert shake.spec.held_out_grader["graders"]["e"]["headers"] == {"X-Key": MASK}
    wanted = shake.spec.credit.turn_rewards
    assert wanted is not None
    assert wanted.judge is not None
    assert (wanted.judge.model, wanted.judge.instructions) == ("ours/large", "Be fair.")


def test_a_judge_that_is_renamed_in_a_spec_of_old_stays_the_one_that_was_frozen(
    organisation, alice, ask, judge
) -> None:
    job = create(ask, alice, organisation)
    judge_change(
        acting_user=alice,
        judge=judge,
        fields=JudgeFields(base_url=judge.base_url, models=("other",)),
    )
    assert handshake_build(lease_of(job)).judges["ours/small"].model == "small"


def test_a_key_that_cannot_be_opened_pauses_the_job_until_it_can(
    organisation, alice, ask, judge, server
) -> None:
    job = create(ask, alice, organisation)
    Judge.objects.filter(pk=judge.pk).update(key_sealed="v1:gone:AAAA")
    with pytest.raises(MustPause, match="the key 'gone'") as paused:
        handshake_build(lease_of(job))
    assert paused.value.reason == "grader_unavailable"
    run = Run.objects.get(job=job)
    run.pause_reason = PauseReason.GRADER_UNAVAILABLE
    assert not run_probe(run)
    judge.refresh_from_db()
    judge_key_rotate(acting_user=alice, judge=judge, key=KEY)
    assert run_probe(run)


def test_turns_are_scored_by_one_source_only(organisation, ask) -> None:
    both = replace(
        ask, turn_judge="ours/small", judge_instructions="x", gold_answer="{{item.answer}}"
    )
    codes = [check.code for check in job_checks(organisation, both).problems]
    assert codes == ["turn_rewards_both"]


def test_a_judge_of_turns_needs_to_be_told_something(organisation, ask) -> None:
    found = said(organisation, replace(ask, turn_judge="ours/small", judge_instructions=" "))
    assert found[0][:3] == ("problem", "judge_instructions", "judge_instructions")
    unknown = said(organisation, replace(ask, turn_judge="ours/tiny", judge_instructions="x"))
    assert unknown[0][1:3] == ("judge_unknown", "turn_judge")


@pytest.mark.parametrize(
    ("answer", "goes_on"),
    [
        ((400, "no messages"), True),
        ((422, "no messages"), True),
        ((500, "KeyError: messages"), True),
        ((200, {}), True),
        ((401, "who?"), False),
        ((402, "pay"), False),
        ((404, "no such model"), False),
        ((429, "slow down"), False),
        ((502, "gateway"), False),
        ((503, "gateway"), False),
        (reset, False),
    ],
)
def test_a_paused_job_goes_on_when_its_judge_is_at_work(
    organisation, alice, ask, server, answer, goes_on
) -> None:
    job = create(ask, alice, organisation)
    run = Run.objects.get(job=job)
    run.pause_reason = PauseReason.GRADER_UNAVAILABLE
    server.answer = answer
    assert run_probe(run) is goes_on
    [(path, body)] = server.requests
    assert path == "/v1/chat/completions"
    assert body == {"model": "small"}, "no question, which costs nothing"
    assert server.headers[0]["authorization"] == f"Bearer {KEY}"


def test_an_endpoint_is_probed_with_its_secret_header(
    organisation, alice, ask, grader, server
) -> None:
    scored = replace(ask, grader_version=grader(endpoint(server), "ours"))
    run = Run.objects.get(job=create(scored, alice, organisation))
    run.pause_reason = PauseReason.GRADER_UNAVAILABLE
    assert run_probe(run)
    assert (server.requests, server.headers[0]["x-key"]) == ([("/score", {})], SECRET)


def test_what_judges_were_asked_is_part_of_a_steps_usage(organisation, alice, ask) -> None:
    job = create(ask, alice, organisation)
    assert job_sums(job).judge_calls == 0
    told = {
        "calls": 7,
        "failed": 1,
        "prompt_tokens": 700,
        "completion_tokens": 140,
        "cached_tokens": 0,
        "cost": 0.25,
    }
    done = events.StepDone(
        step=0,
        total_steps=1,
        metrics={"judges": {"ours/small": told, "ours/large": told}},
        trajectories=[],
        bodies="",
        checkpoint=events.CheckpointRef(step=0, path="c", manifest_sha256="0" * 64, bytes=1),
        kept=(0,),
    )
    step_commit(lease_of(job), done)
    row = Usage.objects.get(run__job=job)
    assert (row.judge_calls, row.judge_tokens, row.judge_cost) == (14, 1680, 0.5)
    spent = job_sums(job)
    assert (spent.judge_calls, spent.judge_tokens, spent.judge_cost) == (14, 1680, 0.5)
