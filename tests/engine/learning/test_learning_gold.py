"""Information gain of turns: the numbers are those of plain forward passes, one a history."""

from __future__ import annotations

import asyncio
import math
from dataclasses import replace

import pytest
import torch

from graders.kinds.base import GraderSpecError
from jobs.engine.learning import gold
from jobs.engine.learning.gold import GoldTurnScores
from jobs.engine.learning.model import load_policy
from jobs.engine.rollout.render import ChatRenderer, ToolMessage
from jobs.engine.spec import DataSpec, JobSpec, LoraSpec
from jobs.engine.types import StopReason, Task, TokenKind, ToolCall, Trajectory, Turn

torch.set_num_threads(1)

ANSWER = "42 km"
QUESTION = {"role": "user", "content": "How far?"}
FOUND = ["It is 42 km.", "", "Nothing <|im_end|> here."]


@pytest.fixture(scope="module")
def policy(tiny_model_dir):
    """With an adapter that changes what the model says."""
    data = DataSpec(path="none.jsonl")
    spec = JobSpec(
        run_id="run",
        model_path=str(tiny_model_dir),
        device="cpu",
        train=data,
        validation=data,
        grader={},
        lora=LoraSpec(rank=4),
    )
    made = load_policy(spec)
    generator = torch.Generator().manual_seed(3)
    for name, parameter in made.trainable:
        if "lora_B" in name:
            parameter.data = torch.randn(parameter.shape, generator=generator) * 0.2
    return made


@pytest.fixture(scope="module")
def renderer(policy):
    return ChatRenderer(policy.tokenizer)


def encode(policy, text, **options):
    return list(policy.tokenizer(text, add_special_tokens=False, **options)["input_ids"])


def rollout(policy, renderer, results=tuple(FOUND[:1]), *, answers=True, uid="a", **more):
    """One turn for each result, and then a turn that answers."""
    one = Trajectory(
        uid=uid,
        row=0,
        group="g",
        sample=0,
        split="train",
        trace_id="t",
        ids=renderer.prompt_ids([QUESTION], []),
        logprobs=[],
        entropies=[],
        kinds=[],
        **({"reward": 1.0, "stop": StopReason.FINAL_ANSWER} | more),
    )
    one.kinds = [int(TokenKind.PROMPT)] * len(one.ids)
    for result in results:
        _add_turn(one, encode(policy, "Call.<|im_end|>"))
        one.turns[-1].calls = [ToolCall(id="c", name="f", arguments="{}", output=result)]
        suffix = renderer.tool_suffix([ToolMessage("f", result)])
        one.ids += suffix.ids
        one.kinds += suffix.kinds
    if answers:
        _add_turn(one, encode(policy, f"{ANSWER}<|im_end|>"))
    return one


def _add_turn(one, ids):
    start = len(one.ids)
    one.ids += ids
    one.kinds += [int(TokenKind.SAMPLED)] * len(ids)
    one.turns.append(Turn(index=len(one.turns), start=start, end=len(one.ids), text=""))


def score(policy, renderer, *rollouts, item=None, template="{{item.answer}}", **options):
    source = GoldTurnScores(policy, renderer, template, **options)
    row = {"answer": ANSWER} if item is None else item
    task = Task(row=0, messages=(QUESTION,), tools=(), item=row)
    return asyncio.run(source.score(rollouts, {0: task}))


@torch.no_grad()
def likely(policy, history, answer=ANSWER, before=""):
    """exp of the mean log-probability of the answer's tokens, one after the other."""
    ids = list(history) + encode(policy, before)
    logprobs = []
    for token in encode(policy, answer, split_special_tokens=True):
        logits = policy.model(input_ids=torch.tensor([ids])).logits[0, -1].float()
        logprobs.append(float(logits.log_softmax(-1)[token]))
        ids.append(token)
    return math.exp(sum(logprobs) / len(logprobs))


def gains(policy, one, cuts, **options):
    values = [likely(policy, one.ids[:cut], **options) for cut in cuts]
    return [after - before for before, after in zip(values, values[1:], strict=False)]


def test_a_turn_gains_what_its_results_add_to_the_likelihood_of_the_gold_answer(policy, renderer):
    one = rollout(policy, renderer, FOUND)
    expected = gains(policy, one, [turn.start for turn in one.turns])
    assert max(map(abs, expected)) > 1e-4
    *found, last = score(policy, renderer, one)["a"]
    assert found == pytest.approx(expected, abs=1e-7, rel=1e-4)
    assert last is None
    assert one.grading["turn_scores"][-1]["reason"] == "no results of tools follow this turn"


@pytest.mark.parametrize("budget", [1, 150, 10_000])
def test_the_token_budget_changes_no_score(policy, renderer, budget):
    one = rollout(policy, renderer, FOUND)
    found = score(policy, renderer, one, token_budget=budget)["a"]
    expected = gains(policy, one, [turn.start for turn in one.turns])
    assert found[:-1] == pytest.approx(expected, abs=1e-7, rel=1e-4)


@pytest.mark.parametrize(
    ("budget", "lengths"), [(1, [[3], [2], [1]]), (5, [[3], [2, 1]]), (6, [[3, 2], [1]])]
)
def test_batches_hold_no_more_than_the_budget_with_their_padding(budget, lengths):
    rows = [((7,) * (length - 1), (5,)) for length in (2, 3, 1)]
    batches = gold._batches(rows, budget)
    assert [[len(history) + 1 for history, _ in batch] for batch in batches] == lengths


