"""The base models by whose tokenizers lengths are counted. Loads nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class KnownModel:
    """A base model as far as lengths go."""

    name: str
    tokenizer: Path
    context: int | None


known_models: list[Callable[[], Sequence[KnownModel]]] = []
"""Where base models are listed, a layer above: it adds itself here when the site starts."""
