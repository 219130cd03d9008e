"""Whether a job can begin with the checkpoint that it was asked to begin with."""

from __future__ import annotations

from collections.abc import Iterator

from jobs.services.chosen import Inputs
from jobs.services.hyperparameters import Setting, value_of
from jobs.services.request import Check

TOPIC = "Start"
LORA = ("lora_rank", "lora_alpha")


def fork_checks(chosen: Inputs, settings: list[Setting]) -> Iterator[Check]:
    """An adapter fits one base model and one shape, and its files must be there."""
    start = chosen.start
    if start is None:
        return
    source = start.run.job
    named = f"the checkpoint of step {start.step} of {source.name}"
    problems = []
    if not start.available:
        why = start.damage or "it was removed"
        sentence = f"It cannot begin with {named}: {why}. Fork another one."
        problems.append(Check(TOPIC, "problem", sentence, "start_checkpoint", "checkpoint_gone"))
    if chosen.base_model is not None and chosen.base_model.pk != source.base_model_id:
        sentence = (
            f"It begins with {named}, an adapter of {source.base_model.name}, which fits no other "
            f"model. Choose {source.base_model.name}, or start from the new base model itself."
        )
        problems.append(Check(TOPIC, "problem", sentence, "base_model", "start_mismatch"))
    for name in LORA:
        value, wanted = value_of(settings, name), (source.spec.get("engine") or {}).get(name)
        if wanted is not None and value != wanted:
            sentence = f"{name} is {value}; {named} has {wanted}, and a fork must have the same."
            problems.append(Check(TOPIC, "problem", sentence, name, "start_mismatch"))
    if problems:
        yield from problems
        return
    reward = start.validation_reward
    measured = "" if reward is None else f", validation reward {reward:.3f}"
    sentence = f"It begins with {named}{measured}; the optimiser begins anew."
    yield Check(TOPIC, "ok", sentence)
