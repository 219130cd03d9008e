"""Hyperparameters: what was asked, resolved; "auto" becomes a value with its reason."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from jobs.services.options import OPTIONS, Facts, Values

AUTO = "auto"
DECIDES = {
    "n_epochs": "steps",
    "learning_rate_multiplier": "learning_rate",
    "compute_multiplier": "group_size",
    "reasoning_effort": "max_turn_tokens",
}
"""What is set on the left counts only where what it decides is left to "auto"."""
NEEDS = {
    "credit_gamma": "anchored_weight",
    "call_budget": "call_penalty",
    "counterfactual_continuations": "counterfactual_calls",
    "counterfactual_weight": "counterfactual_calls",
}
"""What is set on the left counts only where what is on the right is above 0."""
WITHIN = {
    "max_turn_tokens": "max_total_tokens",
    "max_sampled_tokens": "max_total_tokens",
    "warmup_steps": "steps",
}
"""What is on the left is never more than what is on the right."""


@dataclass(frozen=True)
class Setting:
    """One resolved hyperparameter; `reason` says where the value comes from."""

    name: str
    value: Any
    requested: Any
    reason: str
    range: str
    contract: bool

    @property
    def is_auto(self) -> bool:
        return bool(self.requested == AUTO)

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def resolve_hyperparameters(
    requested: Mapping[str, Any], facts: Facts
) -> tuple[list[Setting], list[tuple[str, str]]]:
    """Every setting resolved, and the problems as (name, sentence).

    A value that does not fit is reported and its "auto" is used, so that all problems are found
    together.
    """
    known = {option.name for option in OPTIONS}
    problems = [
        (name, f"{name} is no hyperparameter. Known are {', '.join(sorted(known))}.")
        for name in requested
        if name not in known
    ]
    settings: list[Setting] = []
    values: dict[str, Any] = {}
    for option in OPTIONS:
        asked = requested.get(option.name, AUTO)
        value, reason = option.auto(facts, values)
        if asked is None or asked == "":
            asked = AUTO
        if asked != AUTO:
            try:
                automatic, value = value, option.checked(asked)
                reason = f"You set it; auto was {automatic}."
            except ValueError as error:
                problems.append((option.name, str(error)))
        values[option.name] = value
        settings.append(Setting(option.name, value, asked, reason, option.range, option.contract))
    return settings, problems + list(_misfits(values))


def _misfits(values: Values) -> Iterator[tuple[str, str]]:
    """Values that fit alone and not together."""
    for name, most in WITHIN.items():
        if values[name] > values[most]:
            yield (
                name,
                f"{name} is {values[name]}, more than {most}, which is {values[most]}. Lower the "
                "one or raise the other.",
            )


def value_of(settings: list[Setting], name: str) -> Any:
    return next(setting.value for setting in settings if setting.name == name)


def hyperparameter_warnings(settings: list[Setting]) -> list[tuple[str, str]]:
    """Values that were set and do nothing, since of another value."""
    by_name = {setting.name: setting for setting in settings}
    overridden = [
        (
            name,
            f"{name} is {by_name[name].value} and has no effect: {decided} is set to "
            f"{by_name[decided].value}. Leave one of them out.",
        )
        for name, decided in DECIDES.items()
        if not by_name[name].is_auto and not by_name[decided].is_auto
    ]
    idle = [
        (
            name,
            f"{name} is {by_name[name].value} and has no effect: {needed} is 0. Raise {needed}, or "
            f"leave {name} at auto.",
        )
        for name, needed in NEEDS.items()
        if not by_name[name].is_auto and by_name[name].value and not by_name[needed].value
    ]
    return overridden + idle
