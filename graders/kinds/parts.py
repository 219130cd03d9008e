"""Looking into a spec: the graders that it is made of, each with its place."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

Spec = Mapping[str, Any]

JUDGED = frozenset({"score_model", "label_model"})
EMBEDDING_MODEL = "text-embedding-3-large"
"""What `cosine` asks where it names no model: the contract's only one."""


def parts_of(spec: Spec) -> Iterator[tuple[str, Spec]]:
    """The grader itself at the place "", then those inside of it, as `graders.accuracy`."""
    yield "", spec
    children = spec.get("graders")
    if isinstance(children, list):
        named = [child for child in children if isinstance(child, Mapping)]
        children = {str(child.get("name")): child for child in named}
    if isinstance(children, Mapping):
        for key, child in children.items():
            if isinstance(child, Mapping):
                yield f"graders.{key}", child


def models_in(spec: Spec) -> list[str]:
    """The judges' models that the spec names, each once."""
    named = [model for _, part in parts_of(spec) if (model := model_of(part)) is not None]
    return list(dict.fromkeys(named))


def model_of(part: Spec) -> str | None:
    """The model that one grader asks; None where it asks none."""
    if _type(part) in JUDGED:
        return str(part.get("model", "")).strip()
    if _type(part) == "text_similarity" and part.get("evaluation_metric") == "cosine":
        return str(part.get("model") or EMBEDDING_MODEL).strip()
    return None


def calls_out(spec: Spec) -> bool:
    """Whether grading waits for a judge or an endpoint."""
    return any(
        _type(part) == "endpoint" or model_of(part) is not None for _, part in parts_of(spec)
    )


def endpoints_in(spec: Spec) -> Iterator[tuple[str, Spec]]:
    """The endpoint graders."""
    return ((place, part) for place, part in parts_of(spec) if _type(part) == "endpoint")


def _type(part: Spec) -> str:
    return str(part.get("type"))
