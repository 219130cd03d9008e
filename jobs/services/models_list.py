"""The operator's list of base models: add, inspect, download."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any
from urllib.parse import quote

from django.conf import settings
from django.db import transaction
from django.db.models import Q
from django.db.models.functions import Now

from hone.accounts.services import audit_record
from hone.core import text
from hone.core.errors import UserError
from jobs.models import BaseModel, BaseModelStatus
from jobs.models.clock import seconds_from_now
from jobs.services.bell import DOWNLOAD, ring_download, send
from jobs.services.request import Asked

HUB_ID = re.compile(r"[A-Za-z0-9][\w.\-]*/[A-Za-z0-9][\w.\-]*")
LONGEST_REVISION = 100
STILL_S = 60.0
"""A download that did not move for so long has lost its worker."""
CONTEXT_KEYS = ("max_position_embeddings", "n_positions", "max_sequence_length")


def base_model_add(*, name: str, source: str, revision: str = "") -> BaseModel:
    """Add a local folder, checked now, or a hub id, downloaded in the background.

    The same name, source and revision as of a failed download: it is tried again.
    """
    name = text.name(name)
    source = text.storable(source.strip(), field="model")
    revision = _revision(revision)
    if (taken := BaseModel.objects.filter(name=name).first()) is not None:
        if taken.status != BaseModelStatus.FAILED or taken.source != source:
            raise UserError(
                f"A base model is called {name!r} already. Use another name.", field="name"
            )
        return base_model_retry(model=taken, revision=revision)
    folder = Path(source).expanduser()
    if folder.is_dir():
        return BaseModel.objects.create(
            name=name, source=source, folder=str(folder.resolve()), **model_facts(folder)
        )
    if not HUB_ID.fullmatch(source):
        raise UserError(
            f"{source!r} is neither a folder on this machine nor a hub id such as "
            "`organisation/model`.",
            code="model_unknown",
            field="model",
        )
    with transaction.atomic():
        model = BaseModel.objects.create(
            name=name,
            source=source,
            revision=revision,
            is_hub=True,
            status=BaseModelStatus.DOWNLOADING,
            message="Waiting for a worker.",
        )
        BaseModel.objects.filter(pk=model.pk).update(progress_at=Now())
        ring_download(model.pk)
    return model


def base_model_retry(
    *, model: BaseModel, revision: str | None = None, asked: Asked | None = None
) -> BaseModel:
    """Download again what failed; what is there already is kept. The operator is not `asked`."""
    fields = {
        "status": BaseModelStatus.DOWNLOADING,
        "message": "Trying again: waiting for a worker.",
        "revision": model.revision if revision is None else revision,
    }
    with transaction.atomic():
        failed = BaseModel.objects.filter(pk=model.pk, status=BaseModelStatus.FAILED)
        if not failed.update(**fields, progress_at=Now()):
            raise UserError(f"{model.name} did not fail, so there is nothing to try again.")
        if asked is not None:
            audit_record(
                acting_user=asked.acting_user,
                organisation=asked.organisation,
                action="base_model.retry",
                target=model.name,
            )
        ring_download(model.pk)
    model.refresh_from_db()
    return model


def base_model_enable(*, name: str, enabled: bool) -> None:
    """Offer a model to new jobs, or not; running jobs go on."""
    if not BaseModel.objects.filter(name=name).update(enabled=enabled):
        raise UserError(f"No base model is called {name!r}.", field="name")


def base_models_ring() -> int:
    """Ring for downloads that stand still: their worker is gone, or was never told of them."""
    loading = BaseModel.objects.filter(status=BaseModelStatus.DOWNLOADING)
    still = loading.filter(Q(progress_at=None) | Q(progress_at__lt=seconds_from_now(-STILL_S)))
    rung = 0
    for model_id in list(still.values_list("pk", flat=True)):
        # Of several sweepers, the one that moves the time rings.
        if still.filter(pk=model_id).update(progress_at=Now()):
            rung += send(DOWNLOAD, model_id)
    return rung


def base_model_progress(model_id: int, *, done: int, total: int, message: str) -> None:
    """Show how far a download is."""
    loading = BaseModel.objects.filter(pk=model_id, status=BaseModelStatus.DOWNLOADING)
    loading.update(bytes_done=done, bytes_total=total, message=message, progress_at=Now())


def base_model_ready(model_id: int, folder: Path) -> None:
    """The download is whole; raises UserError where the files cannot be used."""
    facts = model_facts(folder)
    loading = BaseModel.objects.filter(pk=model_id, status=BaseModelStatus.DOWNLOADING)
    loading.update(status=BaseModelStatus.READY, folder=str(folder), message="", **facts)


def base_model_fail(model_id: int, message: str) -> None:
    """The download cannot go on; the message says why and what to do."""
    loading = BaseModel.objects.filter(pk=model_id, status=BaseModelStatus.DOWNLOADING)
    loading.update(status=BaseModelStatus.FAILED, message=message)


def hub_folder(source: str, revision: str) -> Path:
    """Where the files of a hub id are kept; each revision has a folder of its own."""
    name = source.replace("/", "--")
    return (
        Path(settings.DATA_DIR) / "models" / (f"{name}@{quote(revision, '')}" if revision else name)
    )


def _revision(revision: str) -> str:
    revision = text.storable(revision.strip(), field="revision")
    if len(revision) > LONGEST_REVISION:
        raise UserError(
            f"The revision has {len(revision)} characters; at most {LONGEST_REVISION} fit.",
            field="revision",
        )
    return revision


def model_facts(folder: Path) -> dict[str, Any]:
    """Architecture, size and context of a model folder; refuses what the engine could not load."""
    config = _json(folder / "config.json", "config.json")
    if "auto_map" in config:
        raise UserError(
            f"{folder} brings code of its own (auto_map in config.json), which is never run. Use a "
            "model whose architecture transformers knows.",
            code="remote_code",
            field="model",
        )
    weights = weight_files(folder)
    if not weights:
        raise UserError(
            f"{folder} has no .safetensors files. Other formats are never loaded: convert it.",
            code="no_safetensors",
            field="model",
        )
    _json(folder / "tokenizer.json", "tokenizer.json")
    nested = config.get("text_config") or {}
    context = next((c[key] for c in (config, nested) for key in CONTEXT_KEYS if key in c), None)
    return {
        "architecture": str((config.get("architectures") or ["?"])[0])[:100],
        "parameters": sum(_parameters(file) for file in weights),
        "context_length": context if isinstance(context, int) else None,
    }


def is_weights(name: str) -> bool:
    """Whether a file holds weights that are loaded: `consolidated` ones are those of the shards
    beside them once more, in a layout that transformers does not read."""
    return name.endswith(".safetensors") and not name.startswith("consolidated")


def weight_files(folder: Path) -> list[Path]:
    """The files that transformers loads: one file, else the shards of the index."""
    if (single := folder / "model.safetensors").is_file():
        return [single]
    index = folder / "model.safetensors.index.json"
    if not index.is_file():
        return sorted(path for path in folder.glob("*.safetensors") if is_weights(path.name))
    shards = _json(index, index.name).get("weight_map")
    names = set(shards.values()) if isinstance(shards, dict) else set()
    missing = sorted(str(name) for name in names if not (folder / str(name)).is_file())
    if missing:
        raise UserError(
            f"{folder} lacks {missing[0]}, which {index.name} lists. Copy the whole model.",
            code="no_safetensors",
            field="model",
        )
    return sorted(folder / str(name) for name in names)


def _json(path: Path, name: str) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise UserError(
            f"{path.parent} has no readable {name} ({error}). A model folder holds config.json, "
            "tokenizer.json and .safetensors files.",
            code="no_model",
            field="model",
        ) from error
    if not isinstance(found, dict):
        raise UserError(f"{name} in {path.parent} is no JSON object.", code="no_model")
    return found


def _parameters(file: Path) -> int:
    """How many numbers a safetensors file holds, from its header alone."""
    with file.open("rb") as opened:
        length = int.from_bytes(opened.read(8), "little")
        if length > 100 * 1024 * 1024:
            raise UserError(f"The header of {file} claims {length} bytes.", code="no_safetensors")
        try:
            header = json.loads(opened.read(length))
        except ValueError as error:
            raise UserError(
                f"{file} is no safetensors file ({error}).", code="no_safetensors"
            ) from error
    total = 0
    for name, tensor in header.items():
        if name == "__metadata__":
            continue
        size = 1
        for extent in tensor["shape"]:
            size *= extent
        total += size
    return total
