"""Rollouts trained as a trie: the gradient and the report are those of the padded form."""

from __future__ import annotations

import random
from itertools import pairwise

import msgspec
import pytest
import torch
from transformers import MistralConfig, MistralForCausalLM

from jobs.engine.learning import logprobs, tree, update
from jobs.engine.learning.losses.registry import LOSSES
from jobs.engine.learning.model import load_policy
from jobs.engine.learning.packing import MicroBatch
from jobs.engine.learning.update import Learner
from jobs.engine.spec import DataSpec, JobSpec, LoraSpec, LossSpec
from jobs.engine.types import StopReason, Trajectory
from tests.engine.conftest import save_random_model, tiny_tokenizer
from tests.engine.learning.credits import credited

torch.set_num_threads(1)

PROMPT, SAMPLED, TOOL = 0, 1, 2


def make_learner(path):
    data = DataSpec(path="none.jsonl")
    spec = JobSpec(
        run_id="run",
        model_path=str(path),
        device="cpu",
        train=data,
        validation=data,
        grader={},
        lora=LoraSpec(rank=4),
    )
    policy = load_policy(spec)
    generator = torch.Generator().manual_seed(3)
    for name, parameter in policy.trainable:
        if "lora_B" in name:
            parameter.data = torch.randn(parameter.shape, generator=generator) * 0.05
    return Learner(policy, spec, LOSSES["cispo"])


@pytest.fixture(scope="module")
def qwen(tiny_model_dir):
    return make_learner(tiny_model_dir)


@pytest.fixture(scope="module")
def mistral(tmp_path_factory):
    """All layers look back seven tokens at most."""
    folder = tmp_path_factory.mktemp("tiny-mistral")
    tokenizer = tiny_tokenizer()
    config = MistralConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=16,
        max_position_embeddings=512,
        sliding_window=7,
    )
    save_random_model(folder, MistralForCausalLM, config, tokenizer)
    return make_learner(folder)


def span(seed, length, kind):
    """A stretch of tokens of one kind, the same for the same seed."""
    source = random.Random(seed)
    return [(source.randrange(256), kind, -source.uniform(4.0, 6.0)) for _ in range(length)]


def rollout(uid, advantage, *spans, group="0"):
    tokens = [token for part in spans for token in part]
    return Trajectory(
        uid=uid,
        row=0,
        group=group,
        sample=0,
        split="train",
        trace_id="t",
        ids=[token for token, _, _ in tokens],
        kinds=[kind for _, kind, _ in tokens],
        logprobs=[value if kind == SAMPLED else 0.0 for _, kind, value in tokens],
        entropies=[0.0] * len(tokens),
        reward=1.0,
        stop=StopReason.FINAL_ANSWER,
        advantage=advantage,
        trained=True,
    )


def siblings(group="0", seed=0):
    """One prompt, four answers."""
    prompt = span(seed, 30, PROMPT)
    return [
        rollout(
            f"{group}-{i}",
            0.7 - 0.4 * i,
            prompt,
            span(seed + i + 1, 5 + 3 * i, SAMPLED),
            group=group,
        )
        for i in range(4)
    ]


def turns():
    """A shared turn and tool answer, then two branches, one of which branches again."""
    start = (span(10, 20, PROMPT), span(11, 9, SAMPLED), span(12, 6, TOOL))
    left = (*start, span(13, 8, SAMPLED), span(14, 5, TOOL))
    return [
        rollout("a", 1.0, *left, span(15, 6, SAMPLED)),
        rollout("b", -0.5, *left, span(16, 9, SAMPLED), span(17, 4, TOOL)),
        rollout("c", 0.3, *start, span(18, 12, SAMPLED)),
    ]


def credited_turns():
    """As before; the shared turns are worth something else to each of their owners."""
    a, b, c = turns()
    return [credited(a, 1.0, 0.0, -0.5), credited(b, -0.25, 0.75, 0.0), credited(c, 0.0, 0.5)]


def identical():
    spans = (span(20, 12, PROMPT), span(21, 10, SAMPLED))
    return [
        rollout(uid, advantage, *spans)
        for uid, advantage in zip("abc", (1.0, -0.4, 0.2), strict=True)
    ]


def beginning():
    spans = (span(30, 25, PROMPT), span(31, 10, SAMPLED))
    return [rollout("a", 1.0, *spans, span(32, 8, SAMPLED)), rollout("b", -0.6, *spans)]


