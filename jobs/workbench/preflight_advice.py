"""What to do about what a preflight found, in plain words: a fixed list of rules, in order.

Pure. A rule that blocks says that the job would not teach anything as it stands; others are
warnings. The first rule that blocks is the verdict; without one it is "ready".
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from hone.core import figures as numbers
from jobs.workbench.preflight_figures import Figures, Share, TaskFigures, ToolFigures

Kind = Literal[
    "ready", "too_easy", "no_signal", "fix_tool", "fix_grader", "demonstrations", "limits"
]

FAULTS_WARN, FAULTS_BLOCK = 0.01, 0.10
"""Share of attempts lost to a tool or a grader."""
TOOL_ERRORS_BLOCK = 0.50
"""Share of a tool's calls that it answers with an error; it takes `TOOL_CALLS_LEAST` to say so."""
TOOL_CALLS_LEAST = 10
BAD_CALLS_WARN, BAD_CALLS_BLOCK = 0.10, 0.30
"""Share of attempts with a call that could not be read, or of a tool that does not exist."""
EASY_BLOCK = 0.60
"""Share of tasks that pass in every attempt."""
NEVER_BLOCK = 0.60
"""Share of tasks that never pass; it blocks only while the signal is not sure to be enough."""
SIGNAL_READY, SIGNAL_NONE, SIGNAL_FEW = 0.40, 0.20, 0.125
"""Of the share of tasks with signal. Ready: its lower bound. None: its upper bound; or the share
itself is `SIGNAL_FEW` at most, and so little that its upper bound is not ready."""
CUT_OFF_WARN, LOOPS_WARN, TIME_WARN, TIME_BLOCK = 0.10, 0.05, 0.01, 0.50
WORLD: frozenset[Kind] = frozenset({"fix_tool", "fix_grader"})
"""While one of these blocks, what is left of the attempts says nothing fair about the model."""
SHOWN_ROWS = 8
MOST = 5
"""Pieces of advice that are given."""

Reason = Literal["", "tool_unavailable", "grader_unavailable", "grader_failed"]


@dataclass(frozen=True)
class Trouble:
    """Why the preflight waits, or what cost it a whole slice; `text` is the engine's evidence."""

    reason: Reason = ""
    text: str = ""


@dataclass(frozen=True)
class Advice:
    """`evidence`: the figures that led to it; `next_step`: what to do now."""

    kind: Kind
    blocks: bool
    title: str
    evidence: str
    next_step: str


@dataclass(frozen=True)
class Verdict:
    """In one line; `advice` is in the order of the rules, what blocks first."""

    kind: Kind
    title: str
    evidence: str
    advice: tuple[Advice, ...]


Rule = Callable[[Figures, Trouble], Iterator[Advice]]


def verdict_of(found: Figures, trouble: Trouble | None = None) -> Verdict | None:
    """None while there is nothing to judge."""
    known = trouble or Trouble()
    if not found.attempts and not known.reason:
        return None
    every = [advice for rule in RULES for advice in rule(found, known)]
    broken = [advice for advice in every if advice.blocks and advice.kind in WORLD]
    ordered = broken or sorted(every, key=lambda advice: not advice.blocks)[:MOST]
    if ordered and ordered[0].blocks:
        first = ordered[0]
        return Verdict(first.kind, first.title, first.evidence, tuple(ordered))
    if not found.signal.n:
        return None
    title = "Ready with warnings" if ordered else "Ready"
    ready = Advice("ready", False, title, _signal(found.signal), "Start the job.")
    return Verdict(
        "ready", title, ready.evidence, (*ordered, ready) if not ordered else (*ordered,)
    )


def _tool_is_away(found: Figures, trouble: Trouble) -> Iterator[Advice]:
    share = found.tool_faults
    if trouble.reason == "tool_unavailable":
        yield Advice("fix_tool", True, "Fix the tool", _sentence(trouble.text), TOOL_STEP)
    elif _over(share, FAULTS_WARN):
        blocks = _over(share, FAULTS_BLOCK)
        why = f"{share} attempts were lost to a tool fault{_most(found.tool_causes)}."
        yield Advice("fix_tool", blocks, "Fix the tool", why, TOOL_STEP)


def _tool_refuses(found: Figures, trouble: Trouble) -> Iterator[Advice]:
    for tool in found.tools:
        if _refuses(tool):
            why = f"{tool.errors} of {tool.calls} calls of {tool.name} were answered with an error."
            step = (
                "Open an attempt that it answered so. Where the calls are right, mend the tool; "
                "where they are wrong, its schema or the prompt does not say how to call it."
            )
            yield Advice("fix_tool", True, "Fix the tool", why, step)


def _refuses(tool: ToolFigures) -> bool:
    return (
        tool.name != "(unknown)"
        and tool.calls >= TOOL_CALLS_LEAST
        and tool.errors > TOOL_ERRORS_BLOCK * tool.calls
    )


def _grader_fails(found: Figures, trouble: Trouble) -> Iterator[Advice]:
    share = found.grader_errors
    step = "Try the grader on such an attempt on its page, mend it, then run the preflight again."
    if trouble.reason in {"grader_unavailable", "grader_failed"}:
        yield Advice("fix_grader", True, "Fix the grader", _sentence(trouble.text), step)
    elif _over(share, FAULTS_WARN):
        why = f"The grader gave {share} attempts no reward{_most(found.grader_causes)}."
        yield Advice("fix_grader", _over(share, FAULTS_BLOCK), "Fix the grader", why, step)


def _too_easy(found: Figures, trouble: Trouble) -> Iterator[Advice]:
    if _over(found.always, EASY_BLOCK):
        yield Advice(
            "too_easy",
            True,
            "Too easy",
            f"The base model passes {found.always} tasks in every attempt, so these teach nothing.",
            "Take harder tasks, or a grader that asks for more. If this is good enough, the base "
            "model needs no training.",
        )


