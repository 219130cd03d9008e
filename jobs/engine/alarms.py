"""Alarms: what goes wrong in a training run without stopping it, each told with its evidence.

`raise_alarms` is pure. All that it remembers is in `AlarmState`, which is saved with each
checkpoint, so that a resumed run tells what an unbroken one would have told.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from typing import TypeVar

import msgspec

from jobs.engine import readings
from jobs.engine.events import Message
from jobs.engine.readings import Metrics, Reading, number

Item = TypeVar("Item")

WINDOW = 10
"""Steps in a baseline and in a recent window."""
REPEAT_STEPS = 20
"""An alarm that lasts is told again after as many steps."""
ENTROPY_SHARE = 0.3
NORM_FACTOR = 10.0
SILENT_SHARE = 0.8
TRAIN_RISE = 0.1
FLAT = 0.02
"""A mean reward that rose by less did not rise."""
LENGTH_FACTOR = 2.0


class GroupCounts(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The groups of one step."""

    total: int
    with_signal: int
    all_solved: int
    all_failed: int


class Evaluation(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The validation reward of a step, and the mean train reward of the window up to it.

    `held_out`: what a grader that trains nothing gave the same rollouts; None without one.
    """

    step: int
    train: float
    validation: float
    held_out: float | None = None


class AlarmState(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What the alarms remember. No list is longer than `WINDOW` + 1."""

    first_entropies: tuple[float, ...] = ()
    """Of the first steps that made an update."""
    last_norms: tuple[float, ...] = ()
    """Of the gradients of the last steps that made an update."""
    last_dominant: tuple[str, ...] = ()
    """The part of the reward that decided alone, by step; empty where none did."""
    first_tokens: tuple[float, ...] = ()
    first_rewards: tuple[float, ...] = ()
    last_rewards: tuple[float, ...] = ()
    last_groups: tuple[GroupCounts, ...] = ()
    evaluations: tuple[Evaluation, ...] = ()
    told: dict[str, int] = msgspec.field(default_factory=dict)
    """The step at which each alarm that lasts was last told, by code."""


def raise_alarms(
    state: AlarmState, step: int, metrics: Metrics
) -> tuple[AlarmState, tuple[Message, ...]]:
    """The state after a training step, and what there is to tell of it."""
    state = _remember(state, step, metrics)
    told, messages = dict(state.told), []
    for code, read in ALARMS.items():
        reading = read(state, metrics)
        if reading is None:
            continue
        if not reading.on:
            told.pop(code, None)
        elif code not in told or step - told[code] >= REPEAT_STEPS:
            told[code] = step
            messages.append(
                Message(level="warn", code=code, text=reading.text, data=dict(reading.data))
            )
    return msgspec.structs.replace(state, told=told), tuple(messages)


def _first(values: tuple[Item, ...], value: Item | None) -> tuple[Item, ...]:
    return values if value is None or len(values) >= WINDOW else (*values, value)


def _last(values: tuple[Item, ...], value: Item | None, count: int = WINDOW) -> tuple[Item, ...]:
    return values if value is None else (*values, value)[-count:]


def _remember(state: AlarmState, step: int, metrics: Metrics) -> AlarmState:
    updated = metrics.get("learning", {}).get("updated")
    entropy = number(metrics, "learning", "entropy") if updated else None
    reward = number(metrics, "train", "reward_mean")
    rewards = _last(state.last_rewards, reward)
    evaluation = _evaluation(rewards, step, metrics)
    return msgspec.structs.replace(
        state,
        first_entropies=_first(state.first_entropies, entropy),
        last_norms=_last(
            state.last_norms,
            number(metrics, "learning", "grad_norm") if updated else None,
            WINDOW + 1,
        ),
        last_dominant=_last(state.last_dominant, _dominant(metrics)),
        first_tokens=_first(state.first_tokens, number(metrics, "train", "tokens_mean")),
        first_rewards=_first(state.first_rewards, reward),
        last_rewards=rewards,
        last_groups=_last(state.last_groups, _groups(metrics)),
        evaluations=_last(state.evaluations, evaluation, WINDOW + 1),
    )


def _groups(metrics: Metrics) -> GroupCounts | None:
    groups = metrics.get("groups")
    return GroupCounts(**{n: groups[n] for n in GroupCounts.__struct_fields__}) if groups else None


def _evaluation(rewards: tuple[float, ...], step: int, metrics: Metrics) -> Evaluation | None:
    """None too while fewer than half a window of train rewards is known: their mean is noise."""
    validation = number(metrics, "validation", "reward_mean")
    if validation is None or len(rewards) < WINDOW // 2:
        return None
    held_out = number(metrics, "validation", "held_out_mean")
    return Evaluation(step, statistics.fmean(rewards), validation, held_out)


def _dominant(metrics: Metrics) -> str | None:
    found = readings.dominant_part(metrics)
    if found is None:
        return None
    name, share = found
    return name if share > readings.PART_SHARE else ""


def _entropy_collapse(state: AlarmState, metrics: Metrics) -> Reading | None:
    entropy = number(metrics, "learning", "entropy")
    if entropy is None or len(state.first_entropies) < WINDOW:
        return None
    usual = statistics.median(state.first_entropies)
    text = (
        f"The model hardly varies its answers any more: entropy is {entropy:.3f}, below 30 % of "
        f"the {usual:.3f} of the first {WINDOW} trained steps. Use a lower learning rate or a "
        "higher temperature, or take an earlier checkpoint."
    )
    data = {"entropy": entropy, "first_median": usual}
    return Reading(entropy < ENTROPY_SHARE * usual, text, data)


def _silent_groups(state: AlarmState, metrics: Metrics) -> Reading | None:
    steps = state.last_groups
    total = sum(step.total for step in steps)
    if len(steps) < WINDOW or not total:
        return None
    solved = sum(step.all_solved for step in steps)
    failed = sum(step.all_failed for step in steps)
    silent = total - sum(step.with_signal for step in steps)
    advice = (
        "Use harder tasks or a stricter grader."
        if solved > failed
        else "Use easier tasks, a stronger base model, or a grader that gives partial credit."
    )
    text = (
        f"Most groups teach nothing: {silent} of {total} in the last {WINDOW} steps had no "
        f"different rewards ({solved} all solved, {failed} all failed). {advice}"
    )
    data = {"share": silent / total, "total": total, "all_solved": solved, "all_failed": failed}
    return Reading(silent / total > SILENT_SHARE, text, data)


def _reward_gap(state: AlarmState, metrics: Metrics) -> Reading | None:
    """The last evaluation against the nearest one at least a window before it."""
    if not state.evaluations:
        return None
    now = state.evaluations[-1]
    before = [e for e in state.evaluations if now.step - e.step >= WINDOW]
    if not before:
        return None
    then = before[-1]
    train, validation = now.train - then.train, now.validation - then.validation
    text = (
        f"The train reward rose by {train:.3f} from step {then.step} to step {now.step}, and the "
        f"held-out check is {'flat' if abs(validation) < FLAT else 'down'}: the validation reward "
        f"went from {then.validation:.3f} to {now.validation:.3f}. The model may exploit the "
        "grader or learn the tasks by heart. Read some trajectories with a high reward, make the "
        "grader stricter or add tasks."
    )
    data = {
        "from_step": then.step,
        "to_step": now.step,
        "train_change": train,
        "validation_change": validation,
    }
    return Reading(train >= TRAIN_RISE and validation < FLAT, text, data)


def _held_out_gap(state: AlarmState, metrics: Metrics) -> Reading | None:
    """As `_reward_gap`, of two graders on the same rollouts."""
    known = [each for each in state.evaluations if each.held_out is not None]
    if not known or known[-1] is not state.evaluations[-1]:
        return None
    now = known[-1]
    before = [each for each in known if now.step - each.step >= WINDOW]
    if not before:
        return None
    then = before[-1]
    assert now.held_out is not None
    assert then.held_out is not None
    reward, held_out = now.validation - then.validation, now.held_out - then.held_out
    text = (
        f"The validation reward rose by {reward:.3f} from step {then.step} to step {now.step}, and "
        f"the held-out grader saw no gain: it went from {then.held_out:.3f} to "
        f"{now.held_out:.3f}. The model may have learnt to please the grader that it trains with. "
        "Compare what both say of some trajectories with a high reward."
    )
    data = {
        "from_step": then.step,
        "to_step": now.step,
        "validation_change": reward,
        "held_out_change": held_out,
    }
    return Reading(reward >= TRAIN_RISE and held_out < FLAT, text, data)


def _no_turn_scores(state: AlarmState, metrics: Metrics) -> Reading | None:
    scored = number(metrics, "credit", "turns_scored")
    missing = number(metrics, "credit", "turns_unscored")
    if scored is None or missing is None:
        return None
    text = (
        f"Turn rewards teach nothing: none of {missing:.0f} turns got a score. The trajectories "
        "say why, turn by turn. Mend the turn grader, or leave it out, and clone the job."
    )
    return Reading(scored == 0 and missing > 0, text, {"turns_unscored": missing})


def _length_up(state: AlarmState, metrics: Metrics) -> Reading | None:
    tokens = number(metrics, "train", "tokens_mean")
    if tokens is None or min(len(state.first_tokens), len(state.first_rewards)) < WINDOW:
        return None
    usual = statistics.median(state.first_tokens)
    rise = statistics.fmean(state.last_rewards) - statistics.fmean(state.first_rewards)
    text = (
        f"Answers grow without a better reward: {tokens:.0f} sampled tokens on average, more than "
        f"twice the {usual:.0f} of the first {WINDOW} steps, while the mean reward changed by "
        f"{rise:+.3f}. Limit the tokens of an answer, or let the grader prefer short ones."
    )
    data = {"tokens_mean": tokens, "first_median": usual, "reward_change": rise}
    return Reading(tokens > LENGTH_FACTOR * usual and rise < FLAT, text, data)


def _gradient_spike(state: AlarmState, metrics: Metrics) -> Reading | None:
    norm = number(metrics, "learning", "grad_norm")
    before = state.last_norms[:-1]
    if norm is None or not metrics["learning"].get("updated") or len(before) < WINDOW:
        return None
    usual = statistics.median(before)
    text = (
        f"The gradient is much larger than before: its norm is {norm:.3g}, more than "
        f"{NORM_FACTOR:g} times the {usual:.3g} of the last {WINDOW} steps. It was clipped. Look "
        "at the longest attempts of this step; if it comes back, use a lower learning rate."
    )
    data = {"grad_norm": norm, "last_median": usual}
    return Reading(norm > NORM_FACTOR * usual, text, data)


def _one_part(state: AlarmState, metrics: Metrics) -> Reading | None:
    found, names = readings.dominant_part(metrics), state.last_dominant
    if found is None or len(names) < WINDOW:
        return None
    name, share = found
    text = (
        f"One part of the reward decides alone: {name} explains {100 * share:.0f} % of its "
        f"variance, above {100 * readings.PART_SHARE:.0f} % for {WINDOW} steps. The other parts "
        "teach nothing: give them more weight, or leave them out."
    )
    on = set(names) == {name}
    return Reading(on, text, {"explained": share, "part": name})


ALARMS: dict[str, Callable[[AlarmState, Metrics], Reading | None]] = {
    "entropy_collapse": _entropy_collapse,
    "mismatch": lambda state, metrics: readings.mismatch(metrics),
    "low_ess": lambda state, metrics: readings.low_ess(metrics),
    "clipped": lambda state, metrics: readings.clipped(metrics),
    "gradient_spike": _gradient_spike,
    "silent_groups": _silent_groups,
    "duplicates": lambda state, metrics: readings.duplicates(metrics),
    "ungraded": lambda state, metrics: readings.ungraded(metrics),
    "one_part": _one_part,
    "reward_gap": _reward_gap,
    "held_out_gap": _held_out_gap,
    "length_up": _length_up,
    "no_turn_scores": _no_turn_scores,
}
"""Each reads a step by what is remembered, that step included. None: nothing to judge by, and
what was told stays as it was."""
