"""`manage.py export_metrics`: a job's metrics to Weights & Biases, MLflow or trackio."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from hone.core.errors import UserError
from hone.core.tables import require_tables
from jobs.exports.registry import EXPORTERS
from jobs.models import Job
from jobs.services.exports import metrics_export


class Command(BaseCommand):
    help = "Write a job's metrics by the libraries of other trackers; offline unless set otherwise."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("job", help="the job's id")
        parser.add_argument(
            "--to",
            action="append",
            choices=sorted(EXPORTERS),
            help="a tracker; may be repeated. Without it: those of HONE_EXPORT",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        names = options["to"] or settings.EXPORTS
        if not names:
            raise CommandError(
                f"No tracker is turned on. Give --to {', --to '.join(EXPORTERS)}, or set "
                "HONE_EXPORT."
            )
        try:
            require_tables()
            job = Job.objects.select_related("base_model").filter(pk=options["job"]).first()
            if job is None:
                raise CommandError(f"There is no job {options['job']}.")
            for name in names:
                self.stdout.write(f"{name}: {metrics_export(job, name)}")
        except UserError as error:
            raise CommandError(error.message) from error
