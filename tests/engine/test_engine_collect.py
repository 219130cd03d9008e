"""How rollouts are gathered: refills, outages, and what is never counted."""

from __future__ import annotations

import asyncio
import io
import json
import math

import pytest

from jobs.engine.collect import Collector
from jobs.engine.errors import RunFailed, RunPaused
from jobs.engine.reporting import EventWriter
from jobs.engine.spec import DataSpec, JobSpec
from jobs.engine.types import FAULTS, StopReason, Trajectory, Turn


class InstantRunner:
    """Every rollout ends at once; `stop_of` says how, by its uid."""

    def __init__(
        self,
        stop_of=lambda _uid: StopReason.FINAL_ANSWER,
        cause="tool ask: connection refused",
    ):
        self.stop_of = stop_of
        self.cause = cause
        self.rounds = []

    async def run(self, requests, on_done=None):
        self.rounds.append([request.uid for request in requests])
        members = [
            Trajectory(
                uid=request.uid,
                row=request.task.row,
                group=request.group,
                sample=request.sample,
                split=request.split,
                trace_id="",
                ids=[1, 2],
                logprobs=[0.0, -1.0],
                entropies=[0.0, 0.0],
                kinds=[0, 1],
                stop=self.stop_of(request.uid),
                turns=[Turn(index=0, start=1, end=2, text="42", content="42")],
            )
            for request in requests
        ]
        for member in members:
            if member.stop in FAULTS:
                member.cause = self.cause
            on_done(member)
        return members


RAISED = "`grade` raised KeyError: 'amount' at line 14"


class RuleGrader:
    """Rewards by a rule; None leaves a rollout ungraded, a text is why the world kept it so."""

    def __init__(self, rule):
        self.rule = rule

    async def grade(self, trajectory, task):
        if trajectory.stop in FAULTS:
            return
        said = self.rule(trajectory, task)
        if isinstance(said, str):
            trajectory.stop, trajectory.cause = StopReason.GRADER_FAULT, f"grader: {said}"
            return
        trajectory.reward = said
        if said is None:
            trajectory.cause = f"grader: {RAISED}."


@pytest.fixture
def make_spec(tmp_path):
    path = tmp_path / "tasks.jsonl"
    rows = [{"messages": [{"role": "user", "content": str(n)}], "n": n} for n in range(5)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))

    def make(**changes):
        fields = {
            "train": DataSpec(path=str(path)),
            "validation": DataSpec(path=str(path), rows=(1, 3)),
            "groups_per_step": 2,
            "group_size": 2,
        }
        return JobSpec(run_id="r", model_path="m", grader={}, **(fields | changes))

    return make


def alternating(trajectory, _task):
    return float(trajectory.sample % 2)


def collect(spec, rule=alternating, runner=None, *, validation=False, position=0, recording=""):
    """The batch, the rounds that were asked for, and the events that were written."""
    stream, runner = io.BytesIO(), runner or InstantRunner()
    collector = Collector(
        spec,
        runner,
        RuleGrader(rule),
        EventWriter(stream),
        recording_name=recording,
        retry_wait_s=0.0,
    )
    wanted = collector.validation(4) if validation else collector.training(4, position)
    try:
        batch = asyncio.run(wanted)
    except RunPaused as paused:
        batch = paused
    events = [json.loads(line) for line in stream.getvalue().splitlines()]
    return batch, runner.rounds, [event for event in events if event["event"] == "Message"]


def test_groups_with_signal_need_no_refill(make_spec):
    batch, rounds, _ = collect(make_spec())
    assert rounds == [["t-4-0-0", "t-4-0-1", "t-4-1-0", "t-4-1-1"]]
    assert (batch.position, batch.with_signal, len(batch.trajectories)) == (2, 2, 4)


def test_groups_without_signal_are_refilled_up_to_the_bound(make_spec):
    batch, rounds, _ = collect(make_spec(max_refills=3), lambda *_: 0.0)
    assert [len(uids) for uids in rounds] == [4, 4, 4, 4]
    assert (batch.position, batch.with_signal) == (8, 0)
    assert [group.round for group in batch.groups] == [0, 0, 1, 1, 2, 2, 3, 3]