def test_the_last_turn_is_scored_where_a_limit_ended_the_rollout_after_its_results(
    policy, renderer
):
    one = rollout(policy, renderer, answers=False, stop=StopReason.TURN_LIMIT)
    expected = gains(policy, one, [one.turns[0].start, len(one.ids)])
    found = score(policy, renderer, one)["a"]
    assert found == pytest.approx(expected, abs=1e-7, rel=1e-4)


def test_a_cut_turn_that_the_scaffold_closed_is_not_scored(policy, renderer):
    one = rollout(policy, renderer, stop=StopReason.TURN_TOKEN_LIMIT)
    one.ids += renderer.close_turn_ids
    one.kinds += [int(TokenKind.SCAFFOLD)]
    scores = score(policy, renderer, one)["a"]
    assert (len(scores), scores[1]) == (2, None)


@pytest.mark.parametrize("item", [{}, {"answer": None}, {"answer": ""}, {"answer": " "}])
def test_a_row_without_a_gold_answer_leaves_all_turns_unscored(policy, renderer, item):
    one = rollout(policy, renderer)
    assert score(policy, renderer, one, item=item) == {"a": [None, None]}
    assert "no gold answer" in one.grading["turn_scores"][0]["reason"]


def test_the_gold_answer_is_what_the_template_makes_of_the_row(policy, renderer):
    one = rollout(policy, renderer)
    item = {"distance": {"value": 42}}
    found = score(policy, renderer, one, item=item, template="{{item.distance.value}} km")["a"]
    assert found[:1] == score(policy, renderer, one)["a"][:1]


def test_a_gold_answer_that_spells_a_control_token_is_text(policy, renderer):
    one = rollout(policy, renderer)
    item = {"answer": "<|im_end|>"}
    cuts = [turn.start for turn in one.turns]
    expected = gains(policy, one, cuts, answer="<|im_end|>")
    found = score(policy, renderer, one, item=item)["a"]
    assert found[:1] == pytest.approx(expected, abs=1e-8, rel=1e-4)


def test_a_template_that_opens_a_thought_has_it_closed_before_the_answer(policy):
    tokenizer = policy.tokenizer
    usual = tokenizer.chat_template
    tokenizer.chat_template = usual.replace("assistant\n{% endif", "assistant\n<think>\n{% endif")
    try:
        opening = ChatRenderer(tokenizer)
        one = rollout(policy, opening)
        found = score(policy, opening, one)["a"]
    finally:
        tokenizer.chat_template = usual
    assert one.ids[: one.turns[0].start][-2:] == encode(policy, "<think>\n")
    cuts = [turn.start for turn in one.turns]
    expected = gains(policy, one, cuts, before="\n</think>\n\n")
    assert found[:1] == pytest.approx(expected, abs=1e-7, rel=1e-4)


def test_a_model_that_thinks_is_given_an_empty_thought_before_the_answer(policy, renderer):
    one = rollout(policy, renderer)
    one.turns[0].reasoning = "Let me see."
    cuts = [turn.start for turn in one.turns]
    expected = gains(policy, one, cuts, before="<think>\n\n</think>\n\n")
    found = score(policy, renderer, one)["a"]
    assert found[:1] == pytest.approx(expected, abs=1e-7, rel=1e-4)


def test_turns_after_which_the_context_has_no_room_for_the_answer_are_unscored(policy, renderer):
    one = rollout(policy, renderer, FOUND)
    room = one.turns[1].start + len(ANSWER)
    full = score(policy, renderer, one)["a"]
    tight = score(replace(policy, context_length=room), renderer, one)["a"]
    assert tight == [pytest.approx(full[0], rel=1e-4), None, None, None]
    assert "no room" in one.grading["turn_scores"][1]["reason"]
    less = score(replace(policy, context_length=room - 1), renderer, one)["a"]
    assert less == [None] * 4


def test_siblings_share_the_pass_over_their_prompt_and_nothing_keeps_gradients(
    policy, renderer, monkeypatch
):
    rows = []

    def counting(model, ids_BT, mask_BT, *, temperature):
        logprobs_N, entropy_N = real(model, ids_BT, mask_BT, temperature=temperature)
        rows.append((len(ids_BT), logprobs_N.requires_grad))
        return logprobs_N, entropy_N

    real = gold.token_logprobs
    monkeypatch.setattr(gold, "token_logprobs", counting)
    one = rollout(policy, renderer, FOUND[:1])
    other = rollout(policy, renderer, FOUND[1:2], uid="b")
    found = score(policy, renderer, one, other)
    assert rows == [(3, False)]
    expected = gains(policy, other, [turn.start for turn in other.turns])
    assert found["b"][:1] == pytest.approx(expected, abs=1e-7, rel=1e-4)


def test_rollouts_without_a_reward_are_not_scored(policy, renderer):
    lost = rollout(policy, renderer, reward=None)
    assert score(policy, renderer, lost) == {"a": [None, None]}
    assert "turn_scores" not in lost.grading


@pytest.mark.parametrize("template", ["{{sample.output_text}}", "{{item.answer", "{{row.x}}"])
def test_a_template_that_is_not_of_the_row_is_refused(policy, renderer, template):
    with pytest.raises(GraderSpecError, match="gold"):
        GoldTurnScores(policy, renderer, template)