def two_groups():
    return [*siblings("0", 40), *siblings("1", 60)]


CASES = [siblings, turns, credited_turns, identical, beginning, two_groups]


def trained(learner, members, monkeypatch, *, trees, budget=100_000):
    """The gradient, the report and the micro-batches of one step."""
    learner.spec = msgspec.structs.replace(learner.spec, micro_batch_tokens=budget)
    kept, batches = {}, []
    learner.optimiser.step = lambda: kept.update(
        (name, parameter.grad.clone()) for name, parameter in learner.policy.trainable
    )
    accumulate = Learner._accumulate

    def noted(self, batch, sums):
        batches.append(batch)
        accumulate(self, batch, sums)

    with monkeypatch.context() as patch:
        patch.setattr(update, "can_use_trees", lambda config: trees)
        patch.setattr(Learner, "_accumulate", noted)
        report = learner.step(members)
    return torch.cat([kept[name].flatten() for name in sorted(kept)]), report, batches


def known(report):
    return {name: value for name, value in report.as_dict().items() if value is not None}


def assert_as_padded(learner, members, monkeypatch):
    padded, expected, _ = trained(learner, members, monkeypatch, trees=False)
    found, report, batches = trained(learner, members, monkeypatch, trees=True)
    assert [type(batch) for batch in batches] == [tree.TreeBatch]
    assert (found - padded).norm() <= 1e-5 * padded.norm()
    assert report.as_dict().keys() - known(report) == expected.as_dict().keys() - known(expected)
    assert known(report) == pytest.approx(known(expected), rel=1e-5, abs=1e-7)


@pytest.mark.parametrize("case", CASES)
def test_a_tree_has_the_gradient_and_the_report_of_padded_rollouts(qwen, case, monkeypatch):
    assert_as_padded(qwen, case(), monkeypatch)


@pytest.mark.parametrize("case", CASES)
def test_so_it_has_where_layers_have_a_window(mistral, case, monkeypatch):
    assert_as_padded(mistral, case(), monkeypatch)


@pytest.fixture
def pulled(qwen):
    """A job that is held near its base model."""
    usual, qwen.spec = qwen.spec, msgspec.structs.replace(qwen.spec, loss=LossSpec(kl_weight=0.25))
    yield qwen
    qwen.spec = usual


def test_so_it_has_where_the_base_model_pulls_also_on_rollouts_at_the_mean(pulled, monkeypatch):
    still = rollout("d", 0.0, span(10, 20, PROMPT), span(11, 9, SAMPLED), span(19, 3, SAMPLED))
    members = [*credited_turns(), still]
    assert_as_padded(pulled, members, monkeypatch)
    _, first, (row,) = trained(pulled, members, monkeypatch, trees=True)
    assert len(row.pred_N) == first.tokens_trained
    assert first.kl_to_base > 0