def test_no_refill_is_made_where_none_is_allowed(make_spec):
    batch, rounds, _ = collect(make_spec(max_refills=0), lambda *_: 0.0)
    assert (len(rounds), batch.position) == (1, 2)


def test_a_refill_draws_only_what_is_missing(make_spec):
    def first_group_is_silent(trajectory, _task):
        return 0.0 if trajectory.group == "0" else float(trajectory.sample)

    batch, rounds, _ = collect(make_spec(), first_group_is_silent)
    assert rounds[1] == ["t-4-2-0", "t-4-2-1"]
    assert (batch.position, batch.with_signal) == (3, 2)


def test_every_group_of_a_step_has_a_name_of_its_own_past_the_end_of_the_data(make_spec):
    batch, _, _ = collect(make_spec(groups_per_step=7))
    assert [group.id for group in batch.groups] == [str(n) for n in range(7)]
    assert sorted(group.members[0].row for group in batch.groups[:5]) == [0, 1, 2, 3, 4]


def test_the_next_step_goes_on_where_the_last_one_stopped(make_spec):
    _, rounds, _ = collect(make_spec(), position=6)
    assert rounds[0][0] == "t-4-6-0"


def test_validation_takes_every_task_as_often_as_asked(make_spec):
    batch, rounds, _ = collect(make_spec(eval_samples=2), validation=True)
    assert rounds == [["v-4-1-0", "v-4-1-1", "v-4-3-0", "v-4-3-1"]]
    assert [member.row for member in batch.trajectories] == [1, 1, 3, 3]


def test_a_dead_tool_server_pauses_the_run_after_three_tries(make_spec):
    dead = InstantRunner(lambda _uid: StopReason.TOOL_FAULT)
    paused, rounds, messages = collect(make_spec(max_refills=5), runner=dead)
    assert paused.reason == "tool_unavailable"
    assert paused.text.startswith(
        "4 of 4 rollouts were lost to a tool fault, most often: tool ask: connection refused "
        "(for example row 2). This was try 3 of 3"
    )
    assert len(rounds) == 3
    assert [message["code"] for message in messages] == ["tool_unavailable"] * 2


@pytest.mark.parametrize("validation", [False, True])
def test_a_recording_without_the_calls_fails_the_run_at_once(make_spec, validation):
    miss = "The recording 'refunds' has no answer to ask with {}."
    dead = InstantRunner(lambda _uid: StopReason.TOOL_FAULT, miss)
    with pytest.raises(RunFailed, match="has no answer to ask with {}.*Record these calls") as end:
        collect(make_spec(), runner=dead, validation=validation, recording="refunds")
    assert end.value.code == "recording_incomplete"
    assert len(dead.rounds) == 1


def test_a_machine_that_is_too_slow_pauses_the_run_at_once(make_spec):
    slow = InstantRunner(lambda _uid: StopReason.TIME_LIMIT, "time: not done within 600 s")
    paused, rounds, messages = collect(make_spec(), runner=slow)
    assert (paused.reason, len(rounds), messages) == ("too_slow", 1, [])
    assert paused.text == (
        "4 of 4 rollouts were lost to the clock, most often: time: not done within 600 s "
        "(for example row 2). This was try 1 of 1, so the job is paused; nothing of this step was "
        "trained. Resume it when the machine has less to do, or clone it with more seconds a "
        "trajectory or fewer tasks a step."
    )


def test_a_grader_that_nobody_can_run_pauses_the_run_and_scores_nothing(make_spec):
    paused, _, messages = collect(make_spec(), lambda *_: "no sandbox", validation=True)
    assert paused.reason == "grader_unavailable"
    assert paused.text.startswith(
        "2 of 2 rollouts were lost to a grader fault, most often: grader: no sandbox "
        "(for example row 2). This was try 3 of 3"
    )
    assert len(messages) == 2


