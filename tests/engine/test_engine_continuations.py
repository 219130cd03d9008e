"""Calls measured by continuations: the estimates, their cost, and that no fault fails a step."""

from __future__ import annotations

import asyncio
import json
import math

import pytest
from transformers import Qwen3ForCausalLM

from jobs.engine.continuations import Continuations, note_measured
from jobs.engine.credit.counterfactual import compare
from jobs.engine.rollout.episode import EpisodeSettings
from jobs.engine.rollout.render import ChatRenderer
from jobs.engine.rollout.replay import NOT_RECORDED
from jobs.engine.rollout.runner import RolloutRunner
from jobs.engine.sampling.local import LocalSampler
from jobs.engine.spec import Budgets, CounterfactualSpec
from jobs.engine.types import FAULTS, StopReason
from tests.engine.conftest import tiny_tokenizer
from tests.engine.rollout.continuing import TASK, TOOLS, InProcess, make_runner, request, says


@pytest.fixture(scope="module")
def tokenizer():
    return tiny_tokenizer()


class IsAnswer:
    """1 for "42", after a while; there are uids that it raises at, and some that get no number."""

    def __init__(self, raises=(), no_number=()):
        self.raises, self.no_number = raises, no_number

    async def grade(self, trajectory, task):
        assert task is TASK
        await asyncio.sleep(0.02)
        if trajectory.uid in self.raises:
            raise RuntimeError("a bug")
        if trajectory.stop not in FAULTS:
            trajectory.reward = float(trajectory.answer == "42")
        if trajectory.uid in self.no_number:
            trajectory.reward = math.nan


class Counted:
    """A runner that counts how often it is asked, and may fail."""

    def __init__(self, runner, error=None):
        self.runner, self.error = runner, error
        self.rounds = []
        self.found = []

    async def run(self, requests, on_done=None):
        self.rounds.append([one.uid for one in requests])
        self.found = await self.runner.run(requests, on_done)
        if self.error:
            raise self.error
        return self.found


def roll_out(tokenizer, lines_of):
    """Two graded parents of one group, by their lines."""
    members = []
    for sample, lines in enumerate(lines_of):
        runner = make_runner(tokenizer, lines)[0]
        members += asyncio.run(runner.run([request(sample)]))
        members[-1].reward = float(members[-1].answer == "42")
    return members


LOOKED = [says("look", q="a"), "42"]
GUESSED = [says("look", q="b"), "41"]
SPEC = CounterfactualSpec(continuations=2, calls_per_step=1)


def estimate(tokenizer, members, line, *, spec=SPEC, grader=None, error=None, tools=None, **more):
    """Returns the estimate, the counting runner and the tools."""
    runner, _, tools = make_runner(tokenizer, line, tools, **more)
    counted = Counted(runner, error)
    continuations = Continuations(counted, grader or IsAnswer(), TOOLS, lambda _: TASK)
    return asyncio.run(continuations.estimate(spec, members, 3)), counted, tools


def fails_before(turn, seed):
    """Played on from before the call, it does not call, and is wrong."""
    return "42" if turn else "41"


def test_the_change_of_value_is_measured_in_one_round(tokenizer):
    members = roll_out(tokenizer, [LOOKED, GUESSED])
    found, runner, tools = estimate(tokenizer, members, fails_before)
    assert found.credits == {("t-3-0-0", 0): compare([0.0, 0.0], [1.0, 1.0])}
    assert runner.rounds == [
        ["t-3-0-0-c0-0", "t-3-0-0-c0-1", "t-3-0-0-c1-0", "t-3-0-0-c1-1"],
    ]
    assert (found.failure, tools.made) == ("", [])
    assert len({one.trace_id for one in (*members, *runner.found)}) == 6
    note_measured(members, found)
    assert members[0].turns[0].measured.delta == 1.0
    assert [members[0].turns[1].measured, members[1].turns[0].measured] == [None, None]


def test_the_cost_counts_only_what_is_new(tokenizer):
    members = roll_out(tokenizer, [LOOKED, GUESSED])
    found, runner, tools = estimate(tokenizer, members, LOOKED)
    seconds = found.cost.pop("seconds")
    before, after = len(members[0].ids) - members[0].turns[0].start, members[0].turns[1]
    results = after.start - members[0].turns[0].end
    assert found.cost == {
        "measured": 1,
        "unmeasured": 0,
        "rollouts": 4,
        "unusable": 0,
        "unrecorded": 0,
        "sampled_tokens": 2 * (before - results) + 2 * (after.end - after.start),
        "tool_calls": 2,
    }
    assert (seconds > 0, len(tools.made)) == (True, 2)
    assert {trace for trace, *_ in tools.made} <= {one.trace_id for one in runner.found}


def test_the_state_between_two_measured_calls_is_played_on_from_once(tokenizer):
    lines = [says("look", q="a"), says("look", q="b"), "42"]
    members = roll_out(tokenizer, [lines, GUESSED])
    spec = CounterfactualSpec(continuations=2, calls_per_step=2)
    found, runner, _ = estimate(tokenizer, members, lines, spec=spec)
    assert sorted(found.credits) == [("t-3-0-0", 0), ("t-3-0-0", 1)]
    assert sorted(runner.rounds[0]) == [f"t-3-0-0-c{cut}-{k}" for cut in (0, 1, 2) for k in (0, 1)]


def test_continuations_that_need_an_unrecorded_writing_call_are_counted_and_said(tokenizer):
    members = roll_out(tokenizer, [[says("book", room="1"), "42"], GUESSED])
    members[1].entropies = [9.0] * len(members[1].ids)
    line = [says("book", room="2"), "42"]
    found, _, tools = estimate(tokenizer, members, line)
    credit = found.credits["t-3-0-0", 0]
    assert (credit.delta, credit.n, credit.unusable, tools.made) == (None, 2, 2, [])
    assert credit.reason == (
        "usable are 0 of 2 continuations from before and 2 of 2 from after; at least 2 and half "
        f"are needed; 2 because of tool book: {NOT_RECORDED}"
    )
    assert (found.cost["unrecorded"], found.cost["unusable"], found.cost["unmeasured"]) == (2, 2, 1)


def test_the_record_is_of_the_whole_group(tokenizer):
    members = roll_out(tokenizer, [[says("look"), "42"], [says("book", room="2"), "41"]])
    members[1].entropies = [0.0] * len(members[1].ids)
    found, _, tools = estimate(tokenizer, members, [says("book", room="2"), "42"])
    assert (found.credits["t-3-0-0", 0].n, found.credits["t-3-0-0", 0].delta) == (4, 0.0)
    assert tools.made == []


def test_a_fault_of_a_tool_or_of_the_grader_makes_one_continuation_unusable(tokenizer):
    members = roll_out(tokenizer, [LOOKED, GUESSED])
    spec = CounterfactualSpec(continuations=4, calls_per_step=1)
    grader = IsAnswer(raises=("t-3-0-0-c0-0",), no_number=("t-3-0-0-c1-3",))
    found, _, _ = estimate(tokenizer, members, fails_before, spec=spec, grader=grader)
    credit = found.credits["t-3-0-0", 0]
    assert credit.delta == 1.0
    assert credit.interval == compare([0.0] * 3, [1.0] * 3).interval
    assert (credit.n, credit.unusable) == (6, 2)
    assert credit.reason.startswith("2 of 8 continuations are unusable; 1 because of ")


class Broken(InProcess):
    async def execute(self, calls, **options):
        for one in calls:
            one.status, one.error = "fault", "connection refused"


def test_a_dead_tool_leaves_no_estimate_and_raises_nothing(tokenizer):
    members = roll_out(tokenizer, [LOOKED, GUESSED])
    found, runner, _ = estimate(tokenizer, members, LOOKED, tools=Broken())
    assert [one.stop for one in runner.found[:2]] == [StopReason.TOOL_FAULT] * 2
    credit = found.credits["t-3-0-0", 0]
    assert (credit.delta, credit.measured) == (None, None)
    assert credit.reason.endswith("2 because of tool look: connection refused")


def test_a_failure_of_the_runner_leaves_no_estimate_and_raises_nothing(tokenizer):
    members = roll_out(tokenizer, [LOOKED, GUESSED])
    found, _, _ = estimate(tokenizer, members, LOOKED, error=ValueError("no room"))
    assert found.failure == "the continuations failed with ValueError: no room"
    credit = found.credits["t-3-0-0", 0]
    assert (credit.delta, credit.n, credit.unusable) == (None, 0, 4)
    assert credit.reason.endswith("4 because of a failure of all continuations")
    note_measured(members, found)
    assert members[0].turns[0].measured is None


def test_a_wish_to_stop_is_heard(tokenizer):
    members = roll_out(tokenizer, [LOOKED, GUESSED])
    with pytest.raises(asyncio.CancelledError):
        estimate(tokenizer, members, LOOKED, error=asyncio.CancelledError())


