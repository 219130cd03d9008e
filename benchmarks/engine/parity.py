"""How far the log-probabilities that a rollout recorded are from those that training computes.

`python -m benchmarks.engine.parity`: ledger desk rollouts with tools, in fp32, with an adapter
that changes the model; then the same tokens through both forwards that the learner has.
"""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks.engine import world
from benchmarks.engine.siblings import with_advantages
from benchmarks.engine.tool_server import serving
from benchmarks.engine.validation import roll_out
from jobs.engine.learning.logprobs import token_logprobs, tree_logprobs
from jobs.engine.learning.model import Policy, load_policy
from jobs.engine.learning.packing import pack
from jobs.engine.learning.tree import TreeBatch, pack_trees
from jobs.engine.rollout.runner import RolloutRequest
from jobs.engine.types import Task, Trajectory

GROUPS = 4
ADAPTER_SCALE = 0.02
"""Of the weights that a fresh adapter has at 0: the policy ends up well away from its base."""
BATCH_TOKENS = 4096
ROW_TOKENS = 1024


def active_policy(port: int) -> Policy:
    """The demo's model with an adapter that is not zero."""
    with tempfile.TemporaryDirectory(prefix="hone-bench-") as folder:
        policy = load_policy(world.job_spec(port, Path(folder)))
    generator = torch.Generator().manual_seed(world.SEED)
    with torch.no_grad():
        for name, parameter in policy.trainable:
            if "lora_B" in name:
                parameter.normal_(0.0, ADAPTER_SCALE, generator=generator)
    return policy


def sampled(policy: Policy, port: int, *, groups: int, size: int) -> list[Trajectory]:
    """Rollouts of the first training tasks, `size` of each."""
    requests = [
        RolloutRequest(Task(row, tuple(item["messages"]), (), item), f"g{row}", place, "train", 1)
        for row, item in enumerate(world.tasks_in_order(groups))
        for place in range(size)
    ]
    return asyncio.run(roll_out(policy.model, policy.tokenizer, port, requests))


@torch.no_grad()
def largest_difference(policy: Policy, members: Sequence[Trajectory]) -> float:
    """Over both forwards, the padded one and that over trees."""
    batches: list[Any] = [
        *pack(members, token_budget=BATCH_TOKENS),
        *pack_trees(members, token_budget=BATCH_TOKENS, row_tokens=ROW_TOKENS),
    ]
    return max(
        float((logprobs(policy, batch)[0] - batch.anchor_N).abs().max()) for batch in batches
    )


def logprobs(policy: Policy, batch: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """What the learner calls for a micro-batch of either form."""
    if isinstance(batch, TreeBatch):
        return tree_logprobs(policy.model, batch, temperature=world.TEMPERATURE)
    return token_logprobs(policy.model, batch.ids_BT, batch.mask_BT, temperature=world.TEMPERATURE)


def main() -> None:
    torch.set_num_threads(1)
    with serving(0) as port:
        policy = active_policy(port)
        members = with_advantages(sampled(policy, port, groups=GROUPS, size=world.GROUP_SIZE))
    found = {
        "difference": largest_difference(policy, members),
        "rollouts": len(members),
        "tokens": sum(member.trained_tokens for member in members),
        "calls": sum(len(member.calls) for member in members),
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
