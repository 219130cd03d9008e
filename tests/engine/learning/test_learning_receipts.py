"""What each rollout is told that the optimiser received of it, in both forms of a batch."""

from __future__ import annotations

import math

import msgspec
import pytest
import torch

from jobs.engine.learning import update
from jobs.engine.learning.losses.base import LossInputs
from jobs.engine.learning.losses.registry import LOSSES
from jobs.engine.learning.model import load_policy
from jobs.engine.learning.packing import pack
from jobs.engine.learning.receipts import Ledger, hand_out
from jobs.engine.learning.tree import build_tree
from jobs.engine.learning.update import Learner
from jobs.engine.ranks import Alone
from jobs.engine.received import audit_of, log_ratios
from jobs.engine.spec import DataSpec, JobSpec, LoraSpec
from jobs.engine.types import Attribution, Received, Trajectory, Turn

torch.set_num_threads(1)

SAMPLED = (1, 2, 3, 5, 6)
FORMS = pytest.mark.parametrize("form", ["rows", "tree"])


def rollout(uid, total, last):
    """Two turns of three and two tokens behind one prompt token, a tool's token between them."""
    turns = [Turn(index=0, start=1, end=4, text=""), Turn(index=1, start=5, end=7, text="")]
    return Trajectory(
        uid=uid, row=0, group="g", sample=0, split="train", trace_id="t",
        ids=[1, 2, 3, 4, 5, 6, last], logprobs=[-0.5] * 7, entropies=[0.0] * 7,
        kinds=[0, 1, 1, 1, 2, 1, 1], turns=turns, trained=True, advantage=total,
        attribution=[Attribution(turn=0, tool_call_id=None, episode=total, step=0.25),
                     Attribution(turn=1, tool_call_id=None, episode=total)],
    )  # fmt: skip


@pytest.fixture
def members():
    return [rollout("a", 0.5, 7), rollout("b", -1.0, 8)]


def packed(members, form):
    if form == "tree":
        return build_tree(members, total=10)
    return pack(members, token_budget=99, total=10)[0]


def handed_out(members, batch, log_ratio=0.0):
    inputs = LossInputs(
        batch.anchor_N + log_ratio, batch.anchor_N, batch.advantages_N, batch.owner_N, 5.0, 0.1
    )
    ledger = Ledger(Alone())
    ledger.note(batch, inputs, 10)
    return {audit.row: audit for audit in hand_out(members, [ledger.received])}


@FORMS
def test_the_three_sums_agree_for_each_rollout(members, form):
    handed_out(members, packed(members, form))
    a, b = map(audit_of, members)
    assert a.by_turn == a.by_token == pytest.approx(5 * 0.5 + 3 * 0.25)
    assert b.received == pytest.approx(-5 + 0.75, rel=1e-7)
    assert (a.agrees, b.agrees, a.tokens) == (True, True, 5)


@FORMS
def test_an_advantage_that_was_changed_in_the_batch_differs(members, form):
    batch = packed(members, form)
    tokens = batch.advantages_N if form == "tree" else batch.advantages_BT[0]
    tokens[2] += 2e-6
    handed_out(members, batch)
    assert [audit_of(member).agrees for member in members] == [False, True]


def test_records_that_were_changed_after_packing_differ(members):
    batch = build_tree(members, total=10)
    members[1].attribution[0] = msgspec.structs.replace(members[1].attribution[0], step=0.5)
    handed_out(members, batch)
    assert [audit_of(member).agrees for member in members] == [True, False]


def test_a_rollout_that_was_not_packed_agrees_only_where_it_has_no_advantage(members):
    still = msgspec.structs.replace(rollout("c", 0.0, 9), attribution=[])
    # Its sum is 0 all the same.
    lost = rollout("d", 1.0, 9)
    lost.attribution[0] = Attribution(turn=0, tool_call_id=None, episode=-2 / 3)
    hand_out([still, lost], [])
    assert still.received == lost.received == Received(row=None, sha256="", total=0.0)
    assert (audit_of(still).agrees, audit_of(lost).agrees) == (True, False)
    assert log_ratios(still) is None


def test_what_is_not_finite_is_no_number_in_the_record_and_differs(members):
    batch = build_tree(members, total=10)
    batch.advantages_N[0] = math.nan
    handed_out(members, batch)
    assert members[0].received.total is None
    assert msgspec.json.decode(msgspec.json.encode(members[0]), type=Trajectory) == members[0]
    assert [audit_of(member).agrees for member in members] == [False, True]


