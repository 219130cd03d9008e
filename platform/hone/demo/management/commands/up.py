"""`manage.py up`: everything on one machine, until Ctrl-C."""

from __future__ import annotations

import fcntl
import os
import time
from argparse import ArgumentParser
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError

from hone.core.errors import UserError
from hone.demo.processes import (
    ProcessGroup,
    process_group,
    require_free_port,
    tool_server,
    wait_for_port,
    web,
    workers,
)
from hone.demo.workspace import (
    EMAIL,
    child_environment,
    demo_job_create,
    sign_in_password,
    tool_port,
    tools_allow,
    tools_follow_port,
    unfinished_jobs,
    workspace_find,
    workspace_seed,
)

START_S = 60


class Command(BaseCommand):
    help = "Migrate, seed the demo workspace, and run web, workers and sweeper until Ctrl-C."
    requires_migrations_checks = False

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--port", type=int, default=8000, help="where the pages are served")
        parser.add_argument("--no-job", action="store_true", help="do not start the demo job")

    def handle(self, *args: Any, **options: Any) -> None:
        port: int = options["port"]
        try:
            with _only_one(settings.DATA_DIR / "up.lock"):
                require_free_port(port, "the web server", f"Try `make up PORT={port + 1}`.")
                require_free_port(
                    tool_port(), "the demo's tool server", "Set HONE_DEMO_PORT to a free port."
                )
                self._run(port, start_job=not options["no_job"])
        except UserError as error:
            raise CommandError(error.message) from error

    def _run(self, port: int, *, start_job: bool) -> None:
        call_command("migrate", verbosity=0, interactive=False)
        tools_allow()
        news = self._prepare(start_job=start_job)
        with process_group(settings.DATA_DIR / "logs", child_environment()) as group:
            for program in [tool_server(tool_port()), *workers(_manage()), web(port)]:
                group.start(program)
            if not wait_for_port(port, seconds=START_S, alive=group.running["web"]):
                raise CommandError(f"The web server did not start.\n{group.last_lines('web')}")
            self._greet(port, news)
            self._watch(group)
        self.stdout.write("Stopped. `make up` goes on from here.")

    def _prepare(self, *, start_job: bool) -> list[str]:
        """Make the workspace the first time; later what people did to it stays. Returns news."""
        organisation = workspace_find()
        if organisation is None:
            workspace = workspace_seed()
            if not start_job:
                return []
            demo_job_create(workspace, seed=1)
            return ["The demo job is starting: open the page and watch it learn."]
        resumed, news = unfinished_jobs(), []
        if resumed:
            news.append(f"Going on with     {', '.join(resumed)}")
        try:
            tools_follow_port(organisation)
        except UserError as error:
            news.append(f"The demo's tools keep their old port: {error.message}")
        return news

    def _greet(self, port: int, news: list[str]) -> None:
        changed = f"changed since; forgotten: `python manage.py set_password {EMAIL}`"
        lines = [
            f"Hone is at        http://127.0.0.1:{port}",
            f"Sign in with      {EMAIL}",
            f"Password          {sign_in_password() or changed}",
            f"Data and logs     {settings.DATA_DIR}",
            *news,
            "Ctrl-C ends everything.",
        ]
        self.stdout.write("\n".join(["", *(f"  {line}" for line in lines), ""]))

    def _watch(self, group: ProcessGroup) -> None:
        try:
            while (fallen := group.fallen()) is None:
                time.sleep(0.5)
        except KeyboardInterrupt:
            self.stdout.write("Stopping …")
            return
        raise CommandError(f"{fallen} ended by itself.\n{group.last_lines(fallen)}")


def _manage() -> Path:
    return Path(settings.ROOT) / "manage.py"


@contextmanager
def _only_one(lock: Path) -> Iterator[None]:
    """Hold the lock of this data folder; refuse where another process holds it."""
    with lock.open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            file.seek(0)
            raise UserError(
                f"Hone is running already on {lock.parent} (process {file.read().strip()}). "
                "End it with Ctrl-C there, or set HONE_DATA_DIR to another folder.",
                code="running",
            ) from error
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield
