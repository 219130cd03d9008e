"""The sides of a try: what each model has said and called so far, and what it came to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from hone.core.errors import UserError
from hone.core.figures import reward, signed
from jobs.engine import types
from jobs.engine.metrics import is_looped
from jobs.models import Job, JobStep, Run, RunKind, Status, Trajectory
from jobs.selectors import trajectory_body
from jobs.selectors.tryouts import tryout_sides
from jobs.views.texts import Cut, cut
from jobs.views.turns import TurnRow, turn_rows
from jobs.words import STOP_WORDS

LOADS_LOOKED_AT = 20
OTHER_VERSION = "What it had said was written by another version of Hone and cannot be read."


@dataclass(frozen=True)
class Side:
    """One column. `done`: its trajectory. `waits`: why there is nothing yet, or no more."""

    step: int
    model: dict[str, Any]
    done: Trajectory | None
    turns: list[TurnRow] = field(default_factory=list)
    calls: int = 0
    tokens: int = 0
    looped: bool = False
    waits: str = ""
    unreadable: str = ""

    @property
    def letter(self) -> str:
        return "AB"[self.step]

    @property
    def element(self) -> str:
        """The id of its element on the page."""
        return f"side-{self.step}"

    @property
    def stop(self) -> str:
        return STOP_WORDS.get(self.done.stop, self.done.stop) if self.done else ""


def sides_of(job: Job, run: Run) -> list[Side]:
    """In the order of their letters."""
    done = tryout_sides([job])
    return [
        _side(job, run, step, model, done.get((job.pk, step)))
        for step, model in enumerate(job.spec["sides"])
    ]


def given_messages(job: Job) -> list[dict[str, str | Cut]]:
    """What the task says before anybody answers."""
    return [
        {"role": str(each.get("role", "")), "text": cut(_text(each.get("content")))}
        for each in job.tryout.item["messages"]
    ]


def tryout_verdict(job: Job, sides: Sequence[Side]) -> str:
    """What came of it, in a line."""
    if job.status == Status.FAILED:
        return f"Failed: {job.error_message}"
    ended = [side for side in sides if side.done]
    rewards = [side.done.reward for side in ended if side.done]
    if len(ended) == 2 and None not in rewards:
        a, b = (float(each or 0.0) for each in rewards)
        if a == b:
            return f"Both earned {reward(a)} on this task."
        return f"B earned {reward(b)} and A {reward(a)} on this task: {signed(b - a)}."
    going = next((side for side in sides if side.turns and not side.done), None)
    if not ended and job.is_final:
        return "Stopped before a side was done."
    if not ended and going:
        turns = len(going.turns)
        return f"{going.letter} is answering: {turns} turn{'s' * (turns != 1)} so far."
    return " ".join(f"{side.letter}: {_came_to(side)}." for side in ended)


def _came_to(side: Side) -> str:
    assert side.done is not None
    turns, calls = side.done.turns, side.done.tool_calls
    earned = "" if side.done.reward is None else f", reward {reward(side.done.reward)}"
    return (
        f"{side.stop} after {turns} turn{'s' * (turns != 1)} and {calls} "
        f"call{'s' * (calls != 1)}{earned}"
    )


def _side(job: Job, run: Run, step: int, model: dict[str, Any], done: Trajectory | None) -> Side:
    if done is not None:
        try:
            turns = turn_rows(trajectory_body(done))
        except UserError as error:
            return Side(step, model, done, unreadable=error.message)
        return Side(
            step,
            model,
            done,
            turns=turns,
            calls=done.tool_calls,
            tokens=done.tokens,
            looped="looped" in done.flags,
        )
    waits = _waits(job, run, step, model)
    tryout = job.tryout
    if tryout.live is None or tryout.live_step != step:
        return Side(step, model, None, waits=waits)
    try:
        body = msgspec.convert(tryout.live, types.Trajectory)
    except msgspec.ValidationError:
        return Side(step, model, None, waits=waits, unreadable=OTHER_VERSION)
    return Side(
        step,
        model,
        None,
        turns=turn_rows(body),
        calls=len(body.calls),
        tokens=sum(turn.tokens for turn in body.turns),
        looped=is_looped(body),
        waits=waits if job.is_final or job.status != Status.RUNNING else "",
    )


def _waits(job: Job, run: Run, step: int, model: dict[str, Any]) -> str:
    match job.status:
        case Status.QUEUED:
            return "Waiting for a training worker."
        case Status.PAUSED:
            return "Paused. It begins this side anew when it goes on."
        case Status.FAILED | Status.CANCELLED:
            return "Ended before this side was done."
    if step > run.last_step + 1:
        return "Comes next, when the other side is done."
    sides = job.spec["sides"]
    if step and sides[step - 1]["base_model"] == model["base_model"]:
        return f"Begins, on the base model of {'AB'[step - 1]}…"
    seconds = _loading_seconds(job, model)
    about = f", which took {seconds:.0f} s the last time" if seconds is not None else ""
    return f"Loading {model['name']}{about}…"


def _loading_seconds(job: Job, model: dict[str, Any]) -> float | None:
    """Of the newest try that loaded the same base model: its second side had it already."""
    steps = JobStep.objects.filter(
        run__kind=RunKind.PLAYGROUND, run__job__organisation=job.organisation_id
    )
    for row in steps.select_related("run__job").order_by("-pk")[:LOADS_LOOKED_AT]:
        bases = [side["base_model"] for side in row.run.job.spec["sides"]]
        was_read = not row.step or bases[row.step] != bases[row.step - 1]
        if was_read and bases[row.step] == model["base_model"]:
            return float(row.metrics["seconds"]["loading"])
    return None


def _text(content: Any) -> str:
    if isinstance(content, list):
        return "\n".join(str(part.get("text", "")) for part in content)
    return "" if content is None else str(content)
