"""The model card of a checkpoint: what the engine writes for an adapter, made without torch."""

from __future__ import annotations

import msgspec

from jobs.engine.model_card import model_card
from jobs.engine.spec import DataSpec, JobSpec, ToolSpec
from jobs.models import Checkpoint, Job
from jobs.selectors.engine_fields import adapter_start, engine_fields


class _State(msgspec.Struct, frozen=True):
    """What a card tells of the engine's training state."""

    step: int
    base_sha256: str
    evaluations: dict[str, float]


def checkpoint_card(checkpoint: Checkpoint, state: bytes) -> str:
    """The card of a checkpoint whose `state.json` is given."""
    job = Job.objects.select_related("base_model").get(runs=checkpoint.run_id)
    told = msgspec.json.decode(state, type=_State)
    return model_card(_spec(job, checkpoint.run_id), told, checkpoint.step, proved=False)


def _spec(job: Job, run_id: str) -> JobSpec:
    """The run's spec without its data and grader: a card tells of neither, and they may be gone."""
    untold = DataSpec(path="")
    model = job.base_model
    return JobSpec(
        run_id=run_id,
        seed=job.seed,
        model_path=model.folder,
        model_name=model.source if model.is_hub else model.name,
        train=untold,
        validation=untold,
        grader={},
        tools=tuple(ToolSpec(**tool) for tool in job.spec["tools"]),
        **engine_fields(
            job.spec["engine"],
            job.spec.get("turn_rewards"),
            adapter_start(job.spec.get("start")),
        ),
    )
