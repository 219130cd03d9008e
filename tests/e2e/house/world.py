"""One world with something on every page, made once through the services that people use."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import preflight_story
import story
import tryout_story
from django.core.files.base import ContentFile
from django.utils import timezone

from graders.models import GraderVersion
from graders.services import grader_version_add
from graders.services.authoring import grader_create
from hone.accounts.models import Membership, Organisation, Role, User
from hone.accounts.services.keys import key_create
from hone.datasets.models import Intake
from hone.datasets.services import dataset_version_add
from hone.datasets.services.intakes import intake_of_file
from hone.datasets.services.looking import findings_make
from hone.tools.models import CheckStatus, McpServer, Tool, ToolCheck
from hone.tools.selectors import latest_version
from hone.tools.services import mcp_tools_import, secret_rotate
from jobs.doctor import Finding
from jobs.engine import events
from jobs.models import Job, JobEvent, Trajectory
from jobs.services.alarms import alarm_see
from jobs.services.ending import run_fail, run_finish, run_pause
from jobs.services.lease import Lease
from jobs.services.system_look import look_keep
from tests.pages.conftest import Things, things_make

PASSWORD = "correct horse battery"
PEOPLE = {"owner": Role.OWNER, "viewer": Role.VIEWER, "newcomer": Role.OWNER}
LINES = (
    ("answer", "ok", "It answered with text, 312 B."),
    ("time", "ok", "5 calls took 84 ms (p50) and 210 ms (p95)."),
    ("key", "warning", "It answers a wrong key too, so anybody may call it."),
    ("arguments", "skipped", "No argument is required."),
    ("load", "problem", "500 calls, 50 a second: p95 240 ms, 3 faults."),
)
LOOKED = (
    Finding("python", "ok", "Python 3.11.7 on Linux x86_64"),
    Finding("device", "warning", "CPU, 2 threads", "Larger models need an NVIDIA GPU."),
    Finding("broker", "problem", "redis does not answer", "Start it, or check BROKER_URL."),
)
QUESTIONS = (
    {"id": n, "question": f"What is {n} plus {n}? Write the number alone.", "answer": 2 * n}
    for n in range(30)
)


@dataclass
class House:
    """Everybody, the ids that addresses are made of, and what tests go on with."""

    people: dict[str, User]
    ids: dict[str, str]
    running: Job
    lease: Lease
    things: Things


def house_make(folder: Path) -> House:
    acme, bare = (Organisation.objects.create(name=name) for name in ("Acme", "Newcomers"))
    people = {
        name: _person(name, bare if name == "newcomer" else acme, role)
        for name, role in PEOPLE.items()
    }
    owner = people["owner"]
    things = things_make(owner, acme, "search_orders")
    version = story.dataset_make(owner, acme)
    grader = story.grader_make(owner, acme)
    ids = _jobs(owner, acme, folder, version=version, grader=grader)
    running, lease = ids.pop("_running"), ids.pop("_lease")
    ids |= _datasets(owner, acme, version, things.intake)
    ids |= _preflights(owner, acme, folder)
    _tested(owner, things.tool)
    _listed(owner, things.server)
    findings_make(version.pk)
    grader_version_add(
        acting_user=owner,
        grader=grader.grader,
        spec={**story.EXACT, "operation": "like"},
        edited=1,
        reason="They ask for case.",
    )
    ids |= {
        "tool": things.tool.pk,
        "server": things.server.pk,
        "recording": things.recording.pk,
        "grader": grader.grader_id,
        "fixture": str(grader.grader.fixtures.order_by("pk")[0].pk),
        "judge": things.judge.pk,
        "membership": str(Membership.objects.get(user=people["viewer"]).pk),
        "remote_grader": _remote_grader(owner, acme),
        "model": running.base_model.name,
    }
    _operated(owner, acme, folder)
    return House(people=people, ids=ids, running=running, lease=lease, things=things)


def _person(name: str, organisation: Organisation, role: str) -> User:
    user = User.objects.create_user(f"{name}@example.org", PASSWORD, name.title())
    Membership.objects.create(organisation=organisation, user=user, role=role)
    return user


def _jobs(
    owner: User, acme: Organisation, folder: Path, *, version: Any, grader: GraderVersion
) -> dict[str, Any]:
    """One that runs, one that is done, one that failed, one that is paused and one that waits."""
    running, done, failed, paused, queued = (
        story.job_make(owner, acme, folder / "model", name=name, version=version, grader=grader)
        for name in ("refunds-v3", "refunds-v2", "triage-1", "triage-2", "sql-agent-2")
    )
    held = story.lease_take(running)
    story.steps_commit(running, held, 0, 8)
    lease = story.lease_take(done)
    story.steps_commit(done, lease, 0, 12)
    adapter = events.AdapterRef(
        step=12, path="adapter", sha256="9be1" * 16, bytes=18_400_000,
        proof_max_abs_logprob_diff=3.1e-6, proof_tokens=512,
    )  # fmt: skip
    run_finish(lease, events.Finished(seconds=55.0, adapter=adapter, best_step=12))
    lease = story.lease_take(failed)
    story.steps_commit(failed, lease, 0, 1)
    text = "Step 2 needed 81.2 GB; the GPU has 79.3 GB. Clone with batch size 4."
    run_fail(lease, code="out_of_memory", text=text, log="Traceback\nline 2")
    lease = story.lease_take(paused)
    story.steps_commit(paused, lease, 0, 1)
    text = "40 of 64 rollouts were lost to a tool fault, most often: lookup_order: 502 four times."
    run_pause(lease, reason="tool_unavailable", text=text)
    _alarms(owner, running)
    mine = Trajectory.objects.filter(run__job=running, step=4, split="train")
    looped, plain = mine.filter(stop="tool_loop")[0], mine.filter(stop="final_answer")[3]
    story.measurements_make(owner, looped)
    bench = story.workbench_make(owner, done, grader)
    answering = tryout_story.tryout_make(owner, acme, done)
    said = tryout_story.rollout(0, sample=2, wins=False)
    tryout_story.live(tryout_story.lease_take(answering), 0, said)
    return {
        "_running": running,
        "_lease": held,
        "running": running.pk,
        "done": done.pk,
        "failed": failed.pk,
        "paused": paused.pk,
        "queued": queued.pk,
        "looped": str(looped.pk),
        "plain": str(plain.pk),
        "group": plain.group_id,
        "faulty": str(mine.filter(reward=None)[0].pk),
        "compared": bench.done,
        "comparing": bench.queued,
        "answered": tryout_story.answered(owner, acme, done).pk,
        "answering": answering.pk,
    }


def _alarms(owner: User, running: Job) -> None:
    """One that its owner has seen, and one that is news."""
    for code, text, data in (
        ("silent_groups", f"Most groups teach nothing: 36 of 40. {story.HOSTILE}", {"share": 0.9}),
        ("mismatch", "Sampler and trainer disagree: mismatch KL is 0.05.", {"mismatch_kl": 0.05}),
    ):
        JobEvent.objects.create(
            job=running, level="warn", code=code, text=text, step=6, data=data
        )  # fmt: skip
    alarm_see(acting_user=owner, job=running, rule="mismatch", step=8)


def _datasets(owner: User, acme: Organisation, version: Any, refused: Intake) -> dict[str, str]:
    """Two versions of one, a table whose columns are asked for, one on its way, one refused."""
    rows = "".join(json.dumps(story.task_row(number)) + "\n" for number in range(24))
    upload = ContentFile(rows.encode(), name="refunds.jsonl")
    dataset_version_add(acting_user=owner, dataset=version.dataset, upload=upload)
    table = io.StringIO()
    written = csv.DictWriter(table, ("id", "question", "answer"))
    written.writeheader()
    written.writerows(QUESTIONS)
    files = {
        "table": ContentFile(table.getvalue().encode(), name="sums.csv"),
        "arriving": ContentFile(rows.encode(), name="arriving.jsonl"),
    }
    made = {
        name: intake_of_file(acting_user=owner, organisation=acme, file=file, name=name)
        for name, file in files.items()
    }
    Intake.objects.filter(pk=made["arriving"].pk).update(
        state="running", version=None, rows_done=12, bytes_done=900
    )
    other = story.dataset_make(owner, acme, "more refunds")
    return {
        "dataset": version.dataset_id,
        "other_version": other.pk,
        "table": made["table"].pk,
        "arriving": made["arriving"].pk,
        "refused": refused.pk,
    }


def _preflights(owner: User, acme: Organisation, folder: Path) -> dict[str, str]:
    tried, lease = preflight_story.learnable(owner, acme, folder / "model")
    preflight_story.finish(lease)
    waiting = story.job_make(
        owner, acme, folder / "model", name="refunds-v5",
        version=tried.train_version, grader=tried.grader_version,
    )  # fmt: skip
    preflight_story.preflight_of(waiting)
    return {"tried": tried.pk, "waiting": waiting.pk}


def _remote_grader(owner: User, acme: Organisation) -> str:
    """One that asks a server, with a header whose value is a secret."""
    spec = {
        "type": "endpoint",
        "name": "remote",
        "url": "https://graders.example.org/grade",
        "headers": {"Authorization": "Bearer hush"},
    }
    return grader_create(acting_user=owner, organisation=acme, name="remote", spec=spec).pk


def _operated(owner: User, acme: Organisation, folder: Path) -> None:
    """What the owner sees as the operator too: keys, and a last look at the system."""
    owner.is_operator = True
    owner.save()
    key_create(acting_user=owner, organisation=acme, name="ci-runner", days=90)
    look_keep(folder / "doctor.json", list(LOOKED))


def _tested(owner: User, tool: Tool) -> None:
    """A history of eight contract tests, the last of them with every kind of line."""
    version = latest_version(tool)
    lines = [{"key": key, "mark": mark, "text": text} for key, mark, text in LINES]
    for n in range(8):
        last = n == 7
        ToolCheck.objects.create(
            version=version,
            status=CheckStatus.PROBLEM if last else CheckStatus.OK,
            error=LINES[-1][2] if last else "",
            p50_s=0.08 + 0.004 * n,
            p95_s=0.2 + 0.01 * n,
            calls=512 if last else 10,
            faults=3 * last,
            lines=lines if last else lines[:2],
            created_by=owner if last else None,
            ended_at=timezone.now(),
        )
    secret_rotate(acting_user=owner, owner=tool, name="Authorization", value="hush again")


def _listed(owner: User, server: McpServer) -> None:
    """A list of four tools: one as imported, one changed since, one gone, one new."""
    schema: dict[str, Any] = {"type": "object", "properties": {}}
    server.listed = [
        {"name": name, "description": f"{name} of the shop. " * 4, "parameters": schema}
        for name in ("add", "orders.find", "refund", "ship")
    ]
    server.listed_at = server.asked_at = timezone.now()
    server.list_sha256 = "9be1" * 16
    server.save()
    mcp_tools_import(acting_user=owner, server=server, names=["add", "refund", "ship"])
    server.listed[0]["description"] = "Says something else now."
    del server.listed[3]
    server.list_error = "No list of tools within 15 s."
    server.save()
