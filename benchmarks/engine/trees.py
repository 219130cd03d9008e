"""The learner's padded forward and backward against the one that computes shared tokens once.

`python -m benchmarks.engine.trees`: groups of siblings that were really sampled on the ledger
desk, behind prompts of 200, 800 and 1,500 tokens. Both ways pack with the learner's own limits for
a CPU, and alternate. A tree also leaves out what nothing reads of the last layer, which the padded
form computes, as trainers do.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch

from benchmarks.engine.parity import active_policy, logprobs, sampled
from benchmarks.engine.siblings import behind_prompt, prompt_tokens, with_advantages
from benchmarks.engine.tool_server import serving
from jobs.engine.learning.model import Policy
from jobs.engine.learning.packing import computed_length, pack
from jobs.engine.learning.tree import pack_trees
from jobs.engine.learning.update import CPU_BATCH_TOKENS, CPU_ROW_TOKENS
from jobs.engine.types import Trajectory

SHAPES = ((200, 8), (800, 8), (1500, 16))
"""Tokens of the prompt, siblings."""
TASKS = 2
REPEATS = 2


@dataclass(frozen=True)
class TreeRow:
    """One shape: seconds a group, forward and backward, medians."""

    prompt: int
    siblings: int
    after: float
    """Tokens after the prompt, a mean over the rollouts."""
    turns: float
    padded_s: float
    tree_s: float

    @property
    def ratio(self) -> float:
        return self.padded_s / self.tree_s


def measure(policy: Policy, members: Sequence[Trajectory], prompt: int, size: int) -> TreeRow:
    groups = [
        behind_prompt(members[place : place + size], prompt, policy.model.config.vocab_size)
        for place in range(0, len(members), size)
    ]
    pairs = [
        (_timed(policy, groups, _padded), _timed(policy, groups, _shared))
        for _ in range(REPEATS + 1)
    ][1:]
    return TreeRow(
        prompt=prompt,
        siblings=size,
        after=statistics.fmean(computed_length(m) - prompt for group in groups for m in group),
        turns=statistics.fmean(len(member.turns) for member in members),
        padded_s=statistics.median(padded for padded, _ in pairs) / len(groups),
        tree_s=statistics.median(tree for _, tree in pairs) / len(groups),
    )


def _padded(group: Sequence[Trajectory]) -> Sequence[Any]:
    return pack(group, token_budget=CPU_BATCH_TOKENS)


def _shared(group: Sequence[Trajectory]) -> Sequence[Any]:
    return pack_trees(group, token_budget=CPU_BATCH_TOKENS, row_tokens=CPU_ROW_TOKENS)


def _timed(
    policy: Policy,
    groups: Sequence[Sequence[Trajectory]],
    packed: Callable[[Sequence[Trajectory]], Sequence[Any]],
) -> float:
    """Packing, forward, policy gradient, backward; one group after the other."""
    begun = time.perf_counter()
    for group in groups:
        for batch in packed(group):
            logprobs_N, _ = logprobs(policy, batch)
            (logprobs_N * batch.advantages_N).sum().backward()
        for _, parameter in policy.trainable:
            parameter.grad = None
    return time.perf_counter() - begun


def main() -> None:
    torch.set_num_threads(1)
    with serving(0) as port:
        policy = active_policy(port)
        widest = max(size for _, size in SHAPES)
        members = with_advantages(sampled(policy, port, groups=TASKS, size=widest))
    rows = []
    for prompt, size in SHAPES:
        taken = [
            member
            for place in range(0, len(members), widest)
            for member in members[place : place + size]
        ]
        assert all(prompt_tokens(member) for member in taken)
        rows.append(measure(policy, taken, prompt, size))
    print(json.dumps([asdict(row) for row in rows]))


if __name__ == "__main__":
    main()
