"""What the engine of a playground is told: the task, and where the files of its models are."""

from __future__ import annotations

import shutil
from typing import Any

from jobs.engine import spec
from jobs.errors import CannotStart
from jobs.models import BaseModel, Checkpoint, Run, Tryout, run_folder
from jobs.selectors.engine_fields import adapter_start, engine_fields
from jobs.services import artifacts
from jobs.supervisor.base_models import model_path

FETCHED = "start-"
"""How folders of checkpoints begin that were fetched from the file storage."""


def playground_spec(run: Run) -> spec.PlaygroundSpec:
    """Files of sides that are done already are not looked for."""
    tryout = Tryout.objects.get(job=run.job_id)
    chosen = {tool["name"] for tool in run.job.spec["tools"]}
    offered = tryout.item.get("tools") or ()
    return spec.PlaygroundSpec(
        row=tryout.row or 0,
        item=tryout.item,
        tools=tuple(each for each in offered if each["function"]["name"] in chosen),
        sides=tuple(
            _side(run, place, frozen) if place > run.last_step else spec.SideSpec(model_path="")
            for place, frozen in enumerate(run.job.spec["sides"])
        ),
    )


def tidy(run_id: str) -> None:
    """Remove the checkpoints that were fetched: their own job has them."""
    for path in run_folder(run_id).glob(f"{FETCHED}*"):
        shutil.rmtree(path, ignore_errors=True)


def _side(run: Run, place: int, frozen: dict[str, Any]) -> spec.SideSpec:
    model = BaseModel.objects.filter(pk=frozen["base_model"]).first()
    if model is None:
        raise CannotStart(
            "model_gone", f"The base model of {frozen['name']} was removed. Choose another model."
        )
    start = frozen["start"]
    path = _fetched(run, place, frozen) if start else ""
    fields = engine_fields(frozen["engine"], start=adapter_start(start, path))
    return spec.SideSpec(
        model_path=model_path(model),
        model_name=model.source if model.is_hub else model.name,
        lora=fields["lora"],
    )


def _fetched(run: Run, place: int, frozen: dict[str, Any]) -> str:
    """The checkpoint's folder on this machine."""
    point = Checkpoint.objects.filter(pk=frozen["checkpoint"], available=True).first()
    into = run_folder(run.pk) / f"{FETCHED}{place}"
    folder = point and artifacts.borrow_folder(point.run_id, point.path, into=into)
    if not folder:
        raise CannotStart(
            "checkpoint_gone",
            f"The checkpoint {frozen['name']} is gone: removed, or set aside as damaged. Choose "
            "another one.",
        )
    return str(folder)
