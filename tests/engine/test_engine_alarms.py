"""Alarms of a training run: when they begin, how often they are told, and what they say."""

from __future__ import annotations

import msgspec
import pytest

from jobs.engine.alarms import ALARMS, WINDOW, AlarmState, raise_alarms
from jobs.engine.insight.sums import pair_sums
from jobs.engine.learning.checkpoint import TrainingState

CALM = {
    "entropy": 1.0,
    "mismatch_kl": 0.001,
    "effective_sample_size": 0.9,
    "reward": 0.5,
    "tokens": 100.0,
    "signal": 6,
    "solved": 1,
    "failed": 3,
    "validation": None,
    "held_out": None,
    "scored": 4,
    "updated": True,
    "ratio_clipped": 0.05,
    "grad_norm": 0.5,
    "ungraded": 0,
    "copies": 4,
    "agree": 5,
}


def parts(agree):
    """Twenty attempts: `accuracy` is 1 in ten of them, the reward in `agree` of these ten."""
    accuracy = [1.0] * 10 + [0.0] * 10
    rewards = [1.0] * agree + [0.0] * (20 - agree)
    flat = [(1.0, reward) for reward in rewards]
    pairs = list(zip(accuracy, rewards, strict=True))
    return {"accuracy": {"reward": pair_sums(pairs)}, "format": {"reward": pair_sums(flat)}}


def metrics(**changes):
    now = {**CALM, **changes}
    found = {
        "learning": {
            name: now[name]
            for name in (
                "updated",
                "entropy",
                "mismatch_kl",
                "effective_sample_size",
                "ratio_clipped",
                "grad_norm",
            )
        },
        "train": {
            "reward_mean": now["reward"],
            "tokens_mean": now["tokens"],
            "n": 40,
            "ungraded": now["ungraded"],
            "ungraded_causes": {"lookup_order: 502": 3, "judge: timeout": 1},
        },
        "duplicates": {
            "total": 40,
            "copies": now["copies"],
            "share": now["copies"] / 40,
            "group": "train-1-0",
        },
        "insight": {"train": {"graders": {"parts": parts(now["agree"])}}},
        "groups": {
            "total": 10,
            "with_signal": now["signal"],
            "all_solved": now["solved"],
            "all_failed": now["failed"],
            "same_reward": 0,
            "too_small": 0,
            "refilled": 0,
        },
        "credit": {"turns_scored": now["scored"], "turns_unscored": 3},
    }
    if now["validation"] is not None:
        found["validation"] = {
            "reward_mean": now["validation"],
            "held_out_mean": now["held_out"],
        }
    return found


def run(steps, state=None, first=1):
    """Each of `steps` is what differs from a calm step; returns the state and all messages."""
    state, told = state or AlarmState(), []
    for number, changes in enumerate(steps, first):
        state, messages = raise_alarms(state, number, metrics(**changes))
        told += [(number, message) for message in messages]
    return state, told


def codes(steps):
    return [(number, message.code) for number, message in run(steps)[1]]


def calm(count=10):
    return [{}] * count


def test_a_calm_run_says_nothing():
    assert codes(calm(60)) == []


@pytest.mark.parametrize(
    ("code", "on", "off"),
    [
        ("entropy_collapse", {"entropy": 0.29}, {"entropy": 0.3}),
        ("mismatch", {"mismatch_kl": 0.011}, {"mismatch_kl": 0.01}),
        ("low_ess", {"effective_sample_size": 0.49}, {"effective_sample_size": 0.5}),
        ("clipped", {"ratio_clipped": 0.201}, {"ratio_clipped": 0.2}),
        ("gradient_spike", {"grad_norm": 5.01}, {"grad_norm": 5.0}),
        ("ungraded", {"ungraded": 3}, {"ungraded": 2}),
        ("duplicates", {"copies": 21}, {"copies": 20}),
        ("length_up", {"tokens": 201.0}, {"tokens": 200.0}),
        ("no_turn_scores", {"scored": 0}, {"scored": 1}),
    ],
)
def test_an_alarm_begins_just_beyond_its_bound(code, on, off):
    assert codes([*calm(), off]) == []
    assert codes([*calm(), on]) == [(11, code)]


def test_an_entropy_without_a_whole_baseline_is_not_judged():
    assert codes([*calm(8), {"entropy": 0.1}]) == []


def test_only_steps_with_an_update_are_in_the_entropy_baseline():
    still = {"updated": False, "entropy": 0.2}
    assert run([still, *calm(9)])[0].first_entropies == (1.0,) * 9


def test_an_entropy_collapse_is_said_with_its_value():
    ((_, message),) = run([*calm(), {"entropy": 0.2}])[1]
    assert message.level == "warn"
    assert message.data == {"entropy": 0.2, "first_median": 1.0}
    assert message.text == (
        "The model hardly varies its answers any more: entropy is 0.200, below 30 % of the 1.000 "
        "of the first 10 trained steps. Use a lower learning rate or a higher temperature, or "
        "take an earlier checkpoint."
    )


@pytest.mark.parametrize(
    ("value", "start"),
    [
        (0.1, "Sampler and trainer disagree about the probabilities of sampled tokens: mismatch"),
        (0.11, "Sampler and trainer disagree strongly: mismatch KL is 0.1100, above 0.1."),
    ],
)
def test_a_large_mismatch_is_said_more_strongly(value, start):
    ((_, message),) = run([{"mismatch_kl": value}])[1]
    assert message.text.startswith(start)
    assert message.data == {"mismatch_kl": value}


def test_silent_groups_are_counted_over_ten_steps():
    silent = {"signal": 1, "solved": 2, "failed": 7}
    assert codes([silent] * 9) == []
    ((number, message),) = run([silent] * 10)[1]
    assert (number, message.code) == (10, "silent_groups")
    assert message.data == {"share": 0.9, "total": 100, "all_solved": 20, "all_failed": 70}
    assert message.text == (
        "Most groups teach nothing: 90 of 100 in the last 10 steps had no different rewards "
        "(20 all solved, 70 all failed). Use easier tasks, a stronger base model, or a grader "
        "that gives partial credit."
    )


def test_four_silent_groups_of_five_are_no_alarm():
    assert codes([{"signal": 2, "solved": 4, "failed": 4}] * 12) == []


def test_groups_that_are_all_solved_want_harder_tasks():
    ((_, message),) = run([{"signal": 0, "solved": 9, "failed": 1}] * 10)[1]
    assert message.text.endswith("Use harder tasks or a stricter grader.")


def test_an_ungraded_alarm_names_the_commonest_cause_and_its_share():
    ((_, message),) = run([{"ungraded": 4}])[1]
    assert message.data == {"share": 0.1, "ungraded": 4.0, "total": 40.0}
    assert message.text.startswith(
        "4 of 40 attempts have no reward, above 5 %; most often: lookup_order: 502."
    )


def test_one_ungraded_attempt_of_a_small_step_is_chance():
    small = metrics(ungraded=1)
    small["train"]["n"] = 4
    assert raise_alarms(AlarmState(), 1, small)[1] == ()
    small["train"]["ungraded"] = 2
    assert [each.code for each in raise_alarms(AlarmState(), 1, small)[1]] == ["ungraded"]


def test_duplicates_name_the_group_that_has_most():
    ((_, message),) = run([{"copies": 30}])[1]
    assert message.data == {"share": 0.75, "group": "train-1-0"}


def test_a_part_decides_alone_when_it_did_for_ten_steps():
    """Of 20 attempts 10 have the part and 9 of these the reward: r² = 0.225² / (0.25 · 0.2475)."""
    assert codes([{"agree": 9}] * 9) == []
    ((number, message),) = run([{"agree": 9}] * 10)[1]
    assert (number, message.code) == (10, "one_part")
    assert message.data["part"] == "accuracy"
    assert message.data["explained"] == pytest.approx(9 / 11)


