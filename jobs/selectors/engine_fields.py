"""A job's frozen engine settings, which are flat, as the engine's spec has them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jobs.engine.spec import (
    AdapterStart,
    CounterfactualSpec,
    CreditSpec,
    JudgeSpec,
    LengthSpec,
    LoraSpec,
    LossSpec,
    TurnRewardSpec,
)

Names = Mapping[str, str]

LORA: Names = {"lora_rank": "rank", "lora_alpha": "alpha"}
LOSS: Names = {"loss": "name", "ratio_max": "ratio_max", "kl_weight": "kl_weight"}
CREDIT: Names = {
    "advantage": "advantage",
    "anchored_weight": "anchored_weight",
    "credit_gamma": "gamma",
}
LENGTH: Names = {name: name for name in ("reasoning_penalty", "call_penalty", "call_budget")}
COUNTERFACTUAL: Names = {
    "counterfactual_calls": "calls_per_step",
    "counterfactual_continuations": "continuations",
    "counterfactual_weight": "weight",
}


def engine_fields(
    flat: Mapping[str, Any],
    turn_rewards: Mapping[str, Any] | None = None,
    start: AdapterStart | None = None,
) -> dict[str, Any]:
    """Keyword arguments of `JobSpec` from `job.spec["engine"]` and `job.spec["turn_rewards"]`.

    What an older job lacks has its default. A name that is not known is left for `JobSpec` to
    refuse with a TypeError.
    """
    left = dict(flat)
    lora, loss, credit, length, counterfactual = (
        _taken(left, names) for names in (LORA, LOSS, CREDIT, LENGTH, COUNTERFACTUAL)
    )
    turn_weight = left.pop("turn_weight", 1.0)
    for nested in ("lora", "credit"):
        if nested in left:
            raise TypeError(f"Unexpected keyword argument '{nested}'")
    return {
        **left,
        "lora": LoraSpec(**lora, start=start),
        "loss": LossSpec(**loss),
        "credit": CreditSpec(
            **credit,
            turn_rewards=_turn_rewards(turn_rewards, turn_weight),
            counterfactual=_counterfactual(counterfactual),
            length=LengthSpec(**length),
        ),
    }


def adapter_start(frozen: Mapping[str, Any] | None, path: str = "") -> AdapterStart | None:
    """A fork's beginning from `job.spec["start"]`; `path`: where its files are on this machine."""
    if not frozen:
        return None
    return AdapterStart(
        manifest_sha256=frozen["manifest_sha256"],
        job=frozen["job"],
        step=frozen["step"],
        path=path,
    )


def _taken(left: dict[str, Any], names: Names) -> dict[str, Any]:
    return {name: left.pop(flat) for flat, name in names.items() if flat in left}


def _turn_rewards(frozen: Mapping[str, Any] | None, weight: float) -> TurnRewardSpec | None:
    if not frozen:
        return None
    grader, judge = frozen.get("grader"), frozen.get("judge")
    return TurnRewardSpec(
        weight=weight,
        grader=grader["spec"] if grader else None,
        judge=JudgeSpec(**judge) if judge else None,
        gold=frozen.get("gold", ""),
    )


def _counterfactual(given: dict[str, Any]) -> CounterfactualSpec | None:
    """None where no call is measured."""
    return CounterfactualSpec(**given) if given.get("calls_per_step") else None