def _no_signal(found: Figures, trouble: Trouble) -> Iterator[Advice]:
    if not found.signal.n or _over(found.always, EASY_BLOCK):
        return
    if found.all_equal:
        reward = numbers.reward(found.rewards[0])
        tasks = f"{found.graded} graded attempts at {found.signal.n} tasks"
        why = f"All {tasks} have the reward {reward}."
    elif _has_none(found.signal):
        why = f"{_signal(found.signal)} Rewards within a task hardly ever differ."
    else:
        return
    step = (
        "First open an attempt and see whether its reward is right: a grader that nothing can pass "
        "looks like this. If it is, take easier tasks, or fine-tune on demonstrations first."
    )
    yield Advice("no_signal", True, "No signal", why, step)


def _cannot_call(found: Figures, trouble: Trouble) -> Iterator[Advice]:
    share = found.bad_calls
    if not _over(share, BAD_CALLS_WARN):
        return
    why = f"In {share} attempts a call could not be read or named no tool of the job."
    if _over(share, BAD_CALLS_BLOCK):
        step = (
            "Check that the chat template of the base model knows tools. If it does, fine-tune on "
            "demonstrations of right calls first, or take a larger model."
        )
        yield Advice("demonstrations", True, "Fine-tune on demonstrations first", why, step)
    else:
        step = "Open one: a simpler schema or an example in the prompt often mends this."
        yield Advice("demonstrations", False, "Many calls are malformed", why, step)


def _hardly_passes(found: Figures, trouble: Trouble) -> Iterator[Advice]:
    """Tasks that never pass: the list, and where they are most, what to do before training."""
    never = [task for task in found.tasks if task.never_passes]
    if not never or found.all_equal:
        return
    why = f"{found.never} tasks never pass ({_rows(never)})."
    if _over(found.never, NEVER_BLOCK) and found.signal.low < SIGNAL_READY:
        step = (
            "Fine-tune on demonstrations, or on the attempts that passed, before reinforcement "
            "learning; or begin with easier tasks."
        )
        yield Advice("demonstrations", True, "Fine-tune on demonstrations first", why, step)
    else:
        step = (
            "Drop or rewrite those that no attempt can pass: they cost rollouts and teach little."
        )
        yield Advice("no_signal", False, "Some tasks never pass", why, step)


def _uncertain(found: Figures, trouble: Trouble) -> Iterator[Advice]:
    settled = found.all_equal or _over(found.always, EASY_BLOCK)
    if not found.signal.n or settled or _has_none(found.signal):
        return
    if found.signal.low < SIGNAL_READY:
        line = numbers.share(SIGNAL_READY)
        why = f"{_signal(found.signal)} Below {line} a job spends most on refills."
        step = "Try more tasks to know better, or more attempts a task: larger groups differ more."
        yield Advice("no_signal", False, "Little signal, or too few tasks to tell", why, step)


def _limits(found: Figures, trouble: Trouble) -> Iterator[Advice]:
    if _over(found.cut_off, CUT_OFF_WARN):
        why = f"{found.cut_off} attempts ended at a limit of turns, calls or tokens."
        step = "Raise the limit, or shorten what the tools answer: such attempts earn at most 0."
        yield Advice("limits", False, "Many attempts are cut off", why, step)
    if _over(found.looped, LOOPS_WARN):
        why = f"{found.looped} attempts repeat themselves."
        step = "Loops are stopped while they are sampled; fewer turns a trajectory keep them short."
        yield Advice("limits", False, "Many attempts loop", why, step)
    if _over(found.out_of_time, TIME_WARN):
        why = f"{found.out_of_time} attempts ran out of time, and have no reward."
        step = "Allow more seconds a trajectory, or fewer tasks a step."
        blocks = _over(found.out_of_time, TIME_BLOCK)
        yield Advice("limits", blocks, "Attempts run out of time", why, step)


RULES: tuple[Rule, ...] = (
    _tool_is_away,
    _tool_refuses,
    _grader_fails,
    _too_easy,
    _no_signal,
    _cannot_call,
    _hardly_passes,
    _uncertain,
    _limits,
)
TOOL_STEP = (
    "Call the tool on its page with arguments of such an attempt and mend what it answers. A "
    "preflight that waits goes on by itself once the tool answers."
)


def _over(share: Share, line: float) -> bool:
    return share.value is not None and share.value > line


def _has_none(signal: Share) -> bool:
    """So few tasks with signal that hardly a step would train."""
    few = (signal.value or 0.0) <= SIGNAL_FEW and signal.high < SIGNAL_READY
    return signal.high < SIGNAL_NONE or few


def _signal(signal: Share) -> str:
    low, high = (numbers.share(bound) for bound in signal.interval)
    return (
        f"{signal} tasks carry signal ({numbers.share(signal.value)}, 95 % interval {low} to "
        f"{high})."
    )


def _most(causes: tuple[tuple[str, int], ...]) -> str:
    if not causes:
        return ""
    cause, times = causes[0]
    return f", most often ({times}): {cause.strip().rstrip('.')}"


def _rows(tasks: list[TaskFigures]) -> str:
    shown = ", ".join(str(task.row + 1) for task in tasks[:SHOWN_ROWS])
    left = len(tasks) - SHOWN_ROWS
    if len(tasks) == 1:
        return f"row {shown}"
    return f"rows {shown} and {left} more" if left > 0 else f"rows {shown}"


def _sentence(words: str) -> str:
    words = words.strip()
    return f"{words[:1].upper()}{words[1:].rstrip('.')}."
