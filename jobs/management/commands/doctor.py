"""`manage.py doctor`: what works on this machine, and how to mend what does not."""

from __future__ import annotations

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from jobs.doctor import findings
from jobs.services.system_look import look_keep

MARK = {"ok": "✓", "warning": "!", "problem": "✗"}


class Command(BaseCommand):
    help = "Say what works here (device, sandbox, broker, database, storage). Fails on a problem."
    requires_system_checks = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--keep-in", type=Path, help="also write the findings to this file")

    def handle(self, *args: Any, **options: Any) -> None:
        found = findings()
        if options["keep_in"] is not None:
            look_keep(options["keep_in"], found)
        for finding in found:
            self.stdout.write(f"{MARK[finding.state]} {finding.topic:9s} {finding.what}")
            if finding.mend:
                self.stdout.write(f"  {'':9s} → {finding.mend}")
        problems = [finding.topic for finding in found if finding.state == "problem"]
        if problems:
            raise CommandError(f"Not working: {', '.join(problems)}.")
