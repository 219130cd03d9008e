"""A real worker, sweeper and engine with a judge that refuses its key: paused, mended, finished."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterator
from io import StringIO
from pathlib import Path

import pytest
from django.core import management

from graders.selectors import latest_version
from graders.services import grader_create
from graders.services.judges import JudgeFields, judge_create, judge_key_rotate
from hone.demo.base_model import WEIGHTS
from jobs.models import Job, JobEvent, Run, Usage
from jobs.selectors.judges import judges_frozen
from tests.graders.judge_server import Server, scored
from tests.jobs.processes import Programs, state

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.slow]

OLD, NEW = "sk-canary-refused-1", "sk-canary-taken-2"
SECRETS_KEY = f"test:{'A' * 43}="
JUDGED = {
    "type": "score_model",
    "model": "ours/small",
    "input": [{"role": "user", "content": "{{sample.output_text}}"}],
}


def answer(body):
    text = json.dumps(body.get("messages"))
    return scored(hashlib.sha256(text.encode()).digest()[0] / 255)


@pytest.fixture
def server(monkeypatch) -> Iterator[Server]:
    with Server(None).serving() as served:
        # What is sent to it says which key it was sent with; only the new one is taken.
        def reply(body):
            known = served.headers[-1].get("authorization") == f"Bearer {NEW}"
            return answer(body) if known else (401, "who are you?")

        served.answer = reply
        monkeypatch.setenv("HONE_OUTBOUND_ALLOW", f"127.0.0.1:{served.port}")
        yield served


@pytest.fixture
def judged_job(make_job, fake_engine, monkeypatch, settings, organisation, alice, server) -> Job:
    # The programs have a data folder of their own, and so no key file of this one.
    monkeypatch.setenv("SECRETS_KEYS", SECRETS_KEY)
    settings.SECRETS_KEYS = [SECRETS_KEY]
    monkeypatch.setenv("HONE_ENGINE_COMMAND", f"{sys.executable} -m jobs.engine")
    for name, seconds in {"LEASE": "20", "RENEW": "1", "SWEEP": "0.3", "PROBE": "0.5"}.items():
        monkeypatch.setenv(f"HONE_{name}_S", seconds)
    judge_create(
        acting_user=alice,
        organisation=organisation,
        name="ours",
        fields=JudgeFields(base_url=f"{server.url}/v1", models=("small",)),
        key=OLD,
    )
    made = grader_create(acting_user=alice, organisation=organisation, name="judged", spec=JUDGED)
    job = make_job(steps=1)
    job.grader_version = latest_version(made)
    job.spec["judges"] = judges_frozen(organisation, ["ours/small"])
    job.spec["train"]["split_rows"] = [0, 1, 2, 3, 4, 5]
    job.spec["validation"] = {**job.spec["validation"], "split_rows": [6, 7]}
    job.spec["budgets"] = {"max_turns": 1, "max_turn_tokens": 8, "max_total_tokens": 256}
    job.spec["engine"] |= {"max_refills": 0, "lora_rank": 4}
    job.save()
    job.base_model.folder = str(WEIGHTS)
    job.base_model.save()
    return job


def command_lines() -> bytes:
    found = b""
    for process in Path("/proc").iterdir():
        if process.name.isdigit():
            for name in ("cmdline", "environ"):
                try:
                    found += (process / name).read_bytes()
                except OSError:
                    continue
    return found


def test_a_job_waits_for_its_judge_and_finishes_when_the_key_is_mended(
    judged_job: Job, programs: Programs, server: Server, alice, settings
) -> None:
    run = Run.objects.get(job=judged_job)
    programs.sweeper()
    programs.celery_worker()
    programs.wait_for(lambda: state(run).status == "paused", 240)
    seen = command_lines()
    paused = state(run)
    assert (paused.pause_reason, paused.last_step) == ("grader_unavailable", -1)
    told = JobEvent.objects.filter(job=judged_job, text__contains="HTTP 401").last()
    assert told is not None
    asked = len(server.requests)
    programs.wait_for(lambda: len(server.requests) > asked, 60)
    assert state(run).status == "paused", "a probe with the wrong key wakes nobody"
    assert server.requests[-1][1] == {"model": "small"}, "a probe asks nothing"

    judge = judged_job.organisation.judges.get()
    judge_key_rotate(acting_user=alice, judge=judge, key=NEW)
    programs.wait_for(lambda: state(run).is_final, 300)
    judged_job.refresh_from_db()
    assert judged_job.status == "succeeded", f"{judged_job.error_message}\n{judged_job.error_log}"
    usage = Usage.objects.filter(run=run).order_by("step")
    assert [row.judge_calls for row in usage] == [2, 6]

    dump = StringIO()
    management.call_command("dumpdata", stdout=dump)
    files = Path(settings.MEDIA_ROOT).rglob("*")
    written = [path.read_bytes() for path in files if path.is_file()]
    everything = b"".join([*written, programs.log.read_bytes(), dump.getvalue().encode(), seen])
    assert judge.pk.encode() in everything
    for key in (OLD, NEW):
        assert key.encode() not in everything
