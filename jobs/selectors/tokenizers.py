"""The tokenizers of the base models that jobs can start from."""

from __future__ import annotations

from pathlib import Path

from hone.datasets.findings.known import KnownModel
from jobs.models import BaseModel, BaseModelStatus

MOST_MODELS = 8


def tokenizers_known() -> list[KnownModel]:
    """Those whose files are here."""
    ready = BaseModel.objects.filter(enabled=True, status=BaseModelStatus.READY)
    return [
        KnownModel(model.name, path, model.context_length)
        for model in ready.order_by("name")[:MOST_MODELS]
        if (path := Path(model.folder) / "tokenizer.json").is_file()
    ]
