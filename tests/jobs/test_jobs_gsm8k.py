"""A job on real input: GSM8K with a calculator and a Python grader, on the demo's tiny model."""

from __future__ import annotations

import json
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from subprocess import Popen
from typing import Any

import pytest
from django.core.files.base import ContentFile

from graders.services.authoring import grader_create
from hone.accounts.models import Organisation, User
from hone.datasets.models import DatasetVersion
from hone.datasets.services import dataset_create
from hone.demo.base_model import WEIGHTS
from hone.demo.processes import wait_for_port
from hone.demo.world.tools import definitions
from hone.tools.models import ToolVersion
from hone.tools.services import ToolFields, tool_create
from jobs.models import JobEvent, JobStep, Run, Trajectory
from jobs.services.create import job_create
from jobs.services.models_list import base_model_add
from jobs.services.preflights import preflight_create
from jobs.services.request import JobRequest
from jobs.supervisor.supervise import supervise
from jobs.workbench.preflight_report import preflight_report
from tests.gsm8k import FILE, needed

ROWS = 200

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.slow,
    needed,
]

SOURCE = '''
import re

def grade(sample, item):
    """The last number of the answer, against the reference's."""
    numbers = re.findall(r"-?[0-9][0-9,]*[.]?[0-9]*", sample["output_text"])
    if not numbers:
        return 0.0
    return float(numbers[-1].replace(",", "").rstrip(".") == item["solution"])
'''


def gsm8k(user: User, organisation: Organisation) -> DatasetVersion:
    lines = []
    for line in FILE.read_text().splitlines()[:ROWS]:
        row = json.loads(line)
        solution = row["answer"].rsplit("####", 1)[1].strip().replace(",", "")
        task = {"messages": [{"role": "user", "content": row["question"]}], "solution": solution}
        lines.append(json.dumps(task))
    upload = ContentFile("\n".join(lines).encode(), name="gsm8k.jsonl")
    return dataset_create(acting_user=user, organisation=organisation, name="gsm8k", upload=upload)


@pytest.fixture
def calculator(alice: User, organisation: Organisation, settings: Any) -> Iterator[ToolVersion]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    settings.OUTBOUND_ALLOW = (f"127.0.0.1:{port}",)
    server = Popen([sys.executable, "-m", "hone.demo.server", "--port", str(port)])
    try:
        assert wait_for_port(port, seconds=30, alive=server)
        function = definitions()[2]["function"]
        yield tool_create(
            acting_user=alice,
            organisation=organisation,
            name=function["name"],
            fields=ToolFields(
                url=f"http://127.0.0.1:{port}/",
                description=function["description"],
                parameters=function["parameters"],
            ),
        )
    finally:
        server.terminate()
        server.wait(10)


def asked(
    user: User, organisation: Organisation, calculator: ToolVersion, **settings: int
) -> JobRequest:
    dataset = gsm8k(user, organisation)
    assert dataset.rows == ROWS
    grader = grader_create(
        acting_user=user,
        organisation=organisation,
        name="last number",
        spec={"type": "python", "name": "last number", "source": SOURCE},
    )
    return JobRequest(
        name="gsm8k",
        base_model=base_model_add(name="tiny", source=str(WEIGHTS)).pk,
        train_version=dataset.pk,
        validation_share=0.1,
        tool_versions=(calculator.pk,),
        grader_version=grader.versions.get().pk,
        hyperparameters={"steps": 3, "max_turn_tokens": 64, **settings},
    )


def test_gsm8k_on_the_tiny_model_ends_near_zero_and_says_there_is_no_signal(
    alice: User, organisation: Organisation, calculator: ToolVersion, settings: Any, tmp_path: Path
) -> None:
    settings.MEDIA_ROOT = tmp_path
    request = asked(alice, organisation, calculator, batch_size=4, group_size=4)
    job = job_create(acting_user=alice, organisation=organisation, request=request)
    assert supervise(Run.objects.get(job=job).pk) == "ended"
    job.refresh_from_db()
    assert (job.status, job.error_message) == ("succeeded", "")
    assert JobStep.objects.filter(run__job=job).count() == 4
    graded = Trajectory.objects.filter(run__job=job, reward__isnull=False)
    assert graded.count() >= 20
    rewards = list(graded.values_list("reward", flat=True))
    assert sum(rewards) / len(rewards) < 0.05
    said = " ".join(JobEvent.objects.filter(job=job).values_list("text", flat=True))
    assert "No learning signal" in said


def test_a_preflight_of_gsm8k_on_the_tiny_model_says_there_is_no_signal(
    alice: User, organisation: Organisation, calculator: ToolVersion, settings: Any, tmp_path: Path
) -> None:
    settings.MEDIA_ROOT = tmp_path
    request = asked(alice, organisation, calculator, batch_size=16)
    job = preflight_create(
        acting_user=alice, organisation=organisation, request=request, attempts=4
    )
    assert supervise(Run.objects.get(job=job).pk) == "ended"
    job.refresh_from_db()
    assert (job.status, job.error_message) == ("succeeded", "")
    report = preflight_report(job)
    assert (report.figures.attempts, report.figures.signal.n) == (64, 16)
    assert report.verdict is not None
    assert (report.verdict.kind, report.verdict.title) == ("no_signal", "No signal")
