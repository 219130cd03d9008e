"""The states of a job: what may follow what, and that a final state stays."""

from __future__ import annotations

import pytest

from hone.core.errors import UserError
from jobs.models import FINAL, TRANSITIONS, JobEvent, Run, Status
from jobs.models.states import IllegalTransition
from jobs.services.control import job_cancel, job_pause, job_resume, run_settle
from jobs.services.lease import run_acquire
from jobs.services.state import run_move

pytestmark = pytest.mark.django_db(transaction=True)


def test_the_final_states_are_three() -> None:
    assert {"succeeded", "failed", "cancelled"} == FINAL


@pytest.mark.parametrize("before", Status.values)
@pytest.mark.parametrize("after", Status.values)
def test_only_the_table_s_transitions_happen(make_job, before: str, after: str) -> None:
    job = make_job()
    run = job.runs.get()
    final = {"finished_at": job.created_at} if before in FINAL else {}
    type(job).objects.filter(pk=job.pk).update(status=before, **final)
    Run.objects.filter(pk=run.pk).update(status=before)
    allowed = after in TRANSITIONS[before]
    assert run_move(run.pk, after) is allowed
    job.refresh_from_db()
    assert job.status == (after if allowed else before)


def test_saving_a_final_job_as_running_is_refused(make_job) -> None:
    job = make_job()
    run_move(job.runs.get().pk, "cancelled")
    job.refresh_from_db()
    job.status = "running"
    with pytest.raises(IllegalTransition, match="is cancelled and cannot become running"):
        job.save()


def test_a_queued_job_is_cancelled_at_once(make_job, alice) -> None:
    job = job_cancel(acting_user=alice, job=make_job())
    assert job.status == "cancelled"
    assert JobEvent.objects.get(job=job).text == "The job was cancelled."


def test_a_running_job_is_asked_to_cancel(make_job, alice) -> None:
    job = make_job()
    lease = run_acquire(job.runs.get().pk, holder="a", host="h")
    job = job_cancel(acting_user=alice, job=job)
    assert job.status == "running"
    assert lease is not None
    assert Run.objects.get(job=job).desired == "cancel"


def test_a_job_whose_worker_is_gone_is_cancelled_at_once(make_job, alice) -> None:
    job = make_job()
    run_acquire(job.runs.get().pk, holder="a", host="h")
    Run.objects.filter(job=job).update(lease_until=None)
    assert job_cancel(acting_user=alice, job=job).status == "cancelled"


def test_pause_does_not_take_back_a_cancel(make_job, alice) -> None:
    job = make_job()
    run_acquire(job.runs.get().pk, holder="a", host="h")
    job_cancel(acting_user=alice, job=job)
    with pytest.raises(UserError, match="cannot be paused"):
        job_pause(acting_user=alice, job=job)


def test_a_paused_job_is_resumed_into_the_queue(make_job, alice) -> None:
    job = job_pause(acting_user=alice, job=make_job())
    assert job.status == "paused"
    job = job_resume(acting_user=alice, job=job)
    assert job.status == "queued"
    assert Run.objects.get(job=job).desired == "run"


def test_a_succeeded_job_is_not_cancelled(make_job, alice) -> None:
    job = make_job()
    run_move(job.runs.get().pk, "running")
    run_move(job.runs.get().pk, "succeeded")
    with pytest.raises(UserError, match="is succeeded and cannot be cancelled"):
        job_cancel(acting_user=alice, job=job)


def test_a_pause_that_the_worker_did_not_live_to_carry_out_is_carried_out(make_job, alice) -> None:
    job = make_job()
    run_acquire(job.runs.get().pk, holder="a", host="h")
    job_pause(acting_user=alice, job=job)
    Run.objects.filter(job=job).update(lease_until=None)
    assert run_settle(job.runs.get().pk)
    job.refresh_from_db()
    assert job.status == "paused"
