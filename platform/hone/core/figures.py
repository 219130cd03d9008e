"""Template filters that write numbers the same way on every page."""

from __future__ import annotations

from django import template

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
    """0.3 → `+0.30`, -0.03 → `−0.03`; absent → `–`."""
    return ABSENT if value is None else f"{value:+.2f}".replace("-", MINUS)


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
def size(number: float | None) -> str:
    """312 → `312 B`, 18400000 → `18.4 MB`."""
    if number is None:
        return ABSENT
    for least, unit in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if number >= least:
            return f"{number / least:.1f}{THIN}{unit}"
    return f"{number:.0f}{THIN}B"


@register.filter
def visible(value: object) -> str:
    """Text with control and bidirectional characters shown as `⟦U+202E⟧`."""
    return "".join(f"⟦U+{ord(char):04X}⟧" if _hidden(char) else char for char in str(value))


def _hidden(char: str) -> bool:
    point = ord(char)
    control = (point < 32 and char not in "\n\t") or 0x7F <= point < 0xA0
    steering = 0x200B <= point <= 0x200F or 0x202A <= point <= 0x202E or 0x2060 <= point <= 0x206F
    return control or steering or point in {0x061C, 0xFEFF}
