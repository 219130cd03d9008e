"""What reads rows and attempts: the graders of a job and the gold answer. Each is checked alike."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from graders.kinds.base import GraderSpecError
from graders.kinds.check import reading
from graders.kinds.registry import load_grader
from graders.kinds.templates import Template
from graders.models import GraderVersion
from graders.selectors import fixture_results
from jobs.services import here
from jobs.services.chosen import Inputs
from jobs.services.request import Check, JobRequest
from jobs.services.rows import Seen

BOTH = ("train", "validation")
"""The parts of the tasks that are read."""


_TEXT = (
    'Use `{{sample.output_text}}`, or a Python grader that reads json.loads(sample["output_text"]).'
)
WAY_OUT = {
    "output_audio": _TEXT,
    "output_json": _TEXT,
    "turn": "Choose it as turn grader, or use `{{sample.output_text}}`.",
}
"""What to use instead, by the key of a sample."""


@dataclass(frozen=True)
class Reader:
    """A grader or the gold answer; `variables` is empty where it cannot work."""

    topic: str
    field: str
    verdict: Check
    variables: frozenset[str] = frozenset()
    parts: tuple[str, ...] = BOTH
    spec: Mapping[str, Any] | None = None
    """Of a grader that can work."""
    version: GraderVersion | None = None

    @property
    def can_work(self) -> bool:
        return self.verdict.state == "ok"


def job_readers(chosen: Inputs, request: JobRequest) -> list[Reader]:
    """In the order in which they are shown."""
    graders = (
        ("Grader", "grader_version", chosen.grader, BOTH),
        ("Turn grader", "turn_grader", chosen.turn_grader, BOTH),
        ("Held-out grader", "held_out_grader", chosen.held_out, ("validation",)),
    )
    found = [
        _grader(topic, field, version, parts)
        for topic, field, version, parts in graders
        if version is not None
    ]
    gold = request.gold_answer.strip()
    return [*found, _gold(gold)] if gold else found


def reader_checks(reader: Reader, seen: Mapping[str, Seen], request: JobRequest) -> Iterator[Check]:
    """Whether it can work here, on these rows, and on the attempts of this job."""
    yield reader.verdict
    if reader.spec is not None:
        yield from here.isolation_checks(reader.spec, reader.topic, reader.field)
    if reader.version is not None:
        yield from _fixture_checks(reader, reader.version)
    if reader.can_work:
        yield from _variable_checks(reader, [seen[part] for part in reader.parts if part in seen])
        yield from _sample_checks(reader, request)


def gold_template(readers: list[Reader], request: JobRequest) -> str:
    """The template of the gold answer; empty where there is none that can be read."""
    usable = any(each.field == "gold_answer" and each.can_work for each in readers)
    return request.gold_answer.strip() if usable else ""


def _grader(topic: str, field: str, version: GraderVersion, parts: tuple[str, ...]) -> Reader:
    try:
        grader = load_grader(version.spec)
    except GraderSpecError as error:
        sentence = f"{version} cannot work: {error}"
        return Reader(topic, field, Check(topic, "problem", sentence, field, "grader_invalid"))
    verdict = Check(topic, "ok", f"{version} is valid.")
    return Reader(topic, field, verdict, grader.variables(), parts, version.spec, version)


def _fixture_checks(reader: Reader, version: GraderVersion) -> Iterator[Check]:
    """A person may know better than a fixture, so this is no problem."""
    results = list(fixture_results(version).values())
    failing = [result for result in results if not result.passed]
    if not results:
        return
    if not failing:
        sentence = f"{len(results)} of {len(results)} fixtures get their score."
        yield Check(reader.topic, "ok", sentence)
        return
    first = failing[0]
    got = "no score" if first.reward is None else f"{first.reward:.3f}"
    sentence = (
        f"{len(failing)} of {len(results)} fixtures of {version} do not get the score that they "
        f"must get; “{first.fixture.name}” gets {got}. Mend the grader, or see why it was saved."
    )
    yield Check(reader.topic, "warning", sentence, reader.field, "fixtures_fail")


def _gold(text: str) -> Reader:
    """It is told before an attempt begins, so it reads the row alone."""
    topic, field = "Gold answer", "gold_answer"

    def refused(sentence: str) -> Reader:
        return Reader(topic, field, Check(topic, "problem", sentence, field, "gold_invalid"))

    try:
        variables = Template(text).variables()
    except GraderSpecError as error:
        return refused(f"It cannot be read: {error}")
    if of_samples := reading(variables, "sample"):
        return refused(
            f"`{{{{{of_samples[0]}}}}}` is of an attempt, and the gold answer is known before one. "
            "Use a key of the row, as in {{item.answer}}."
        )
    if not variables:
        sentence = "It has no variable, so it would be the same for every row. Use a key of the row"
        return refused(f"{sentence}, as in {{{{item.answer}}}}.")
    return Reader(topic, field, Check(topic, "ok", "It is taken from each row."), variables)


def _variable_checks(reader: Reader, seen: list[Seen]) -> Iterator[Check]:
    if not seen:
        return
    complete = True
    for part in seen:
        missing = {name: n for name, n in part.missing.items() if name in reader.variables}
        for variable, count in sorted(missing.items()):
            complete = False
            present = ", ".join(sorted(part.keys))
            sentence = (
                f"`{{{{{variable}}}}}` is missing in {count} of {part.rows} rows. Keys present: "
                f"{present}. Use one of these, or add it to the rows."
            )
            yield Check(reader.topic, "problem", sentence, reader.field, "grader_variable")
        if reader.field == "gold_answer" and part.no_gold:
            complete = False
            sentence = (
                f"It is empty in {len(part.no_gold)} of {part.rows} rows, the first is row "
                f"{part.no_gold[0]}. Use another key, or mend the rows."
            )
            yield Check(reader.topic, "problem", sentence, reader.field, "gold_empty")
    if complete:
        rows = "every row" if reader.parts == BOTH else f"every {reader.parts[0]} row"
        yield Check(reader.topic, "ok", f"Its variables are present in {rows}.")


def _sample_checks(reader: Reader, request: JobRequest) -> Iterator[Check]:
    """What a grader reads of a sample that no rollout of the job would have."""
    absent = {"output_audio": "rollouts are text"}
    if not request.response_format:
        absent["output_json"] = "the job has no response format"
    if reader.field != "turn_grader":
        absent["turn"] = "only a turn grader is given turns"
    for key, reason in absent.items():
        for variable in reading(reader.variables, "sample", key):
            sentence = f"No rollout would have `{{{{{variable}}}}}`: {reason}. {WAY_OUT[key]}"
            yield Check(reader.topic, "problem", sentence, reader.field, "grader_variable")
