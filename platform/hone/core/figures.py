"""Template filters that write numbers the same way on every page."""

from __future__ import annotations

import math
import re
import unicodedata
from datetime import datetime

from django import template
from django.utils.timesince import timesince

register = template.Library()

THIN = "\u202f"
MINUS = "\u2212"
ABSENT = "–"


@register.filter
def count(value: float | None) -> str:
    """1204 → `1 204`, 12345678 → `12.3 M`; absent → `–`."""
    if value is None:
        return ABSENT
    for size, unit in ((1e9, "G"), (1e6, "M")):
        if abs(value) >= size:
            return f"{value / size:.1f}{THIN}{unit}"
    return f"{round(value):,}".replace(",", THIN).replace("-", MINUS)


@register.filter
def reward(value: float | None) -> str:
    """0.6123 → `0.612`; absent → `–`."""
    return ABSENT if value is None else f"{value:.3f}".replace("-", MINUS)


@register.filter
def signed(value: float | None) -> str:
    """0.3 → `+0.30`, -0.03 → `−0.03`, what rounds to nothing → `0.00`; absent → `–`."""
    if value is None:
        return ABSENT
    text = f"{value:+.2f}"
    return text[1:] if text[1:] == "0.00" else text.replace("-", MINUS)


@register.filter
def share(value: float | None) -> str:
    """0.012 → `1.2 %`, 0.65 → `65 %`; absent → `–`."""
    if value is None:
        return ABSENT
    percent = 100 * value
    digits = 1 if 0 < abs(percent) < 10 else 0
    return f"{percent:.{digits}f}{THIN}%".replace("-", MINUS)


@register.filter
def decimal(value: float | None) -> str:
    """2.345 → `2.3`; absent → `–`."""
    return ABSENT if value is None else f"{value:.1f}".replace("-", MINUS)


@register.filter
def small(value: float | None) -> str:
    """0.0000031 → `3.1e-06`, 0 → `0`; absent → `–`."""
    if value is None:
        return ABSENT
    return f"{value:.1e}" if value else "0"


@register.filter
def precise(value: float) -> str:
    """All digits in which two sums may differ: 156.5000012 → `156.500001`."""
    if not math.isfinite(value):
        return "not a finite number"
    return f"{value:.9g}".replace("-", MINUS)


@register.filter
def duration(seconds: float | None) -> str:
    """0.091 → `91 ms`, 6.2 → `6.2 s`, 84 → `1 min 24 s`, 3840 → `1 h 04 min`."""
    if seconds is None:
        return ABSENT
    if seconds < 0.9995:
        return f"{seconds * 1000:.0f}{THIN}ms"
    if seconds < 59.95:
        return f"{seconds:.1f}{THIN}s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60}{THIN}min {whole % 60:02d}{THIN}s"
    return f"{whole // 3600}{THIN}h {whole % 3600 // 60:02d}{THIN}min"


@register.filter
def hours(seconds: float | None) -> str:
    """113040 → `31.4 h`, 84 → `0.02 h`; absent → `–`."""
    if seconds is None:
        return ABSENT
    whole = seconds / 3600
    return f"{whole:.{1 if whole >= 10 or not whole else 2}f}{THIN}h"


@register.filter
def size(number: float | None) -> str:
    """312 → `312 B`, 18400000 → `18.4 MB`."""
    if number is None:
        return ABSENT
    for least, unit in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if number >= least:
            return f"{number / least:.1f}{THIN}{unit}"
    return f"{number:.0f}{THIN}B"


@register.filter
def ago(moment: datetime) -> str:
    """`just now` within a minute, then `3 minutes ago`."""
    passed = timesince(moment)
    return "just now" if passed.startswith("0") else f"{passed} ago"


@register.filter
def visible(value: object) -> str:
    """Text with characters that show nothing, or steer others, written as `⟦U+202E⟧`."""
    return _HIDDEN.sub(_written, str(value))


def _written(found: re.Match[str]) -> str:
    return f"⟦U+{ord(found[0]):04X}⟧"


def _hidden_characters() -> str:
    """Control, format (bidirectional, zero width, tags) and separator characters, lone surrogates,
    and letters without a shape; not the line break and the tab."""
    unseen = {"\u034f", "\u115f", "\u1160", "\u2800", "\u3164", "\uffa0"}
    kinds = {"Cc", "Cf", "Cs", "Zl", "Zp"}
    every = map(chr, (*range(0x20000), *range(0xE0000, 0xE1000)))
    return "".join(
        each
        for each in every
        if each not in "\n\t" and (each in unseen or unicodedata.category(each) in kinds)
    )


_HIDDEN = re.compile(f"[{re.escape(_hidden_characters())}]")
