"""Where a base model's files are on this machine."""

from __future__ import annotations

from pathlib import Path

from jobs.errors import CannotStart
from jobs.models import BaseModel, BaseModelStatus


def model_path(model: BaseModel) -> str:
    """Its folder; CannotStart where it is not here."""
    if model.status != BaseModelStatus.READY or not Path(model.folder).is_dir():
        raise CannotStart(
            "model_gone",
            f"The base model {model.name} is not on this machine ({model.folder or model.source}). "
            "The operator adds it with `manage.py add_base_model`; then clone the job.",
        )
    return model.folder
