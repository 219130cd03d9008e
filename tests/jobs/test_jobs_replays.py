"""Measurements on demand: who may ask for one, how it ends, and that the job never moves by it."""

from __future__ import annotations

import hashlib
import shutil
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from django.core.exceptions import PermissionDenied
from django.db import connections
from django.http import Http404
from django.utils import timezone

from hone.accounts.models import AuditEntry
from hone.core.errors import UserError
from jobs.engine import events
from jobs.errors import Fenced
from jobs.models import Job, JobEvent, JobStep, Replay, Run, Trajectory, Usage, run_folder
from jobs.services import bell, ending, replays
from jobs.services.commit import step_commit
from jobs.services.control import job_cancel, job_pause
from jobs.services.ending import replay_finish, run_fail
from jobs.services.lease import Lease, run_acquire
from jobs.services.replays import replay_cancel, replay_create
from jobs.services.sweep import sweep
from jobs.supervisor.supervise import supervise
from tests.jobs.storage import Elsewhere

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def trained(make_job, fake_engine) -> Job:
    """Three steps are done; of the checkpoints, those of steps 2 and 3 are left."""
    fake_engine(calls=1)
    job = make_job(steps=3)
    assert supervise(Run.objects.get(job=job).pk) == "ended"
    job.refresh_from_db()
    return job


def trajectory(job: Job, step: int = 3, sample: int = 0) -> Trajectory:
    return Trajectory.objects.get(run__job=job, uid=f"s{step}-{sample}")


def ask(user, job: Job, step: int = 3, sample: int = 0, **more: Any) -> Replay:
    one = trajectory(job, step, sample)
    return replay_create(acting_user=user, trajectory=one, turn=0, **more)


def hashes(folder: Path) -> dict[str, str]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def everything(job: Job) -> tuple[Any, ...]:
    """All that a replay must not touch: the job, its training run, its steps and its files."""
    train = Run.objects.get(job=job, kind="train")
    return (
        Job.objects.filter(pk=job.pk).values().get(),
        Run.objects.filter(pk=train.pk).values().get(),
        list(JobStep.objects.filter(run__job=job).values()),
        list(train.checkpoints.values()),
        hashes(run_folder(train.pk)),
    )


def test_it_is_queued_told_audited_and_rung_for(trained, bob, monkeypatch) -> None:
    rung: list[object] = []
    monkeypatch.setattr(bell, "send", lambda _task, run_id: rung.append(run_id))
    replay = ask(bob, trained, continuations=5)
    run = Run.objects.get(pk=replay.pk)
    assert (run.kind, run.status, run.job_id) == ("replay", "queued", trained.pk)
    assert (replay.turn, replay.continuations, replay.created_by) == (0, 5, bob)
    assert rung == [run.pk]
    entry = AuditEntry.objects.get(action="job.replay")
    assert (entry.actor, entry.target) == (bob, trained.pk)
    assert entry.detail == {"run": run.pk, "trajectory": "s3-0", "turn": 1, "continuations": 5}
    assert JobEvent.objects.get(code="replay_queued").text == (
        "Turn 1 of s3-0 is to be measured by 5 continuations from before it and as many from "
        "after it."
    )


@pytest.mark.parametrize(("name", "refusal"), [("dora", PermissionDenied), ("charlie", Http404)])
def test_whoever_may_not_write_asks_and_cancels_in_vain(
    trained, alice, request, name, refusal
) -> None:
    somebody = request.getfixturevalue(name)
    with pytest.raises(refusal):
        ask(somebody, trained)
    assert not Replay.objects.exists()
    replay = ask(alice, trained)
    with pytest.raises(refusal):
        replay_cancel(acting_user=somebody, replay=replay)
    assert Run.objects.get(pk=replay.pk).status == "queued"


def test_the_same_turn_waits_for_its_first_measurement(trained, alice) -> None:
    first = ask(alice, trained)
    with pytest.raises(UserError, match="Turn 1 of s3-0 is being measured already"):
        ask(alice, trained, continuations=8)
    ask(alice, trained, sample=1)
    assert supervise(first.pk) == "ended"
    ask(alice, trained)
    assert Replay.objects.count() == 3


