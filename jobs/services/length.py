"""Whether the longest prompt and an answer fit: counted as the engine will render them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jobs.models import BaseModel
from jobs.services.chat import prompt_tokens
from jobs.services.hyperparameters import Setting, value_of
from jobs.services.request import Check

CHARACTERS_A_TOKEN = 3.0


@dataclass(frozen=True)
class Prompt:
    """What a row shows the model; without tools of its own, the job's are shown."""

    messages: list[Any]
    tools: list[Any]
    size: int
    """Characters, as JSON."""


def row_prompt(item: Mapping[str, Any]) -> Prompt:
    messages, tools = item.get("messages") or [], item.get("tools") or []
    return Prompt(messages, tools, len(json.dumps(messages)) + len(json.dumps(tools)))


def length_checks(
    model: BaseModel,
    prompts: Sequence[Prompt],
    schemas: list[dict[str, Any]],
    settings: list[Setting],
) -> Iterator[Check]:
    """The job's `schemas` stand in for the tools of prompts that have none."""
    total, turn = value_of(settings, "max_total_tokens"), value_of(settings, "max_turn_tokens")
    if model.context_length and total > model.context_length:
        sentence = f"{total} tokens a trajectory do not fit the context of {model.context_length}."
        yield Check("Length", "problem", sentence, "max_total_tokens", "context")
    prompt, about = _longest(Path(model.folder), prompts, schemas)
    sentence = f"The longest prompt has {about}{prompt} tokens; with one turn {prompt + turn}"
    if prompt >= total:
        text = f"{sentence}, and only {total} fit. Shorten the rows or raise max_total_tokens."
        yield Check("Length", "problem", text, "max_total_tokens", "prompt_too_long")
    elif prompt + turn > total:
        text = f"{sentence} of {total}: some answers will be cut off."
        yield Check("Length", "warning", text, "max_total_tokens", "tight")
    else:
        yield Check("Length", "ok", f"{sentence} of {total}.")


def _longest(
    folder: Path, prompts: Sequence[Prompt], schemas: list[dict[str, Any]]
) -> tuple[int, str]:
    """The tokens of the longest, and the word for an estimate."""
    counted = [
        prompt_tokens(folder, prompt.messages, prompt.tools or schemas) for prompt in prompts
    ]
    exact = [count for count in counted if count is not None]
    if len(exact) == len(prompts):
        return max(exact), ""
    added = len(json.dumps(schemas))
    characters = max(prompt.size + (0 if prompt.tools else added) for prompt in prompts)
    return round(characters / CHARACTERS_A_TOKEN), "about "
