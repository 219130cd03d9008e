"""Rollouts without tokens, for credit by hand."""

from __future__ import annotations

from jobs.engine.types import StopReason, ToolCall, Trajectory, Turn


def rollout(uid, reward, *moves, group="g", row=0, stop=StopReason.FINAL_ANSWER):
    """A move is an answer's text, or a call as (arguments, output)."""
    turns = []
    for index, move in enumerate(moves):
        turn = Turn(index=index, start=index, end=index + 1, text="")
        if isinstance(move, str):
            turn.content = move
        else:
            arguments, output = move
            turn.calls = [ToolCall(id=f"c{index}", name="f", arguments=arguments, output=output)]
        turns.append(turn)
    return Trajectory(
        uid=uid,
        row=row,
        group=group,
        sample=0,
        split="train",
        trace_id="t",
        ids=[],
        logprobs=[],
        entropies=[],
        kinds=[],
        turns=turns,
        stop=stop,
        reward=reward,
    )
