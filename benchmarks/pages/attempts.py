"""Attempts at the ledger desk's tasks, as the engine has them."""

from __future__ import annotations

import zlib
from random import Random
from typing import Literal, NamedTuple

from benchmarks.pages.plan import LONG_END, RARE
from jobs.engine.types import StopReason, ToolCall, Trajectory, Turn

PROMPT_TOKENS = 120
RESULT_TOKENS = 20
THINGS = ("desk lamps", "copper wire", "paper rolls", "drill heads", "cable drums", "glass panes")
TOWNS = ("Aalborg", "Bergen", "Cork", "Delft", "Espoo", "Faro", "Graz", "Haarlem", "Izmir")

Split = Literal["train", "validation"]


class Call(NamedTuple):
    name: str
    arguments: str
    output: str
    status: Literal["ok", "tool_error", "fault"]


class Attempt(NamedTuple):
    """`reward` None: ungraded. `answer` is empty where a loop or a fault ended it."""

    uid: str
    split: Split
    row: int
    group: str
    sample: int
    calls: tuple[Call, ...]
    answer: str
    stop: str
    reward: float | None
    parts: dict[str, float]
    cause: str
    turn_tokens: tuple[int, ...]
    seconds: float


def attempts(
    rng: Random, step: int, split: Split, row: int, group: str, size: int, skill: float
) -> list[Trajectory]:
    """The attempts at one task; `skill` is the share that succeeds on a task of middling ease."""
    chance = min(0.98, max(0.02, skill + rng.uniform(-0.35, 0.35)))
    made = (_attempt(rng, step, split, row, group, sample, chance) for sample in range(size))
    return [body(each) for each in made]


def _attempt(
    rng: Random, step: int, split: Split, row: int, group: str, sample: int, chance: float
) -> Attempt:
    luck, number = rng.random(), rng.randrange(100_000)
    thing, town = THINGS[number % 6], TOWNS[number % 9]
    calls = [
        Call("search", f'{{"query":"{thing} {town}"}}', f"invoice {number}, order {number}", "ok"),
        Call(
            "read",
            f'{{"document":"invoice {number}"}}',
            f"{thing} for {town}; {number % 97 + 2} pieces at {number % 89 + 3} euros",
            "ok",
        ),
    ]
    answer = f"{town} ordered {thing} for {number} euros."
    stop, parts, cause, reward = "final_answer", {"accuracy": 0.0, "format": 1.0}, "", None
    if luck < 0.01:
        calls[-1] = calls[-1]._replace(output="", status="fault")
        answer, stop, parts = "", "tool_fault", {}
        cause = "tool read answered 502 four times"
    elif luck < 0.03:
        calls = [calls[0]] * 4
        answer, stop, reward, parts = "", "tool_loop", 0.0, {"accuracy": 0.0, "format": 0.0}
    else:
        if luck < 0.4:
            calls.append(Call("calculate", f'{{"expression":"{number}*{row}"}}', "n/a", "ok"))
        if luck < 0.06:
            calls[-1] = calls[-1]._replace(output="the expression is too long", status="tool_error")
        if number % 1000 == 0:
            answer = f"{answer[:-1]}, paid in {RARE}."
        parts["accuracy"] = float(rng.random() < chance)
        parts["format"] = 1.0 if luck < 0.95 else 0.5
        reward = round(0.8 * parts["accuracy"] + 0.2 * parts["format"], 3)
    turns = len(calls) + bool(answer)
    return Attempt(
        uid=f"{split[0]}{step}-r{row}-{sample}",
        split=split,
        row=row,
        group=group,
        sample=sample,
        calls=tuple(calls),
        answer=answer,
        stop=stop,
        reward=reward,
        parts=parts,
        cause=cause,
        turn_tokens=tuple(24 + (number >> at) % 40 for at in range(turns)),
        seconds=0.4 * turns + luck,
    )


def body(made: Attempt) -> Trajectory:
    """The trajectory as the sampler and the grader leave it, before credit is assigned."""
    kinds, logprobs, turns = [0] * PROMPT_TOKENS, [0.0] * PROMPT_TOKENS, []
    for index, tokens in enumerate(made.turn_tokens):
        start = len(kinds)
        calls = [_tool_call(made, index)] if index < len(made.calls) else []
        results = RESULT_TOKENS * len(calls)
        kinds += [1] * tokens + [2] * results
        logprobs += [-0.25] * tokens + [0.0] * results
        text = made.answer if not calls else f"<tool_call>{calls[0].arguments}</tool_call>"
        turns.append(
            Turn(
                index=index,
                start=start,
                end=start + tokens,
                text=text,
                reasoning="First the archive, then the sum." if calls else "",
                content="" if calls else text,
                calls=calls,
                seconds=0.4,
            )
        )
    return Trajectory(
        uid=made.uid,
        row=made.row,
        group=made.group,
        sample=made.sample,
        split=made.split,
        trace_id=f"trace_{zlib.crc32(made.uid.encode()):032x}",
        ids=list(range(len(kinds))),
        logprobs=logprobs,
        entropies=[-2 * each for each in logprobs],
        kinds=kinds,
        turns=turns,
        stop=StopReason(made.stop),
        reward=made.reward,
        parts=made.parts,
        grading={"seconds": 0.01, "raw_reward": made.reward, "stdout": "checked"},
        cause=made.cause,
        seconds=made.seconds,
    )


def _tool_call(made: Attempt, index: int) -> ToolCall:
    call = made.calls[index]
    return ToolCall(
        id=f"call_{index}",
        name=call.name,
        arguments=call.arguments,
        output=call.output or None,
        status=call.status,
        http_status={"ok": 200, "tool_error": 400, "fault": 502}[call.status],
        attempts=4 if call.status == "fault" else 1,
        seconds=0.05,
        bytes_sent=300 + len(call.arguments),
        bytes_received=len(call.output),
        error="502 four times" if call.status == "fault" else "",
    )


LONG_TURNS = 200
LONG_BYTES = 1_000_000


def long_attempt(step: int, row: int) -> Trajectory:
    """200 turns with a megabyte of text in their calls and answers."""
    each = LONG_BYTES // LONG_TURNS
    line = "item 17, 4 pieces at 12 euros, sent to Delft; "
    text = line * (each // len(line) + 1)
    calls = tuple(
        Call("read", f'{{"document":"page {at}"}}', f"{at}: {text}", "ok")
        for at in range(LONG_TURNS - 1)
    )
    made = Attempt(
        uid=f"t{step}-long",
        split="train",
        row=row,
        group=f"train-{step}-long",
        sample=0,
        calls=calls,
        answer=LONG_END,
        stop="final_answer",
        reward=0.2,
        parts={"accuracy": 0.0, "format": 1.0},
        cause="",
        turn_tokens=(60,) * LONG_TURNS,
        seconds=90.0,
    )
    return body(made)
