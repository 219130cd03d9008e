"""A fork's first weights: the adapter of another job's checkpoint, verified before it is used."""

from __future__ import annotations

import json
from pathlib import Path

from jobs.engine.errors import RunFailed
from jobs.engine.learning.checkpoint import (
    ADAPTER,
    ADAPTER_CONFIG,
    CheckpointCorrupt,
    parse_state,
    parse_tensors,
    read_checked,
)
from jobs.engine.learning.model import Policy
from jobs.engine.spec import AdapterStart, LoraSpec


def load_start(policy: Policy, lora: LoraSpec, start: AdapterStart) -> None:
    """Put the adapter of `start` into the policy; RunFailed unless it is whole and fits exactly.

    The folder is another job's, so it is left as it is, whatever is found.
    """
    path = Path(start.path)
    try:
        files = read_checked(path, start.manifest_sha256)
        base = parse_state(path, files).base_sha256
        config = json.loads(files.get(ADAPTER_CONFIG, b"{}"))
        tensors = parse_tensors(path, ADAPTER, files)
    except CheckpointCorrupt as error:
        raise RunFailed(
            "start_unusable",
            f"the checkpoint of step {start.step} of {start.job} cannot be begun with: "
            f"{error.file} is missing or damaged. Choose another checkpoint.",
        ) from error
    if base != policy.base_sha256:
        raise RunFailed(
            "start_mismatch",
            f"the checkpoint of step {start.step} of {start.job} belongs to another base model "
            f"({base[:12]}, expected {policy.base_sha256[:12]})",
        )
    found, wanted = (config.get("r"), config.get("lora_alpha")), (lora.rank, lora.alpha)
    if found != wanted:
        # Another alpha would scale the same matrices to another model, without any error.
        raise RunFailed(
            "start_mismatch",
            f"the checkpoint of step {start.step} of {start.job} has LoRA rank {found[0]} and "
            f"alpha {found[1]}, where rank {wanted[0]} and alpha {wanted[1]} are asked for",
        )
    policy.adapter_load(tensors)
