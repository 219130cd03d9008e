"""Which jobs to compare, at which steps, over which axis, as the address says it."""

from __future__ import annotations

from dataclasses import dataclass

from django.http import QueryDict

from hone.core.errors import UserError

FEWEST, MOST = 2, 6
LONGEST_STEP = 9
MOST_DIGITS = 18
AXES = (
    ("step", "step"),
    ("tokens", "trained tokens"),
    ("wall", "time since the start"),
    ("hours", "worker hours"),
)


@dataclass(frozen=True)
class Wanted:
    """A job, and the step of it to look at; None is its best one."""

    job_id: str
    step: int | None = None

    def __str__(self) -> str:
        return self.job_id if self.step is None else f"{self.job_id}@{self.step}"


def wanted(query: QueryDict) -> list[Wanted]:
    """The jobs of `jobs=a,b@20`, or of `jobs` given several times; UserError says what is wrong."""
    words = [word.strip() for given in query.getlist("jobs") for word in given.split(",")]
    found = [_one(word) for word in words if word]
    if len(found) > MOST:
        raise _refused(f"{len(found)} jobs are more than one page compares. Leave at most {MOST}.")
    for each in found:
        if found.count(each) > 1:
            raise _refused(f"{each} is there twice. Name each job, or step of a job, once.")
    return found


def axis(query: QueryDict) -> str:
    """The axis that `x` names; the step where it names none."""
    given = query.get("x", "")
    return given if given in dict(AXES) else "step"


def number(query: QueryDict, name: str) -> int | None:
    """A whole number from 1 on; None where there is none."""
    given = query.get(name, "")
    is_number = given.isascii() and given.isdecimal() and len(given) <= MOST_DIGITS
    return int(given) if is_number and int(given) else None


def place(query: QueryDict, name: str, *, most: int) -> int | None:
    """A number from 1 to `most`, as a zero-based place; None where there is none."""
    found = number(query, name)
    return found - 1 if found is not None and found <= most else None


def _one(word: str) -> Wanted:
    job_id, at, step = word.partition("@")
    if not at:
        return Wanted(job_id)
    if not (step.isascii() and step.isdecimal() and len(step) <= LONGEST_STEP) or not job_id:
        raise _refused(
            f"{word[:80]!r} names no step of a job. Write the job's id, or id@step as in "
            f"{job_id[:60] or 'ftjob-…'}@20."
        )
    return Wanted(job_id, int(step))


def _refused(sentence: str) -> UserError:
    return UserError(sentence, code="compare_jobs", field="jobs")