def test_a_part_that_explains_two_thirds_does_not_decide_alone():
    """8 of 10: r² = 0.2² / (0.25 · 0.24) = 2/3."""
    assert codes([{"agree": 8}] * 12) == []
    assert codes([*[{"agree": 9}] * 9, {"agree": 8}, *[{"agree": 9}] * 9]) == []


def test_a_gradient_is_measured_against_the_ten_before_it():
    assert codes([*calm(9), {"grad_norm": 50.0}]) == []
    assert codes([*[{"grad_norm": 6.0}] * 10, {"grad_norm": 50.0}]) == []
    ((_, message),) = run([*calm(), {"grad_norm": 50.0}])[1]
    assert message.data == {"grad_norm": 50.0, "last_median": 0.5}


def test_a_gradient_of_a_step_without_an_update_is_not_judged():
    assert codes([*calm(), {"grad_norm": 50.0, "updated": False}]) == []


def evaluated(reward, validation, steps=10):
    return [*[{"reward": reward}] * (steps - 1), {"reward": reward, "validation": validation}]


@pytest.mark.parametrize(
    ("rewards", "validations", "expected"),
    [
        ((0.25, 0.5), (0.25, 0.25), [(20, "reward_gap")]),
        ((0.25, 0.5), (0.25, 0.125), [(20, "reward_gap")]),
        ((0.25, 0.5), (0.25, 0.5), []),
        ((0.25, 0.3125), (0.25, 0.25), []),
        ((0.5, 0.25), (0.25, 0.25), []),
    ],
)
def test_a_train_reward_that_rises_alone_is_a_gap(rewards, validations, expected):
    first, second = zip(rewards, validations, strict=True)
    assert codes([*evaluated(*first), *evaluated(*second)]) == expected


def test_a_gap_says_that_the_held_out_check_is_flat():
    ((_, message),) = run([*evaluated(0.25, 0.25), *evaluated(0.5, 0.25)])[1]
    assert message.data == {
        "from_step": 10,
        "to_step": 20,
        "train_change": 0.25,
        "validation_change": 0.0,
    }
    assert message.text.startswith(
        "The train reward rose by 0.250 from step 10 to step 20, and the held-out check is flat: "
        "the validation reward went from 0.250 to 0.250."
    )


def seen_by_two(validation, held_out):
    """Ten steps without a rise of the train reward, evaluated by two graders."""
    steps = evaluated(0.25, validation)
    return [*steps[:-1], {**steps[-1], "held_out": held_out}]


@pytest.mark.parametrize(
    ("rewards", "held_out", "expected"),
    [
        ((0.25, 0.5), (0.5, 0.5), [(20, "held_out_gap")]),
        ((0.25, 0.5), (0.5, 0.25), [(20, "held_out_gap")]),
        ((0.25, 0.5), (0.5, 0.75), []),
        ((0.25, 0.3125), (0.5, 0.5), []),
        ((0.25, 0.5), (None, 0.5), []),
        ((0.25, 0.5), (0.5, None), []),
    ],
)
def test_a_reward_that_a_second_grader_does_not_see_is_a_gap(rewards, held_out, expected):
    first, second = zip(rewards, held_out, strict=True)
    assert codes([*seen_by_two(*first), *seen_by_two(*second)]) == expected


def test_a_held_out_gap_tells_both_changes():
    ((_, message),) = run([*seen_by_two(0.25, 0.5), *seen_by_two(0.5, 0.375)])[1]
    assert message.data == {
        "from_step": 10,
        "to_step": 20,
        "validation_change": 0.25,
        "held_out_change": -0.125,
    }
    assert "went from 0.500 to 0.375" in message.text


def test_a_gap_needs_evaluations_ten_steps_apart():
    assert codes([*evaluated(0.25, 0.25), *evaluated(0.5, 0.25, steps=9)]) == []


def test_a_gap_ends_when_the_validation_reward_follows():
    state, _ = run([*evaluated(0.25, 0.25), *evaluated(0.5, 0.25), *evaluated(0.75, 0.5)])
    assert state.told == {}


