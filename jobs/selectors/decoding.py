"""The text of single tokens, by the tokenizer of the base model; torch is not needed for it."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path

from tokenizers import Tokenizer

from jobs.models import BaseModel

Decode = Callable[[int], str]


def decoder_of(model: BaseModel | None) -> Decode | None:
    """From a token's id to its text; None where the model's tokenizer is not on this machine."""
    if model is None:
        return None
    path = Path(model.folder) / "tokenizer.json"
    try:
        changed = path.stat().st_mtime_ns
    except OSError:
        return None
    tokenizer = _loaded(str(path), changed)
    if tokenizer is None:
        return None
    return functools.partial(_text, tokenizer)


@functools.lru_cache(maxsize=4)
def _loaded(path: str, changed: int) -> Tokenizer | None:
    """Kept while the file stays as it is; None for a file that no tokenizer can be read from."""
    try:
        return Tokenizer.from_file(path)
    except Exception:  # noqa: BLE001 - the library raises bare Exception for a file it cannot read
        return None


def _text(tokenizer: Tokenizer, token: int) -> str:
    """A special token by its name; the parts of a character that is split over tokens as �."""
    text: str = tokenizer.decode([token], skip_special_tokens=False)
    return text or tokenizer.id_to_token(token) or f"#{token}"
