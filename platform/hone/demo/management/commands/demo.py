"""`manage.py demo`: the demo job from start to end, without a browser."""

from __future__ import annotations

import json
import time
from argparse import ArgumentParser
from typing import Any

from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError

from hone.core.errors import UserError
from hone.demo import summary
from hone.demo.processes import (
    ProcessGroup,
    process_group,
    require_free_port,
    tool_server,
    wait_for_port,
    workers,
)
from hone.demo.workspace import (
    Workspace,
    child_environment,
    demo_job_create,
    jobs_cancel_open,
    tool_port,
    tools_allow,
    workspace_seed,
)
from jobs.models import Job, Status
from jobs.selectors import job_overview
from jobs.selectors.leads import lead_of

LONGEST_S = 3600.0
NEXT_RUN = "The next `make demo` cancels it and starts another."


class Command(BaseCommand):
    help = "Run the demo job to its end; print a table, then one JSON object as the last line."
    requires_migrations_checks = False

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--seed", type=int, default=1)
        parser.add_argument(
            "--shuffle", action="store_true", help="control: train on shuffled rewards"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            require_free_port(
                tool_port(), "the demo's tool server", "Set HONE_DEMO_PORT to a free port."
            )
            call_command("migrate", verbosity=0, interactive=False)
            tools_allow()
            workspace = workspace_seed()
            for earlier in jobs_cancel_open(workspace):
                self.stdout.write(f"Cancelled {earlier}, which an earlier run had left open.")
            job = demo_job_create(workspace, seed=options["seed"], shuffle=options["shuffle"])
        except UserError as error:
            raise CommandError(error.message) from error
        try:
            with process_group(settings.DATA_DIR / "logs", child_environment()) as group:
                group.start(tool_server(tool_port()))
                wait_for_port(tool_port(), seconds=30, alive=group.running["tool-server"])
                for program in workers(settings.ROOT / "manage.py"):
                    group.start(program)
                job = self._follow(job, group)
        except KeyboardInterrupt as interrupt:
            raise CommandError(
                f"Interrupted. {job.id} is left unfinished. {NEXT_RUN}"
            ) from interrupt
        self._report(job, workspace)

    def _follow(self, job: Job, group: ProcessGroup) -> Job:
        deadline, shown = time.monotonic() + LONGEST_S, -1
        while time.monotonic() < deadline:
            job.refresh_from_db()
            for step in summary.steps_after(job, shown):
                self.stdout.write(summary.step_line(step))
                shown = step.step
            if job.is_final or job.status == Status.PAUSED:
                return job
            fallen = group.fallen()
            if fallen:
                raise CommandError(f"{fallen} ended by itself.\n{group.last_lines(fallen)}")
            time.sleep(0.5)
        raise CommandError(f"{job.id} did not end within {LONGEST_S:.0f} s. {NEXT_RUN}")

    def _report(self, job: Job, workspace: Workspace) -> None:
        for line in summary.table(job, workspace.validation):
            self.stdout.write(line)
        self.stdout.write(json.dumps(summary.as_json(job)))
        if job.status == Status.PAUSED:
            raise CommandError(
                f"{job.id} is paused: {job_overview(lead_of(job)).pause_text} {NEXT_RUN}"
            )
        if job.status != Status.SUCCEEDED:
            raise CommandError(f"The job ended as {job.status}: {job.error_message}")