@pytest.mark.parametrize("name", sorted(LOSSES))
def test_so_it_has_with_every_loss(qwen, name, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(qwen, "loss", LOSSES[name])
        assert_as_padded(qwen, credited_turns(), monkeypatch)


@pytest.fixture(scope="module")
def precise(tiny_model_dir):
    """In double precision, where rounding hides nothing."""
    learner = make_learner(tiny_model_dir)
    learner.policy.model.double()
    return learner


def assert_not_changed_by_splits_or_order(learner, budget, bound, monkeypatch):
    members = [*two_groups(), *turns()]
    whole, report, _ = trained(learner, members, monkeypatch, trees=True)
    split, other, batches = trained(learner, members[::-1], monkeypatch, trees=True, budget=budget)
    assert len(batches) > 2
    assert (whole - split).norm() <= bound * whole.norm()
    assert other.loss == pytest.approx(report.loss, rel=10 * bound)


@pytest.mark.parametrize("budget", [50, 70])
def test_neither_splits_nor_order_change_the_gradient(qwen, budget, monkeypatch):
    assert_not_changed_by_splits_or_order(qwen, budget, 1e-6, monkeypatch)


@pytest.mark.parametrize("budget", [1, 50, 70])
def test_so_it_is_without_rounding_down_to_rollouts_alone(precise, budget, monkeypatch):
    assert_not_changed_by_splits_or_order(precise, budget, 2e-7, monkeypatch)


@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")
@pytest.mark.parametrize("layers", ["qwen", "mistral"])
def test_the_way_of_a_gpu_finds_the_same(layers, request, monkeypatch):
    """FlexAttention, uncompiled; a CPU has no backward pass of it."""
    model = request.getfixturevalue(layers).policy.model
    batch = tree.build_tree([*turns(), *siblings()])
    with torch.no_grad():
        usual = logprobs.tree_logprobs(model, batch, temperature=1.0)
        used = []
        monkeypatch.setattr(
            logprobs,
            "_attention_of_trees",
            lambda causal, device: used.append(tree.FLEX_ATTENTION) or tree.FLEX_ATTENTION,
        )
        with torch.compiler.set_stance("force_eager"):
            flex = logprobs.tree_logprobs(model, batch, temperature=1.0)
    assert used == [tree.FLEX_ATTENTION]
    for ours, theirs in zip(flex, usual, strict=True):
        assert float((ours - theirs).abs().max()) <= 1e-5


def test_a_shared_token_stands_once_and_is_trained_for_each_owner():
    members = turns()
    row = tree.build_tree(members)
    assert len(row.ids_T) == 35 + 13 + 6 + 9 + 12
    in_order = sorted(members, key=lambda member: member.ids)
    assert torch.bincount(row.owner_N).tolist() == [m.kinds.count(SAMPLED) for m in in_order]
    assert row.positions_T.max() == 56
    first = row.pred_N == 19
    assert first.sum() == 3
    assert sorted(row.advantages_N[first].tolist()) == pytest.approx([-0.5, 0.3, 1.0])


def test_each_owner_of_a_shared_token_keeps_the_credit_of_its_own_turn():
    members = credited_turns()
    row = tree.build_tree(members, total=2)
    assert sorted(row.advantages_N[row.pred_N == 19].tolist()) == [-0.125, 0.0, 0.5]
    own = [row.advantages_N[row.owner_N == owner].tolist() for owner in range(3)]
    expected = {
        "a": [0.5] * 9 + [0.0] * 8 + [-0.25] * 6,
        "b": [-0.125] * 9 + [0.375] * 8 + [0.0] * 9,
        "c": [0.0] * 9 + [0.25] * 12,
    }
    in_order = sorted(members, key=lambda member: member.ids)
    assert own == [expected[member.uid] for member in in_order]


def test_paths_follow_the_rollouts_and_masks_follow_the_paths():
    members = [*turns(), *siblings()]
    row = tree.build_tree(members)
    (mask_TT,) = tree.dense_mask(row, None, dtype=torch.float32)[0]
    seen_TT = mask_TT == 0
    for member in members:
        length = tree.computed_length(member)
        last = [
            place
            for place in range(len(row.ids_T))
            if row.positions_T[place] == length - 1
            and row.ids_T[seen_TT[place]].tolist() == member.ids[:length]
        ]
        assert len(last) == 1


def test_rollouts_that_share_little_stay_padded(qwen, monkeypatch):
    members = [
        rollout(f"m{i}", 0.5, span(1, 3, PROMPT), span(80 + i, 30, SAMPLED)) for i in range(3)
    ]
    _, _, batches = trained(qwen, members, monkeypatch, trees=True)
    assert [type(batch) for batch in batches] == [MicroBatch]


def test_rows_keep_to_their_budget_and_hold_every_rollout():
    members = [*two_groups(), *turns()]
    batches = tree.pack_trees(members, token_budget=80, row_tokens=80)
    rows = [batch for batch in batches if isinstance(batch, tree.TreeBatch)]
    assert rows
    assert all(len(row.ids_T) <= 80 for row in rows)
    expected = sum(kind == SAMPLED for member in members for kind in member.kinds)
    assert sum(len(batch.advantages_N) for batch in batches) == expected


def test_common_prefix_and_paths_of_small_rollouts():
    arrays = [tree.np.array(ids) for ids in ([1, 2], [1, 2], [1, 2, 3], [1, 4])]
    assert [tree.common_prefix(a, b) for a, b in pairwise(arrays)] == [2, 2, 1]
    assert [path.tolist() for path in tree.trie_paths(arrays)] == [
        [0, 1],
        [0, 1],
        [0, 1, 2],
        [0, 3],
    ]
