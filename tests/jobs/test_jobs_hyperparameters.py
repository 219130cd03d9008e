"""Hyperparameters: what "auto" becomes, what is refused, and what is set without effect."""

from __future__ import annotations

from typing import Any

import pytest

from hone.demo.world.settings import demo_hyperparameters
from jobs.services.hyperparameters import (
    Setting,
    hyperparameter_warnings,
    resolve_hyperparameters,
)
from jobs.services.options import ANCHORED_WEIGHT, OPTIONS, TOPICS, Facts

TINY = Facts(train_rows=400, validation_rows=200, parameters=1_000_000, context_length=1024)


def values(requested: dict[str, Any], facts: Facts = TINY) -> dict[str, Any]:
    settings, problems = resolve_hyperparameters(requested, facts)
    assert problems == []
    return {setting.name: setting.value for setting in settings}


def problems_of(requested: dict[str, Any]) -> list[tuple[str, str]]:
    return resolve_hyperparameters(requested, TINY)[1]


def warnings_of(requested: dict[str, Any]) -> list[tuple[str, str]]:
    return hyperparameter_warnings(resolve_hyperparameters(requested, TINY)[0])


def test_the_demo_s_settings_resolve_to_what_was_found_by_trial() -> None:
    assert values(demo_hyperparameters()) == {
        "batch_size": 8,
        "n_epochs": 1,
        "learning_rate_multiplier": 1.0,
        "compute_multiplier": 1.0,
        "reasoning_effort": "default",
        "steps": 60,
        "eval_interval": 20,
        "eval_samples": 1,
        "group_size": 8,
        "learning_rate": 5e-4,
        "temperature": 1.0,
        "max_turns": 12,
        "max_tool_calls": 10,
        "max_total_tokens": 1024,
        "max_turn_tokens": 64,
        "max_sampled_tokens": 256,
        "wall_s": 600.0,
        "max_refills": 2,
        "lora_rank": 16,
        "lora_alpha": 32,
        "loss": "cispo",
        "advantage": "mean_centred",
        "ratio_max": 5.0,
        "warmup_steps": 0,
        "micro_batch_tokens": 16384,
        "keep_checkpoints": 3,
        "kl_weight": 0.0,
        "anchored_weight": ANCHORED_WEIGHT[0],
        "credit_gamma": 0.95,
        "turn_weight": 1.0,
        "counterfactual_calls": 0,
        "counterfactual_continuations": 4,
        "counterfactual_weight": 0.0,
        "reasoning_penalty": 0.0,
        "call_penalty": 0.0,
        "call_budget": 4,
    }
    assert warnings_of(demo_hyperparameters()) == []


LOSSES_SAID = "cispo, importance_sampling, ppo_clip, dual_clip, gspo, dppo"


@pytest.mark.parametrize(
    ("parameters", "rate", "warmup"),
    [
        (49_999_999, 5e-4, 0),
        (50_000_000, 5e-5, 5),
        (1_999_999_999, 5e-5, 5),
        (2_000_000_000, 4e-5, 5),
        (8_000_000_000, 2e-5, 5),
        (None, 5e-5, 5),
    ],
)
def test_the_learning_rate_and_its_warm_up_follow_the_size_of_the_model(
    parameters: int | None, rate: float, warmup: int
) -> None:
    found = values({"steps": 30}, Facts(400, 200, parameters))
    assert (found["learning_rate"], found["warmup_steps"]) == (rate, warmup)


@pytest.mark.parametrize(("steps", "warmup"), [(1, 1), (5, 5), (79, 7), (400, 10)])
def test_the_warm_up_is_a_tenth_of_the_steps_within_bounds(steps: int, warmup: int) -> None:
    assert values({"steps": steps}, Facts(400, 200, 10**9))["warmup_steps"] == warmup


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("eval_interval", 1e25, "eval_interval is 1e+25; it must be at least 1, at most 100000."),
        (
            "max_sampled_tokens",
            1e25,
            "max_sampled_tokens is 1e+25; it must be at least 1, at most 1048576.",
        ),
        ("temperature", 1e-300, "temperature is 1e-300; it must be at least 0.05, at most 2."),
        ("wall_s", 1e-9, "wall_s is 1e-09; it must be at least 1, at most 86400."),
        (
            "learning_rate_multiplier",
            1e9,
            "learning_rate_multiplier is 1000000000.0; it must be at least 0.01, at most 100.",
        ),
        ("learning_rate", 1, "learning_rate is 1; it must be at least 1e-08, at most 0.1."),
        ("batch_size", [], "batch_size is [], which is not a whole number. Use at least 1"),
        (
            "loss",
            [],
            f"loss is []; use one of {LOSSES_SAID}, or auto.",
        ),
        (
            "loss",
            {},
            f"loss is {{}}; use one of {LOSSES_SAID}, or auto.",
        ),
    ],
)
def test_a_value_without_sense_is_refused_with_its_range(
    name: str, value: object, sentence: str
) -> None:
    ((field, said),) = problems_of({name: value})
    assert field == name
    assert said.startswith(sentence)


def test_the_form_s_topics_hold_every_option_and_each_auto_has_a_reason() -> None:
    assert {option.topic for option in OPTIONS} == set(TOPICS)
    settings, _ = resolve_hyperparameters({}, TINY)
    assert [setting.name for setting in settings if not setting.reason.endswith(".")] == []


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("kl_weight", -0.1, "kl_weight is -0.1; it must be at least 0, at most 10."),
        ("anchored_weight", 11, "anchored_weight is 11; it must be at least 0, at most 10."),
        ("credit_gamma", 1.5, "credit_gamma is 1.5; it must be at least 0, at most 1."),
        ("call_budget", 0, "call_budget is 0; it must be at least 1, at most 1000."),
        (
            "counterfactual_continuations",
            1,
            "counterfactual_continuations is 1; it must be at least 2, at most 64.",
        ),
        ("counterfactual_calls", 0.5, "counterfactual_calls is 0.5, which is not a whole number"),
    ],
)
def test_a_credit_that_the_engine_would_refuse_is_refused_here(
    name: str, value: object, sentence: str
) -> None:
    ((field, said),) = problems_of({name: value})
    assert field == name
    assert said.startswith(sentence)


@pytest.mark.parametrize(
    ("name", "value", "needed", "enough"),
    [
        ("credit_gamma", 0.9, "anchored_weight", 1.0),
        ("call_budget", 6, "call_penalty", 0.1),
        ("counterfactual_continuations", 8, "counterfactual_calls", 1),
        ("counterfactual_weight", 0.5, "counterfactual_calls", 4),
    ],
)
def test_a_value_whose_term_is_off_is_named(
    name: str, value: float, needed: str, enough: float
) -> None:
    assert warnings_of({name: value, needed: 0}) == [
        (
            name,
            f"{name} is {value} and has no effect: {needed} is 0. Raise {needed}, or leave {name} "
            "at auto.",
        )
    ]
    assert warnings_of({name: value, needed: enough}) == []
    assert warnings_of({needed: 0}) == []


def test_a_weight_of_nothing_needs_nothing() -> None:
    assert warnings_of({"counterfactual_weight": 0, "counterfactual_calls": 0}) == []


def test_every_number_has_bounds_on_both_sides() -> None:
    assert [
        option.name
        for option in OPTIONS
        if not option.choices and (option.low is None or option.high is None)
    ] == []


@pytest.mark.parametrize("empty", ["", None, "auto"])
def test_what_is_left_empty_is_auto(empty: object) -> None:
    assert values({"batch_size": empty})["batch_size"] == 16


@pytest.mark.parametrize(
    ("requested", "problem"),
    [
        (
            {"max_turn_tokens": 9999, "max_total_tokens": 100},
            (
                "max_turn_tokens",
                "max_turn_tokens is 9999, more than max_total_tokens, which is 100. Lower the one "
                "or raise the other.",
            ),
        ),
        (
            {"max_sampled_tokens": 2000},
            (
                "max_sampled_tokens",
                "max_sampled_tokens is 2000, more than max_total_tokens, which is 1024. Lower the "
                "one or raise the other.",
            ),
        ),
        (
            {"warmup_steps": 31, "steps": 30},
            (
                "warmup_steps",
                "warmup_steps is 31, more than steps, which is 30. Lower the one or raise the "
                "other.",
            ),
        ),
    ],
)
def test_values_that_do_not_fit_each_other_are_refused(
    requested: dict[str, Any], problem: tuple[str, str]
) -> None:
    assert problems_of(requested) == [problem]


@pytest.mark.parametrize(
    ("without", "value", "decided", "set_to"),
    [
        ("n_epochs", 1, "steps", 500),
        ("learning_rate_multiplier", 2.0, "learning_rate", 0.001),
        ("compute_multiplier", 2.0, "group_size", 4),
        ("reasoning_effort", "high", "max_turn_tokens", 64),
    ],
)
def test_a_value_that_another_overrides_is_named(
    without: str, value: object, decided: str, set_to: float
) -> None:
    assert warnings_of({without: value, decided: set_to}) == [
        (
            without,
            f"{without} is {value} and has no effect: {decided} is set to {set_to}. Leave one of "
            "them out.",
        )
    ]
    assert warnings_of({without: value}) == []
    assert warnings_of({decided: set_to}) == []


def test_a_resolved_setting_says_where_it_comes_from() -> None:
    settings, _ = resolve_hyperparameters({"batch_size": 4}, TINY)
    assert settings[0] == Setting(
        "batch_size", 4, 4, "You set it; auto was 16.", "at least 1, at most 256", contract=True
    )