def test_rollouts_of_a_tree_share_its_row_and_padded_ones_have_their_own(members):
    handed_out(members, build_tree(members, total=10))
    a, b = (member.received for member in members)
    assert (a.row, b.row, a.sha256 == b.sha256, len(a.sha256)) == (0, 0, True, 16)
    handed_out(members, packed(members, "rows"))
    c, d = (member.received for member in members)
    assert (c.row, d.row) == (0, 1)
    assert len({a.sha256, c.sha256, d.sha256}) == 3


def test_a_digest_is_of_every_number_of_the_row(members):
    digests = set()
    for change in (None, "ids_T", "ends_T", "pred_N", "anchor_N", "advantages_N"):
        batch = build_tree(members, total=10)
        if change:
            getattr(batch, change)[-1] += 1
        handed_out(members, batch)
        digests.add(members[0].received.sha256)
    assert len(digests) == 6


@FORMS
def test_each_trained_token_has_its_log_ratio_to_three_digits_and_no_other_has_one(members, form):
    """In a batch tokens stand rollout after rollout, each in its own order."""
    handed_out(members, packed(members, form), torch.arange(10) / 8)
    a, b = map(log_ratios, members)
    assert a == {place: n / 8 for n, place in enumerate(SAMPLED)}
    assert b == {place: (5 + n) / 8 for n, place in enumerate(SAMPLED)}
    assert len(members[0].received.log_ratios) == 2 * len(SAMPLED)
    handed_out(members, packed(members, form), 0.0396)
    assert log_ratios(members[0])[1] == pytest.approx(0.0396, rel=1 / 2048)
    handed_out(members, packed(members, form), 1e3)
    assert log_ratios(members[0])[1] == 20.0


@pytest.fixture
def learner(tiny_model_dir):
    data = DataSpec(path="none.jsonl")
    spec = JobSpec(
        run_id="run", model_path=str(tiny_model_dir), device="cpu", train=data, validation=data,
        grader={}, lora=LoraSpec(rank=4),
    )  # fmt: skip
    return Learner(load_policy(spec), spec, LOSSES["cispo"])


def sampled_by(policy, member):
    """As a sampler with the trainer's weights would have it, computed by a plain forward pass."""
    with torch.no_grad():
        logits_TV = policy.model(input_ids=torch.tensor([member.ids])).logits[0]
    logprobs_TV = torch.log_softmax(logits_TV, -1)
    for place in SAMPLED:
        member.logprobs[place] = float(logprobs_TV[place - 1, member.ids[place]])
    return member


@pytest.mark.parametrize("trees", [True, False])
@pytest.mark.parametrize("budget", [1, 100])
def test_the_ratio_is_1_where_the_trainer_has_the_sampler_s_weights(
    learner, members, monkeypatch, trees, budget
):
    monkeypatch.setattr(update, "can_use_trees", lambda config: trees)
    learner.spec = msgspec.structs.replace(learner.spec, micro_batch_tokens=budget)
    for member in members:
        sampled_by(learner.policy, member)
    # This token was twice as likely to the sampler.
    members[1].logprobs[5] += math.log(2)
    report = learner.step(members)
    a, b = ({place: math.exp(x) for place, x in log_ratios(m).items()} for m in members)
    assert a == pytest.approx(dict.fromkeys(SAMPLED, 1.0), abs=1e-5)
    assert b == pytest.approx(dict.fromkeys(SAMPLED, 1.0) | {5: 0.5}, abs=2e-4)
    assert (report.audited, report.audit_differing) == (2, 0)
    # The next step's ratios are by the weights that this one left.
    learner.step(members)
    assert max(map(abs, log_ratios(members[0]).values())) > 0


def test_a_rollout_that_is_excluded_is_told_nothing(learner, members):
    left_out = msgspec.structs.replace(rollout("c", 3.0, 9), trained=False)
    report = learner.step([*members, left_out])
    assert left_out.received is None
    assert audit_of(left_out) is None
    assert log_ratios(left_out) is None
    assert report.audited == 2


def test_a_step_reports_how_many_of_its_rollouts_differ(learner, members, monkeypatch):
    build = update.pack_trees

    def wrong(*args, **options):
        batches = build(*args, **options)
        batches[0].advantages_N[-1] *= 1.01
        return batches

    monkeypatch.setattr(update, "pack_trees", wrong)
    report = learner.step(members)
    assert (report.audited, report.audit_differing) == (2, 1)
    assert report.audit_by_turn == report.audit_by_token == pytest.approx(-1.0)
    assert report.audit_received == pytest.approx(-1.01, rel=1e-6)


def test_a_step_in_which_nothing_moves_tells_that_nothing_was_received(learner):
    still = msgspec.structs.replace(rollout("c", 0.0, 9), attribution=[])
    report = learner.step([still])
    assert (report.updated, report.audited, report.audit_differing) == (False, 1, 0)
    assert still.received == Received()