def test_longer_answers_with_a_better_reward_are_no_alarm():
    longer = {"tokens": 300.0, "reward": 0.75}
    assert codes([*calm(), longer]) == []
    ((_, message),) = run([*calm(), {"tokens": 300.0}])[1]
    assert message.data == {"tokens_mean": 300.0, "first_median": 100.0, "reward_change": 0.0}


def test_an_alarm_is_told_once_and_then_every_twenty_steps():
    assert [number for number, _ in codes([{"mismatch_kl": 0.05}] * 45)] == [1, 21, 41]


def test_an_alarm_that_was_clear_is_told_again():
    bad = {"mismatch_kl": 0.05}
    assert [number for number, _ in codes([bad, bad, {}, bad, bad])] == [1, 4]


@pytest.mark.parametrize("missing", [None, float("nan")])
def test_a_missing_number_neither_begins_nor_ends_an_alarm(missing):
    bad, unknown = {"mismatch_kl": 0.05}, {"mismatch_kl": missing}
    assert codes([unknown, bad, unknown, bad]) == [(2, "mismatch")]


def test_a_step_that_measured_nothing_says_nothing():
    names = ("entropy", "mismatch_kl", "effective_sample_size", "reward", "tokens")
    assert codes([dict.fromkeys(names)] * 12) == []
    assert raise_alarms(AlarmState(), 1, {}) == (AlarmState(), ())


def stormy(count=60):
    """Every alarm begins, lasts, and most end."""
    steps = []
    for number in range(1, count + 1):
        bad = number > 12 and number % 25 > 3
        steps.append(
            {
                "entropy": 0.1 / 3 if bad else 1.0 + number / 7,
                "mismatch_kl": number / 700,
                "effective_sample_size": 0.3 if bad else 0.9,
                "reward": 0.2 if number < 11 else 0.2 + 0.1 / 3 * (number % 10),
                "tokens": 900 / 7 if number < 11 else 500.0 + (0 if bad else -400.0),
                "signal": 0 if bad else 6,
                "validation": (0.3 if number < 45 else 0.6) if number % 5 == 0 else None,
                "held_out": 0.4,
                "scored": 0 if bad else 4,
                "ratio_clipped": 0.3 if bad else 0.1,
                "grad_norm": 90.0 if number % 25 == 15 else number / 7,
                "ungraded": 8 if bad else 0,
                "copies": 38 if bad else 0,
                "agree": 10 if bad else 5,
            }
        )
    steps[35:] = [{**step, "reward": 0.15} for step in steps[35:]]
    return steps


def test_every_alarm_is_in_the_storm():
    assert {code for _, code in codes(stormy())} == set(ALARMS)


@pytest.mark.parametrize("cut", [1, 9, 10, 17, 25, 33, 48])
def test_a_run_resumed_in_the_middle_tells_the_same(cut):
    steps = stormy()
    whole, told = run(steps)
    state, before = run(steps[:cut])
    saved = msgspec.json.decode(msgspec.json.encode(state), type=AlarmState)
    resumed, after = run(steps[cut:], saved, cut + 1)
    assert before + after == told
    assert msgspec.json.encode(resumed) == msgspec.json.encode(whole)


def test_what_is_remembered_is_bounded():
    state, _ = run([{"validation": 0.5}] * 50)
    lengths = {name: len(getattr(state, name)) for name in state.__struct_fields__}
    assert lengths.pop("evaluations") == WINDOW + 1
    assert lengths.pop("last_norms") == WINDOW + 1
    assert lengths.pop("told") == 0
    assert set(lengths.values()) == {WINDOW}


def test_a_checkpoint_from_before_the_alarms_is_read():
    old = {
        "step": 3,
        "position": 7,
        "updates": 2,
        "seed": 1,
        "config_sha256": "c",
        "base_sha256": "b",
    }
    assert msgspec.convert(old, TrainingState).alarms == AlarmState()
