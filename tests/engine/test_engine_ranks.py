"""One step over two processes of torchrun is the step of one process."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
import torch

from jobs.engine.ranks import owners
from jobs.engine.received import log_ratios
from jobs.engine.spec import DataSpec, JobSpec, LoraSpec, LossSpec
from jobs.engine.types import Received, StopReason, Trajectory
from tests.engine.spread import Asked, learnt

ROOT = Path(__file__).parents[2]
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": f"{ROOT / 'platform'}:{ROOT}"}


def rollout(group, sample, length, advantage):
    generator = torch.Generator().manual_seed(100 * group + sample)
    prompt = [7, 8, 9, 10]
    sampled = torch.randint(0, 256, (length,), generator=generator).tolist()
    return Trajectory(
        uid=f"{group}-{sample}",
        row=0,
        group=str(group),
        sample=sample,
        split="train",
        trace_id="t",
        ids=prompt + sampled,
        logprobs=[0.0] * 4 + [-5.0] * length,
        entropies=[0.0] * (4 + length),
        kinds=[0] * 4 + [1] * length,
        reward=1.0,
        stop=StopReason.FINAL_ANSWER,
        advantage=advantage,
        trained=True,
    )


@pytest.fixture
def asked(tiny_model_dir):
    data = DataSpec(path="none.jsonl")
    spec = JobSpec(
        run_id="run",
        model_path=str(tiny_model_dir),
        device="cpu",
        train=data,
        validation=data,
        grader={},
        learning_rate=1e-2,
        lora=LoraSpec(rank=4),
        loss=LossSpec(kl_weight=0.1),
    )
    sizes = [(0, 9), (0, 30), (1, 17), (1, 5), (2, 40), (2, 12)]
    members = [rollout(g, i, n, (-1.0) ** i * (1 + g)) for i, (g, n) in enumerate(sizes)]
    return Asked(spec, members)


def test_whole_groups_go_to_the_ranks_by_turns():
    assert owners(["b", "b", "a", "c", "a"], 2) == {"b": 0, "a": 1, "c": 0}
    assert owners(["b", "a"], 1) == {"b": 0, "a": 0}


@pytest.mark.slow
def test_two_ranks_take_the_step_of_one_process(asked, tmp_path):
    (tmp_path / "asked.json").write_bytes(msgspec.json.encode(asked))
    spread = [*TORCHRUN, "-m", "tests.engine.spread", str(tmp_path)]
    subprocess.run(spread, check=True, cwd=ROOT, env=ENVIRONMENT, timeout=240)
    alone, report = learnt(asked)
    first, second = (torch.load(tmp_path / f"rank{index}.pt") for index in (0, 1))
    assert torch.equal(first["gradient"], second["gradient"])
    assert (alone - first["gradient"]).norm() <= 1e-6 * alone.norm()
    assert first["report"]["tokens_trained"] == report.tokens_trained == 113
    for name in ("loss", "entropy", "mismatch_kl", "kl_to_base", "grad_norm", "audit_received"):
        assert first["report"][name] == pytest.approx(getattr(report, name), rel=1e-4), name
    assert first["report"] == second["report"]
    assert first["received"] == second["received"]
    received = msgspec.json.decode(first["received"], type=list[Received])
    # The groups of one rank are rows 0, 2, …, those of the other 1, 3, ….
    assert [one.row % 2 for one in received] == [0, 0, 1, 1, 0, 0]
    for member, one in zip(asked.trajectories, received, strict=True):
        assert (
            one.total
            == member.received.total
            == pytest.approx(member.advantage * (member.trained_tokens))
        )
        spread_ratios = log_ratios(msgspec.structs.replace(member, received=one))
        assert spread_ratios == pytest.approx(log_ratios(member), abs=1e-5, rel=2e-3)
