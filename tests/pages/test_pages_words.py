"""Pages say the words that they agreed on, and none of the others."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

TEMPLATES = Path(__file__).resolve().parents[2] / "templates"

CODE = re.compile(
    r"\{%.*?%\}|\{\{.*?\}\}|\{#.*?#\}|<!--.*?-->|<(script|style|code|kbd|pre)\b.*?</\1>", re.DOTALL
)
READ_ALOUD = re.compile(r'\b(?:title|aria-label|placeholder|data-key-name|alt)="([^"]*)"')
SAID = re.compile(
    r"\{% include \S+ with [^%]*?\b(?:text|label|title|lead|word|action)=\"([^\"]*)\""
)

ONE = r"\b(?:an?|the|this|that|each|every|one|per|no|first|last|next|training)\s+run\b"
MANY = r"\b(?:all|the|these|of|in|training)\s+runs\b"
NEVER = {
    "run": rf"{ONE}|{MANY}",
    "iteration": r"\biterations?\b",
    "prompt": r"\bprompts?\b",
    "episode": r"\bepisodes?\b",
    "trace": r"\btraces?\b",
    "action": r"\bactions?\b",
    "batch": r"\bbatch(?:es)?\b",
    "score": r"\bscores?\b",
    "blame": r"\bblam(?:e|es|ed|ing)\b",
    "baseline": r"\bbaselines?\b",
    "tool failure": r"\btool failures?\b",
    "timeout": r"\btime-?outs?\b",
    "please": r"\bplease\b",
    "oops": r"\boops\b",
    "exclamation mark": r"\w!(?:\s|$)",
}
"""What to say instead stands in the user guide under "The words"."""

OF_A_GRADER = "a grader's own number, which is a reward only once a job trains with it"
TRIAL = "one run of a grader on a sample; no job is meant"
COMPONENT = "the name of the credit component"
ALLOWED = {
    ("graders/detail.html", "score"): OF_A_GRADER,
    ("graders/fixture.html", "score"): OF_A_GRADER,
    ("graders/fixtures.html", "score"): OF_A_GRADER,
    ("graders/list.html", "score"): OF_A_GRADER,
    ("graders/judges.html", "score"): "what a judge does, as its grader kind is called",
    ("workbench/opinion.html", "score"): OF_A_GRADER,
    ("workbench/results.html", "score"): OF_A_GRADER,
    ("graders/editor.html", "run"): TRIAL,
    ("workbench/results.html", "run"): TRIAL,
    ("jobs/graders_body.html", "score"): OF_A_GRADER,
    ("jobs/turn_credit.html", "episode"): COMPONENT,
    ("jobs/credit_body.html", "episode"): COMPONENT,
    ("jobs/insight_turns.html", "episode"): COMPONENT,
    ("jobs/loops_body.html", "episode"): COMPONENT,
    ("jobs/group_body.html", "action"): "what turns share that the tree merges, calls or an answer",
}
"""By template and word, with the reason; one that is no longer needed fails the test."""


def text_of(source: str) -> str:
    """What a reader sees or hears of a template, without its code."""
    said = SAID.findall(source)
    plain = CODE.sub(" ", source)
    return " \n".join([*said, *READ_ALOUD.findall(plain), re.sub(r"<[^>]*>", " ", plain)])


def words_in(source: str) -> set[str]:
    shown = text_of(source)
    return {word for word, form in NEVER.items() if re.search(form, shown, re.IGNORECASE)}


def test_templates_say_none_of_the_words_that_mean_something_else() -> None:
    found = {
        (path.relative_to(TEMPLATES).as_posix(), word)
        for path in TEMPLATES.rglob("*.*")
        for word in words_in(path.read_text())
    }
    assert found - ALLOWED.keys() == set()
    assert ALLOWED.keys() - found == set()


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("<p>Start the run</p>", {"run"}),
        ("<p>Members can run preflights.</p>", set()),
        ('<a title="Last iteration">x</a>', {"iteration"}),
        ('{% include "parts/empty.html" with text="No prompts yet." %}', {"prompt"}),
        ("<code>episode</code> {{ batch }} {% if score %}{% endif %}", set()),
        ("<b>Saved!</b>", {"exclamation mark"}),
        ('<span aria-hidden="true">!</span> 1 warning', set()),
        ('<button aria-label="Please wait">…</button>', {"please"}),
        ("<p>The baseline's time-out</p>", {"baseline", "timeout"}),
    ],
)
def test_the_lint_reads_what_people_read(source: str, words: set[str]) -> None:
    assert words_in(source) == words