def test_a_continuation_at_a_limit_is_graded(tokenizer):
    members = roll_out(tokenizer, [LOOKED, GUESSED])
    found, runner, _ = estimate(tokenizer, members, LOOKED, max_turns=1)
    assert {one.stop for one in runner.found} == {StopReason.TURN_LIMIT}
    assert (found.credits["t-3-0-0", 0].n, found.cost["unusable"]) == (4, 0)


def test_nothing_to_measure_runs_nothing(tokenizer):
    members = roll_out(tokenizer, [LOOKED, LOOKED])
    found, runner, _ = estimate(tokenizer, members, LOOKED)
    assert (found.credits, runner.rounds, found.cost["rollouts"]) == ({}, [], 0)


def test_a_turn_that_nothing_followed_cannot_be_measured(tokenizer):
    members = roll_out(tokenizer, [LOOKED, GUESSED])
    continuations = Continuations(Counted(None), IsAnswer(), TOOLS, lambda _: TASK)
    with pytest.raises(ValueError, match="t-3-0-0 has no turn 2 to play on from"):
        asyncio.run(continuations.measure([("t-3-0-0", 1)], 2, members, 3))


class Half:
    """The second of two ranks; the first one's continuations come by `others`."""

    index, count = 1, 2

    def __init__(self):
        self.others = []

    async def gather(self, own, failure=None):
        assert failure is None
        return [*self.others, *own]


def test_each_rank_plays_on_its_own_groups_and_all_get_the_same(tokenizer):
    members = roll_out(tokenizer, [LOOKED, GUESSED]) + roll_out(tokenizer, [LOOKED, GUESSED])
    for place, member in enumerate(members):
        member.group, member.uid = str(place // 2), f"t-3-{place // 2}-{place % 2}"
    visits = [("t-3-0-0", 0), ("t-3-1-0", 0)]

    def measure(ranks=None):
        counted = Counted(make_runner(tokenizer, fails_before)[0])
        continuations = Continuations(counted, IsAnswer(), TOOLS, lambda _: TASK, ranks=ranks)
        return asyncio.run(continuations.measure(visits, 2, members, 3)), counted

    alone, everything = measure()
    ranks = Half()
    ranks.others = everything.found[:4]
    half, own = measure(ranks)
    assert own.rounds == [everything.rounds[0][4:]]
    assert half.credits == alone.credits


class EagerToStop(Qwen3ForCausalLM):
    """An untrained model that ends its turns, as a trained one would."""

    def forward(self, *args, **kwargs):
        output = super().forward(*args, **kwargs)
        output.logits[..., self.config.eos_token_id] += 4
        return output


class CallingRenderer(ChatRenderer):
    """Reads two turns of three as a call, whatever the model babbles."""

    def turn_text(self, ids):
        if len(ids) % 3 == 0:
            return "done"
        call = {"name": "look", "arguments": {"said": list(ids[:3])}}
        return f"<tool_call>{json.dumps(call)}</tool_call>"


class Slow(InProcess):
    def __init__(self, delays):
        super().__init__()
        self.delays = delays

    async def execute(self, calls, **options):
        await asyncio.sleep(self.delays[len(self.made) % len(self.delays)])
        await super().execute(calls, **options)


class Parity:
    async def grade(self, trajectory, _task):
        trajectory.reward = float(len(trajectory.ids) % 2)


def test_in_lock_step_the_latencies_of_tools_change_nothing(tiny_model_dir, tokenizer):
    model = EagerToStop.from_pretrained(tiny_model_dir).eval()

    async def measured(delays):
        runner = RolloutRunner(
            LocalSampler(model, tokenizer, device="cpu", lock_step=True, capacity=1024),
            CallingRenderer(tokenizer),
            Slow(delays),
            EpisodeSettings(
                budgets=Budgets(max_turns=4, max_turn_tokens=64, wall_s=None),
                seed=5,
                temperature=1.0,
                run_id="run",
                context_length=1024,
            ),
        )
        members = await runner.run([request(sample) for sample in range(4)])
        for member in members:
            await Parity().grade(member, TASK)
        counted = Counted(runner)
        continuations = Continuations(counted, Parity(), TOOLS, lambda _: TASK)
        found = await continuations.estimate(CounterfactualSpec(calls_per_step=3), members, 3)
        return found.credits, [(one.ids, one.logprobs, one.stop) for one in counted.found]

    quick = asyncio.run(measured([0.0]))
    assert quick == asyncio.run(measured([0.03, 0.0, 0.05, 0.01]))
    assert len(quick[0]) == 3
    assert len({tuple(ids) for ids, *_ in quick[1]}) > 12