@pytest.mark.parametrize("validation", [False, True])
def test_a_grader_that_raises_by_itself_fails_the_run_at_once(make_spec, validation):
    runner, tasks = InstantRunner(), 2 if validation else 4
    with pytest.raises(RunFailed) as failed:
        collect(make_spec(), lambda *_: None, runner, validation=validation)
    assert (failed.value.code, failed.value.permanent) == ("grader_failed", True)
    assert failed.value.text == (
        f"{RAISED} in {tasks} of {tasks} rollouts; for example in row 2 with the answer '42'. "
        "Nothing of this step was trained. Mend the grader and clone the job."
    )
    assert len(runner.rounds) == 1


def test_the_commonest_error_of_the_grader_is_the_one_that_is_told(make_spec):
    def three_of_four(trajectory, _task):
        if trajectory.uid == "t-4-0-0":
            trajectory.cause = "grader: the grader returned nan"
            return math.nan
        return 1.0 if trajectory.uid == "t-4-1-1" else None

    with pytest.raises(RunFailed) as failed:
        collect(make_spec(), three_of_four)
    assert failed.value.text.startswith(
        f"{RAISED} in 2 of 4 rollouts, and 3 of 4 have no reward; for example in row "
    )


def test_errors_in_half_of_the_rollouts_fail_nothing(make_spec):
    batch, _, messages = collect(
        make_spec(max_refills=0), lambda member, _: 1.0 if member.sample else None
    )
    assert messages == []
    assert [member.reward for member in batch.trajectories] == [None, 1.0, None, 1.0]


def test_an_outage_beside_errors_is_waited_for(make_spec):
    def mixed(member, _task):
        if member.group == "1":
            return 1.0 if member.sample else "no sandbox"
        return None

    paused, rounds, _ = collect(make_spec(max_refills=0), mixed)
    assert (paused.reason, len(rounds)) == ("grader_unavailable", 3)
    assert "3 of 4 rollouts were lost to a grader fault" in paused.text


def test_an_outage_that_passes_costs_a_try_and_no_rollout(make_spec):
    runner = InstantRunner()
    runner.stop_of = lambda _uid: (
        StopReason.TOOL_FAULT if len(runner.rounds) == 1 else StopReason.FINAL_ANSWER
    )
    batch, rounds, messages = collect(make_spec(), runner=runner)
    assert rounds[0] == rounds[1]
    assert [member.stop for member in batch.trajectories] == [StopReason.FINAL_ANSWER] * 4
    assert len(messages) == 1


def test_half_of_the_rollouts_lost_is_no_outage(make_spec):
    half = InstantRunner(
        lambda uid: StopReason.TOOL_FAULT if uid.endswith("-0") else StopReason.FINAL_ANSWER
    )
    batch, _, messages = collect(make_spec(max_refills=0), runner=half)
    assert messages == []
    # One graded rollout a group is no comparison: a lost rollout does not count as a zero.
    assert batch.with_signal == 0


def test_a_grader_that_raises_ends_the_collection_with_its_error(make_spec):
    def broken(*_):
        raise RuntimeError("a bug")

    with pytest.raises(RuntimeError, match="a bug"):
        collect(make_spec(), broken)


@pytest.mark.parametrize(
    ("content", "code", "words"),
    [
        (None, "dataset_missing", "may have been deleted"),
        ("", "dataset_empty", "no rows"),
        ("not json\n", "dataset_bad_row", "row 0"),
        ('{"messages": []}\n', "dataset_bad_row", "row 0"),
    ],
)
def test_a_dataset_that_cannot_be_used_fails_with_its_name(make_spec, content, code, words):
    spec = make_spec(validation=DataSpec(path=make_spec().train.path))
    path = spec.train.path
    with open(path, "w") as stream:
        stream.write(content or "")
    if content is None:
        spec = make_spec(train=DataSpec(path=f"{path}.gone"))
    with pytest.raises(RunFailed, match=words) as failed:
        collect(spec)
    assert failed.value.code == code
    assert "tasks.jsonl" in failed.value.text


def test_a_row_that_the_file_no_longer_has_is_named(make_spec):
    spec = make_spec()
    with pytest.raises(RunFailed, match="row 9 of tasks.jsonl takes part, and the file has 5 rows"):
        collect(make_spec(train=DataSpec(path=spec.train.path, rows=(0, 9))))
