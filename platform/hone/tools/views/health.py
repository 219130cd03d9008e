"""How the health of a tool is shown: an icon, a word, and a small line of its times."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from django.contrib import messages
from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.safestring import SafeString

from hone.core.errors import UserError
from hone.core.figures import duration
from hone.tools.models import CheckStatus, ToolCheck

_LOOKS = {
    CheckStatus.OK: ("ok", "✓"),
    CheckStatus.WARNING: ("warn", "!"),
    CheckStatus.PROBLEM: ("bad", "✗"),
    CheckStatus.RUNNING: ("info", "●"),
    CheckStatus.WAITING: ("info", "…"),
}
WIDTH, HEIGHT = 160, 24


@dataclass(frozen=True)
class Health:
    """What the newest contract test says."""

    kind: str
    icon: str
    word: str
    p50_s: float | None = None
    p95_s: float | None = None


def health_of(check: ToolCheck | None) -> Health:
    if check is None:
        return Health("idle", "–", "Not tested")
    kind, icon = _LOOKS[CheckStatus(check.status)]
    return Health(kind, icon, check.get_status_display(), check.p50_s, check.p95_s)


def spark(seconds: Sequence[float | None]) -> SafeString:
    """The p95 of the last tests, the oldest first; empty where there are under two."""
    known = [value for value in seconds if value is not None]
    if len(known) < 2:
        return SafeString("")
    top = max(known) or 1.0
    gap = WIDTH / (len(known) - 1)
    path = " ".join(
        f"{'L' if place else 'M'}{place * gap:.1f} {HEIGHT - 2 - (HEIGHT - 4) * value / top:.1f}"
        for place, value in enumerate(known)
    )
    label = (
        f"p95 of the last {len(known)} tests, from {duration(known[0])} to {duration(known[-1])}"
    )
    return format_html(
        '<svg class="spark" viewBox="0 0 {0} {1}" width="{0}" height="{1}" role="img" '
        'aria-label="{2}"><path d="{3}" class="stroke-s1"/></svg>',
        WIDTH,
        HEIGHT,
        label,
        path,
    )


def tell(request: HttpRequest, error: UserError) -> None:
    """Show a refusal above the page that follows."""
    messages.error(request, error.message)
