"""Text and JSON from the engine, made fit for any database: no NUL, no lone surrogates."""

from __future__ import annotations

from typing import Any

NUL_SIGN = "\u2400"


def plain_text(text: str) -> str:
    """`text` with NUL shown as its sign and lone surrogates replaced."""
    return text.replace("\x00", NUL_SIGN).encode("utf-8", "replace").decode()


def plain(value: Any) -> Any:
    """JSON with every text in it made plain."""
    if isinstance(value, str):
        return plain_text(value)
    if isinstance(value, dict):
        return {plain_text(str(key)): plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [plain(inner) for inner in value]
    return value
