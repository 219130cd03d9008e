"""Numbers read the same on every page, and hidden characters are seen."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest
from django.utils import timezone

from hone.core import figures

FILTERS: list[Callable[[float | None], str]] = [
    figures.count,
    figures.reward,
    figures.signed,
    figures.share,
    figures.decimal,
    figures.small,
    figures.duration,
    figures.hours,
    figures.size,
]


@pytest.mark.parametrize("shown", FILTERS)
def test_what_is_absent_is_a_dash(shown: Callable[[float | None], str]) -> None:
    assert shown(None) == "–"


@pytest.mark.parametrize(
    ("shown", "value", "text"),
    [
        (figures.count, 0, "0"),
        (figures.count, 1204, "1 204"),
        (figures.count, -1204, "−1 204"),
        (figures.count, 12_345_678, "12.3 M"),
        (figures.count, 2.5e9, "2.5 G"),
        (figures.reward, 0.6123, "0.612"),
        (figures.reward, -1, "−1.000"),
        (figures.signed, 0.3, "+0.30"),
        (figures.signed, -0.03, "−0.03"),
        (figures.signed, -0.00001, "0.00"),
        (figures.signed, 0.004, "0.00"),
        (figures.signed, 0.0, "0.00"),
        (figures.signed, -0.006, "−0.01"),
        (figures.share, 0, "0 %"),
        (figures.share, 0.012, "1.2 %"),
        (figures.share, 0.65, "65 %"),
        (figures.share, -0.5, "−50 %"),
        (figures.decimal, 2.345, "2.3"),
        (figures.small, 0.0000031, "3.1e-06"),
        (figures.small, 0.0, "0"),
        (figures.precise, 156.5000012, "156.500001"),
        (figures.precise, -7.85, "−7.85"),
        (figures.precise, float("nan"), "not a finite number"),
        (figures.duration, 0.091, "91 ms"),
        (figures.duration, 0.9999, "1.0 s"),
        (figures.duration, 6.2, "6.2 s"),
        (figures.duration, 59.99, "1 min 00 s"),
        (figures.duration, 84, "1 min 24 s"),
        (figures.duration, 3840, "1 h 04 min"),
        (figures.hours, 113_040, "31.4 h"),
        (figures.hours, 84, "0.02 h"),
        (figures.hours, 0, "0.0 h"),
        (figures.size, 312, "312 B"),
        (figures.size, 18_400_000, "18.4 MB"),
        (figures.size, 1000, "1.0 kB"),
        (figures.size, 3e9, "3.0 GB"),
    ],
)
def test_a_number_is_written_in_one_way(
    shown: Callable[[float | None], str], value: float, text: str
) -> None:
    assert shown(value).replace(figures.THIN, " ") == text


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("plain\ttext\nü\U0001f600", "plain\ttext\nü\U0001f600"),
        ("a\u202eb", "a⟦U+202E⟧b"),
        ("\x1b[31m", "⟦U+001B⟧[31m"),
        ("a\u200bb", "a⟦U+200B⟧b"),
        ("\u061c\u2066\ufeff\x85", "⟦U+061C⟧⟦U+2066⟧⟦U+FEFF⟧⟦U+0085⟧"),
        ("tag\U000e0041", "tag⟦U+E0041⟧"),
        ("soft\u00adfill\u3164\u2028", "soft⟦U+00AD⟧fill⟦U+3164⟧⟦U+2028⟧"),
        ("e\u0301 ✓\ufe0f", "e\u0301 ✓\ufe0f"),
        (7, "7"),
    ],
)
def test_characters_that_hide_or_turn_text_are_shown(value: object, shown: str) -> None:
    assert figures.visible(value) == shown


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0, "just now"),
        (59, "just now"),
        (61, "1\xa0minute ago"),
        (7500, "2\xa0hours, 5\xa0minutes ago"),
    ],
)
def test_a_moment_is_told_by_how_long_it_is_past(seconds: int, said: str) -> None:
    assert figures.ago(timezone.now() - timedelta(seconds=seconds)) == said