def test_of_two_presses_at_once_one_is_refused(trained, alice) -> None:
    both, told = threading.Barrier(2), []

    def press() -> None:
        try:
            both.wait(5)
            told.append(ask(alice, trained))
        except UserError as error:
            told.append(error.code)
        finally:
            connections.close_all()

    threads = [threading.Thread(target=press) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert sorted(isinstance(each, Replay) for each in told) == [False, True]
    assert "replay_open" in told
    assert Replay.objects.count() == 1


def test_a_job_has_only_so_many_at_once(trained, alice, monkeypatch) -> None:
    monkeypatch.setattr(replays, "MOST_OPEN", 2)
    ask(alice, trained)
    ask(alice, trained, sample=1)
    with pytest.raises(UserError, match="2 measurements of this job have not ended yet"):
        ask(alice, trained, sample=2)


@pytest.mark.parametrize("continuations", [1, 17])
def test_the_number_of_continuations_is_bounded(trained, alice, continuations) -> None:
    with pytest.raises(UserError, match="choose 2 to 16"):
        ask(alice, trained, continuations=continuations)


def test_only_a_turn_of_training_with_calls_and_a_next_turn_is_measured(trained, alice) -> None:
    with pytest.raises(UserError, match="this one is of the validation"):
        ask(alice, trained, step=0)
    for turn in (-1, 1, 2):
        with pytest.raises(UserError, match="cannot be measured: only a turn that made calls"):
            replay_create(acting_user=alice, trajectory=trajectory(trained), turn=turn)


def test_its_result_is_stored_once_and_nothing_of_the_job_moves(trained, alice) -> None:
    replay = ask(alice, trained)
    before = everything(trained)
    assert supervise(replay.pk) == "ended"
    replay.refresh_from_db()
    assert (replay.delta, replay.low, replay.high) == (0.3, 0.1, 0.5)
    assert (replay.n, replay.unusable, replay.weights_step) == (7, 1, 2)
    assert replay.reason == "1 of 8 continuations are unusable"
    run = Run.objects.get(pk=replay.pk)
    assert (run.status, run.lease_until, run.holder, run.last_step) == ("succeeded", None, "", -1)
    used = Usage.objects.get(run=run)
    assert (used.rollouts, used.sampled_tokens, used.tool_calls, used.seconds) == (8, 70, 3, 1.5)
    assert JobEvent.objects.get(code="replayed").text == (
        "Turn 1 of s3-0 was measured by continuations: a change of value of +0.30."
    )
    assert everything(trained) == before
    assert supervise(replay.pk) == "not acquired"
    assert [path.name for path in run_folder(run.pk).iterdir()] == ["engine.log"]


def test_the_engine_is_told_the_group_s_bodies_and_the_weights_that_sampled(trained, alice) -> None:
    replay = ask(alice, trained, sample=1, continuations=3)
    supervise(replay.pk)
    replay.refresh_from_db()
    heard, one = replay.cost["heard"], trajectory(trained, 3, 1)
    folder = run_folder(one.run_id)
    assert heard["frames"] == [
        [each.offset, each.length] for each in (trajectory(trained, 3, 0), one)
    ]
    assert (heard["uid"], heard["turn"], heard["step"]) == ("s3-1", 0, 3)
    assert (heard["continuations"], heard["bodies"]) == (3, str(folder / one.bodies))
    assert [(point["step"], point["path"]) for point in heard["weights"]] == [
        (2, str(folder / "checkpoints/step-000002")),
        (3, str(folder / "checkpoints/step-000003")),
    ]


@pytest.mark.parametrize(("step", "steps"), [(1, []), (2, [2]), (3, [2, 3])])
def test_checkpoints_are_offered_as_far_as_the_base_model_is_not_nearer(
    trained, alice, step, steps
) -> None:
    replay = ask(alice, trained, step=step)
    supervise(replay.pk)
    replay.refresh_from_db()
    assert [point["step"] for point in replay.cost["heard"]["weights"]] == steps
    assert (replay.wanted_step, replay.weights_step) == (step - 1, steps[0] if steps else 0)


def in_state(job: Job, status: str) -> None:
    """As a job that stands at step 3 of more."""
    finished = timezone.now() if status in {"succeeded", "failed", "cancelled"} else None
    Run.objects.filter(job=job, kind="train").update(status=status)
    Job.objects.filter(pk=job.pk).update(status=status, finished_at=finished)


@pytest.mark.parametrize(
    "status", ["queued", "running", "paused", "succeeded", "failed", "cancelled"]
)
@pytest.mark.parametrize("end", ["replayed", "failed", "cancelled", "paused"])
def test_a_job_in_any_state_stays_in_it(trained, alice, fake_engine, status, end) -> None:
    told = {"failed": {"fail": "no"}, "paused": {"disk_full": True}}.get(end, {})
    fake_engine(replayed=told)
    in_state(trained, status)
    replay = ask(alice, trained)
    before = everything(trained)
    if end == "cancelled":
        replay_cancel(acting_user=alice, replay=replay)
    else:
        assert supervise(replay.pk) == "ended"
    run = Run.objects.get(pk=replay.pk)
    assert run.status == {"replayed": "succeeded"}.get(end, end)
    assert everything(trained) == before


def test_a_failure_is_kept_with_its_sentence(trained, alice, fake_engine) -> None:
    fake_engine(replayed={"fail": "usable are 0 of 4, because of tool lookup: refused"})
    replay = ask(alice, trained)
    supervise(replay.pk)
    replay.refresh_from_db()
    assert replay.reason == "usable are 0 of 4, because of tool lookup: refused"
    assert (replay.delta, replay.weights_step) == (None, None)
    event = JobEvent.objects.get(code="continuations_lost")
    assert event.text == f"A measurement failed: {replay.reason}"
    ask(alice, trained)


def test_no_estimate_is_a_result_with_a_reason(trained, alice, fake_engine) -> None:
    fake_engine(replayed={"delta": None, "interval": None, "n": 4, "reason": "4 because of x\0"})
    replay = ask(alice, trained)
    supervise(replay.pk)
    replay.refresh_from_db()
    assert (replay.run.status, replay.delta, replay.low) == ("succeeded", None, None)
    assert replay.reason == "4 because of x␀"
    assert JobEvent.objects.get(code="replayed").text.endswith("by continuations: no estimate.")


def test_an_engine_that_always_dies_fails_the_measurement_alone(
    trained, alice, fake_engine
) -> None:
    fake_engine(replayed={"crash": True})
    replay = ask(alice, trained)
    before = everything(trained)
    assert [supervise(replay.pk) for _ in range(4)] == ["died", "died", "ended", "not acquired"]
    replay.refresh_from_db()
    assert replay.reason == (
        "A measurement was begun 3 times and never finished: exit status 9. The engine's log is "
        f"with the operator, in runs/{replay.pk}/engine.log."
    )
    assert everything(trained) == before


def test_a_full_disk_makes_it_wait_and_the_sweeper_wakes_it(
    trained, alice, fake_engine, monkeypatch
) -> None:
    monkeypatch.setenv("HONE_PROBE_S", "0.05")
    fake_engine(replayed={"disk_full": True})
    replay = ask(alice, trained)
    assert supervise(replay.pk) == "ended"
    run = Run.objects.get(pk=replay.pk)
    assert (run.status, run.pause_text) == ("paused", "The disk is full.")
    with pytest.raises(UserError, match="being measured already"):
        ask(alice, trained)
    fake_engine()
    time.sleep(0.1)
    assert sweep().woken == 1
    assert supervise(replay.pk) == "ended"
    replay.refresh_from_db()
    assert replay.delta == 0.3


def test_a_running_one_is_cancelled_and_tells_nothing(trained, alice, fake_engine) -> None:
    def work() -> None:
        try:
            supervise(replay.pk)
        finally:
            connections.close_all()

    fake_engine(replay_s=20)
    replay = ask(alice, trained)
    thread = threading.Thread(target=work)
    thread.start()
    deadline = time.monotonic() + 10
    while Run.objects.get(pk=replay.pk).pgid is None and time.monotonic() < deadline:
        time.sleep(0.02)
    replay_cancel(acting_user=alice, replay=replay)
    thread.join(15)
    run = Run.objects.get(pk=replay.pk)
    assert (run.status, run.desired) == ("cancelled", "cancel")
    assert JobEvent.objects.get(code="cancelled").text == "A measurement was cancelled."
    assert AuditEntry.objects.filter(action="job.replay_cancel").count() == 1
    with pytest.raises(UserError, match="is cancelled already and cannot be cancelled"):
        replay_cancel(acting_user=alice, replay=replay)


def test_the_sweeper_settles_one_whose_worker_is_gone(trained, alice) -> None:
    replay = ask(alice, trained)
    assert run_acquire(replay.pk, holder="a", host="h")
    replay_cancel(acting_user=alice, replay=replay)
    Run.objects.filter(pk=replay.pk).update(lease_until=None)
    before = everything(trained)
    assert sweep().settled == 1
    assert Run.objects.get(pk=replay.pk).status == "cancelled"
    assert JobEvent.objects.get(code="cancelled").text == "A measurement was cancelled."
    assert everything(trained) == before


def test_the_job_s_own_buttons_do_not_reach_it(trained, alice) -> None:
    in_state(trained, "queued")
    replay = ask(alice, trained)
    job_pause(acting_user=alice, job=trained)
    job_cancel(acting_user=alice, job=trained)
    assert Run.objects.get(pk=replay.pk).status == "queued"


def done(**changes: Any) -> events.ReplayDone:
    fields: dict[str, Any] = {
        "uid": "s3-0",
        "turn": 0,
        "delta": 0.1,
        "interval": (0.0, 0.2),
        "n": 8,
        "unusable": 0,
        "reason": "",
        "weights_step": 2,
        "cost": {},
    }
    return events.ReplayDone(**(fields | changes))


def test_a_holder_that_was_replaced_writes_nothing(trained, alice) -> None:
    replay = ask(alice, trained)
    stale = run_acquire(replay.pk, holder="a", host="h")
    Run.objects.filter(pk=replay.pk).update(lease_until=None)
    fresh = run_acquire(replay.pk, holder="b", host="h")
    assert stale
    assert fresh
    with pytest.raises(Fenced):
        replay_finish(stale, done())
    with pytest.raises(Fenced):
        run_fail(stale, code="x", text="too late")
    replay.refresh_from_db()
    assert (replay.delta, replay.reason) == (None, "")
    replay_finish(fresh, done())
    with pytest.raises(Fenced):
        replay_finish(fresh, done(delta=0.9))
    replay.refresh_from_db()
    assert replay.delta == 0.1
    assert Usage.objects.filter(run_id=replay.pk).count() == 1


def test_a_result_of_another_turn_is_not_taken(trained, alice) -> None:
    replay = ask(alice, trained)
    lease = run_acquire(replay.pk, holder="a", host="h")
    assert lease
    with pytest.raises(ValueError, match="the engine measured turn 1 of s3-0 instead"):
        replay_finish(lease, done(turn=1))
    assert Run.objects.get(pk=replay.pk).status == "running"


def test_a_replay_commits_no_step(trained, alice) -> None:
    replay = ask(alice, trained)
    lease = run_acquire(replay.pk, holder="a", host="h")
    assert lease
    point = events.CheckpointRef(step=0, path="x", manifest_sha256="0", bytes=1)
    with pytest.raises(Fenced):
        step_commit(lease, events.StepDone(step=0, total_steps=1, metrics={}, checkpoint=point))


def test_bodies_that_are_gone_are_a_sentence(trained, alice) -> None:
    replay = ask(alice, trained)
    one = trajectory(trained)
    (run_folder(one.run_id) / one.bodies).unlink()
    assert supervise(replay.pk) == "ended"
    replay.refresh_from_db()
    assert replay.reason.startswith("The file of the attempts of step 3 (trajectories/step-000003")
    with pytest.raises(UserError, match="cannot be read"):
        ask(alice, trained)


def test_files_of_another_machine_are_borrowed_and_given_up(
    make_job,
    fake_engine,
    elsewhere: Elsewhere,
    alice,
) -> None:
    fake_engine(calls=1)
    job = make_job(steps=3)
    supervise(Run.objects.get(job=job).pk)
    train = Run.objects.get(job=job, kind="train")
    replay = ask(alice, job)
    shutil.rmtree(run_folder(train.pk))
    assert supervise(replay.pk) == "ended"
    replay.refresh_from_db()
    own = run_folder(replay.pk)
    assert replay.reason.startswith("1 of 8")
    assert [point["path"] for point in replay.cost["heard"]["weights"]] == [
        str(own / "checkpoints/step-000002"),
        str(own / "checkpoints/step-000003"),
    ]
    assert replay.cost["heard"]["bodies"].startswith(str(own / "trajectories"))
    assert [path.name for path in own.iterdir()] == ["engine.log"]
    assert not run_folder(train.pk).exists()


def test_a_heartbeat_that_comes_after_the_end_does_not_keep_the_borrowed_files(
    make_job, fake_engine, elsewhere: Elsewhere, alice, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_engine(calls=1)
    job = make_job(steps=3)
    supervise(Run.objects.get(job=job).pk)
    shutil.rmtree(run_folder(Run.objects.get(job=job, kind="train").pk))
    replay = ask(alice, job)
    finish = ending.replay_finish

    def finish_slowly(lease: Lease, event: events.ReplayDone) -> None:
        finish(lease, event)
        time.sleep(0.5)

    monkeypatch.setattr(ending, "replay_finish", finish_slowly)
    assert supervise(replay.pk) == "ended"
    assert [path.name for path in run_folder(replay.pk).iterdir()] == ["engine.log"]
