"""What both sides have in common: the ledger desk, the demo's model, and every setting.

A setting that only one side has is written down where that side is set up.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hone.demo.base_model import WEIGHTS
from hone.demo.world.tasks import grader_spec, training_rows, validation_rows
from hone.demo.world.tools import definitions
from jobs.engine.spec import Budgets, DataSpec, Handshake, JobSpec, LoraSpec, ToolSpec
from jobs.engine.tasks import TaskOrder

MODEL = str(WEIGHTS)
GROUPS = 8
GROUP_SIZE = 8
ROLLOUTS = GROUPS * GROUP_SIZE
SEED = 42
TEMPERATURE = 1.0
LORA = LoraSpec(rank=16, alpha=32)
TOOL_ROUNDS = 10
TURN_TOKENS = 64
COMPLETION_TOKENS = 768
"""Everything after the prompt: sampled tokens, tool results and the template around them."""
TOTAL_TOKENS = 1024
LEARNING_RATE = 5e-4
STANDING_STILL = 1e-12
"""A learning rate that changes no weight, so that every measured step does the same work."""
VALIDATION_ROWS = 100


def tasks_in_order(count: int) -> list[dict[str, Any]]:
    """The first tasks that Hone draws with this seed, so that TRL gets the same ones."""
    rows = list(training_rows())
    order = TaskOrder(len(rows), SEED)
    return [rows[order.index(place)] for place in range(count)]


def tool_specs(port: int) -> tuple[ToolSpec, ...]:
    """The ledger desk's tools at that port."""
    return tuple(
        ToolSpec(
            name=tool["function"]["name"],
            url=f"http://127.0.0.1:{port}/{tool['function']['name']}",
            description=tool["function"]["description"],
            parameters=tool["function"]["parameters"],
            effects="none",
            max_concurrency=ROLLOUTS,
        )
        for tool in definitions()
    )


def budgets() -> Budgets:
    """TRL counts rounds of tools, and its last turn comes on top of them."""
    return Budgets(
        max_turns=TOOL_ROUNDS + 1,
        max_tool_calls=TOOL_ROUNDS,
        max_turn_tokens=TURN_TOKENS,
        max_sampled_tokens=COMPLETION_TOKENS,
        max_total_tokens=TOTAL_TOKENS,
    )


def job_spec(port: int, folder: Path, **changes: Any) -> JobSpec:
    """A job on the ledger desk; its data are written to `folder`."""
    return JobSpec(
        **{
            "run_id": "bench",
            "seed": SEED,
            "model_path": MODEL,
            "device": "cpu",
            "train": _data(folder / "train.jsonl", list(training_rows())),
            "validation": _data(
                folder / "validation.jsonl", list(validation_rows(count=VALIDATION_ROWS))
            ),
            "tools": tool_specs(port),
            "grader": grader_spec(),
            "budgets": budgets(),
            "groups_per_step": GROUPS,
            "group_size": GROUP_SIZE,
            "temperature": TEMPERATURE,
            "lora": LORA,
            **changes,
        }
    )


def _data(path: Path, rows: Sequence[dict[str, Any]]) -> DataSpec:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return DataSpec(path=str(path))


@contextmanager
def handshake(port: int, **changes: Any) -> Iterator[Handshake]:
    """A job in a folder of its own, which is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="hone-bench-") as name:
        folder = Path(name)
        run = folder / "run"
        run.mkdir()
        yield Handshake(
            spec=job_spec(port, folder, **changes),
            run_dir=str(run),
            allow_networks=(f"127.0.0.1:{port}",),
        )
