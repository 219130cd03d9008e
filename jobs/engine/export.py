"""Exports the best adapter, and proves in a clean process that it is the model that was trained."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import random
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import torch

from jobs.engine.errors import RunFailed
from jobs.engine.events import AdapterRef
from jobs.engine.learning.checkpoint import (
    ADAPTER,
    ADAPTER_CONFIG,
    TrainingState,
    folder_bytes,
    folder_name,
    publish_folder,
    read_verified,
)
from jobs.engine.learning.logprobs import token_logprobs
from jobs.engine.learning.model import Policy
from jobs.engine.learning.packing import pack
from jobs.engine.model_card import model_card
from jobs.engine.reporting import read_bodies
from jobs.engine.saving import Saver
from jobs.engine.spec import Handshake
from jobs.engine.types import TokenKind, Trajectory

PROOF_TRAJECTORIES = 8
STAND_IN_TOKENS = 64
BOUNDS = {torch.float32: 1e-4, torch.bfloat16: 5e-2}
"""In bf16 another order of the same sums moves a log-probability by up to about 0.02."""


async def export_adapter(
    handshake: Handshake, state: TrainingState, saver: Saver, policy: Policy
) -> AdapterRef:
    """The checkpoint with the best validation reward (of equals, the latest) as `adapter/`."""
    step = saver.load_best(state)
    saved = read_verified(saver.checkpoint_path(step))
    members = proof_trajectories(saver.run_dir, step) or [stand_in(policy)]
    proof = make_proof(handshake, policy, members)
    files = {
        ADAPTER: saved[ADAPTER],
        ADAPTER_CONFIG: saved[ADAPTER_CONFIG],
        "README.md": model_card(handshake.spec, state, step).encode(),
        "proof.json": msgspec.json.encode(proof),
    }
    candidate = saver.run_dir / "adapter.candidate"
    publish_folder(candidate, files, step=step)
    try:
        worst, tokens, from_base = await prove(candidate, handshake.spec.model_path)
    finally:
        shutil.rmtree(candidate, ignore_errors=True)
    check_proof(worst, tokens, policy.dtype)
    proof |= {
        "max_abs_diff": worst,
        "tokens": tokens,
        "bound": BOUNDS[policy.dtype],
        "max_abs_diff_from_base": from_base,
    }
    files["proof.json"] = msgspec.json.encode(proof)
    final = saver.run_dir / "adapter"
    publish_folder(final, files, step=step)
    return AdapterRef(
        step=step,
        path=final.name,
        sha256=hashlib.sha256(files[ADAPTER]).hexdigest(),
        bytes=folder_bytes(final),
        proof_max_abs_logprob_diff=worst,
        proof_tokens=tokens,
        base_max_abs_logprob_diff=from_base,
    )


def check_proof(worst: float, tokens: int, dtype: torch.dtype) -> None:
    bound = BOUNDS[dtype]
    if not worst <= bound or tokens == 0:
        raise RunFailed(
            "adapter_mismatch",
            f"the exported adapter is not the trained model: over {tokens} tokens its "
            f"log-probabilities differ by up to {worst:.2e}, and {bound:.0e} is allowed. The "
            "checkpoints are untouched; please report this.",
        )


def proof_trajectories(run_dir: Path, step: int) -> list[Trajectory]:
    """The first few validation rollouts that were recorded with this checkpoint's weights."""
    files = sorted((run_dir / "trajectories").glob(f"{folder_name(step)}.e*.zst"))
    recorded = read_bodies(files[-1]) if files else []
    usable = [member for member in recorded if member.trained_tokens]
    usable.sort(key=lambda member: member.split != "validation")
    return usable[:PROOF_TRAJECTORIES]


def stand_in(policy: Policy) -> Trajectory:
    """Arbitrary tokens, for a step of which no sampled token is at hand.

    A step may have sampled nothing, or its rollouts lie on another machine; two models differ on
    any text.
    """
    dice = random.Random(STAND_IN_TOKENS)
    vocabulary = policy.model.get_input_embeddings().num_embeddings
    ids = [dice.randrange(vocabulary) for _ in range(STAND_IN_TOKENS)]
    nothing = [0.0] * STAND_IN_TOKENS
    return Trajectory(
        uid="stand-in",
        row=0,
        group="",
        sample=0,
        split="validation",
        trace_id="",
        ids=ids,
        logprobs=nothing,
        entropies=nothing,
        kinds=[int(TokenKind.SAMPLED)] * STAND_IN_TOKENS,
    )


def make_proof(
    handshake: Handshake, policy: Policy, members: Sequence[Trajectory]
) -> dict[str, Any]:
    """What the trainer itself says about some trajectories, with all that a check needs."""
    temperature = handshake.spec.temperature
    cases: list[dict[str, Any]] = []
    for member in members:
        (batch,) = pack([member], token_budget=len(member.ids))
        on_device = batch.to(policy.device)
        with torch.no_grad():
            logprobs_N, _ = token_logprobs(
                policy.model, on_device.ids_BT, on_device.mask_BT, temperature=temperature
            )
        cases.append(
            {
                "uid": member.uid,
                "ids": member.ids,
                "places": batch.mask_BT[0].nonzero().flatten().tolist(),
                "logprobs": logprobs_N.tolist(),
            }
        )
    return {
        "base_model": handshake.spec.base_name,
        "base_sha256": policy.base_sha256,
        "dtype": str(policy.dtype).removeprefix("torch."),
        "device": policy.device.type,
        "temperature": temperature,
        "trajectories": cases,
    }


async def prove(folder: Path, model_path: str) -> tuple[float, int, float]:
    """Run `jobs.engine.prove` in a process of its own, on the base model at `model_path`."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "jobs.engine.prove",
        str(folder),
        model_path,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )
    try:
        output, errors = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
    if process.returncode != 0:
        last = errors.decode(errors="replace").strip().splitlines()[-1:]
        raise RunFailed(
            "adapter_mismatch",
            f"the exported adapter could not be loaded by PEFT: {''.join(last)}",
        )
    answer = json.loads(output.splitlines()[-1])
    from_base = float(answer["max_abs_diff_from_base"])
    return float(answer["max_abs_diff"]), int(answer["tokens"]), from_base
