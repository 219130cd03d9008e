"""New steps of the long job, through the service that a worker uses. Needs Django."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field

from django.db import connection
from django.test import Client

from benchmarks.pages.plan import Facts, Plan
from benchmarks.pages.story import Story
from hone.accounts.models import User
from jobs.models import Run
from jobs.services.commit import step_commit
from jobs.services.lease import Lease


@dataclass
class Committer:
    """`committed`: (step, when it was in the database, seconds that the service took)."""

    plan: Plan
    facts: Facts
    committed: list[tuple[int, float, float]] = field(default_factory=list)

    def run(self, stop: threading.Event) -> None:
        """A step each few seconds until `stop`."""
        lease = self._lease()
        story = Story(self.plan, self.plan.total_steps, best=list(self.facts.best))
        step = lease.last_step
        while not stop.wait(self.plan.step_every_s):
            step += 1
            done = story.step(step)
            began = time.monotonic()
            step_commit(lease, done)
            ended = time.monotonic()
            self.committed.append((step, ended, ended - began))
        connection.close()

    def _lease(self) -> Lease:
        """The one that was taken when the database was made; each step renews it."""
        run = Run.objects.get(job_id=self.facts.job)
        return Lease(
            run_id=run.pk,
            job_id=run.job_id,
            kind=run.kind,
            epoch=run.epoch,
            last_step=run.last_step,
            deaths=0,
            engine_seconds=0.0,
            stale_host="",
            stale_pgid=None,
            stale_start="",
        )


def sessions(emails: list[str]) -> list[str]:
    """Session cookies of these people, signed in."""
    found = []
    for email in emails:
        client = Client()
        client.force_login(User.objects.get(email=email))
        found.append(client.cookies["sessionid"].value)
    return found
