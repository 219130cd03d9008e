"""Going on from a preflight without the tasks that taught nothing in it."""

from __future__ import annotations

from hone.accounts.models import User
from hone.core.errors import UserError
from hone.datasets.models import Intake
from hone.datasets.services.intakes import dataset_without_make
from jobs.models import Job
from jobs.selectors.preflights import access_preflight
from jobs.workbench.preflight_report import preflight_report


def preflight_without(*, acting_user: User, job: Job) -> Intake:
    """The next version of the training file, without the tasks whose rewards were all the same.

    Raises UserError where there are none, the file was deleted, or too few tasks would be left.
    """
    job = access_preflight(acting_user, job.pk, need="write")
    version = job.train_version
    if version is None:
        raise UserError("The training file of this preflight was deleted.", code="gone")
    rows = [task.row for task in preflight_report(job).figures.tasks if task.teaches_nothing]
    if not rows:
        raise UserError("Every task that was tried has signal.", code="nothing_to_leave_out")
    return dataset_without_make(acting_user=acting_user, version=version, rows=rows)
