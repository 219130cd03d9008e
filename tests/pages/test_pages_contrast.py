"""The style sheet keeps its contrast: text 4.5, marks and borders of controls 3."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

SHEET = (Path(__file__).resolve().parents[2] / "static" / "css" / "tokens.css").read_text()
BLOCKS = [
    dict(re.findall(r"--([\w-]+):\s*(#[0-9A-F]{6});", block))
    for block in re.findall(r"color-scheme: \w+;(.*?)\n\s*\}", SHEET, re.DOTALL)
]
THEMES = {"light": BLOCKS[0], "dark": BLOCKS[1]}
TEXT = ["text", "text-2", "text-3", "accent", "plus", "minus", "ok", "warn", "bad", "info", "idle"]
MARKS = ["line-strong", "c-episode", "c-step", "c-process", "c-counter"]
MARKS += [f"s{n}" for n in range(1, 7)]


def luminance(colour: str) -> float:
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def test_black_on_white_is_21() -> None:
    assert contrast("#000000", "#FFFFFF") == pytest.approx(21)


def test_both_ways_to_dark_give_the_same_colours() -> None:
    assert BLOCKS[1] == BLOCKS[2]
    assert BLOCKS[0].keys() == BLOCKS[1].keys()


@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("ground", ["bg", "sub"])
def test_text_and_marks_stand_out(theme: str, ground: str) -> None:
    colours = THEMES[theme]
    weak = {t: contrast(colours[t], colours[ground]) for t in TEXT}
    assert {t: c for t, c in weak.items() if c < 4.5} == {}
    faint = {t: contrast(colours[t], colours[ground]) for t in MARKS}
    assert {t: c for t, c in faint.items() if c < 3} == {}


@pytest.mark.parametrize("theme", THEMES)
def test_status_words_and_buttons_can_be_read_on_their_grounds(theme: str) -> None:
    colours = THEMES[theme]
    for status in ("ok", "warn", "bad", "info", "idle"):
        assert contrast(colours[status], colours[f"{status}-bg"]) >= 4.5
    assert contrast(colours["bg"], colours["accent"]) >= 4.5
    for ramp in "qpm":
        for step in "123":
            assert contrast(colours["text"], colours[f"{ramp}{step}"]) >= 4.5
