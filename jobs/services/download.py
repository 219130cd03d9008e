"""Fetches a base model from the hub: safetensors and tokenizer files only, with progress."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import httpx2
from django.db import DatabaseError
from huggingface_hub import HfApi, hf_hub_download
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.utils.tqdm import tqdm

from hone.core.disk import is_disk_full
from hone.core.errors import UserError
from jobs.models import BaseModel, BaseModelStatus
from jobs.services.models_list import (
    base_model_fail,
    base_model_progress,
    base_model_ready,
    hub_folder,
    is_weights,
)

log = logging.getLogger(__name__)

WANTED = (".safetensors", ".json", ".jinja", ".txt", ".model")
SHOW_S = 1.0
"""How often the row of a model shows the bytes of a file that is on its way."""


def base_model_download(model_id: int) -> None:
    """Fetch the files of a model that waits for it; a failure is a message on its row."""
    model = BaseModel.objects.filter(pk=model_id, status=BaseModelStatus.DOWNLOADING).first()
    if model is None:
        return
    try:
        base_model_ready(model_id, _fetch(model))
    except UserError as error:
        base_model_fail(model_id, error.message)
    except DatabaseError:
        # Not the hub's fault, and no message can be written now: the sweeper rings again.
        raise
    except Exception as error:
        # The hub's clients share no base class, and a model must not wait for ever in silence.
        log.exception("%s was not fetched", model.source)
        base_model_fail(model_id, hub_failure(model.source, model.revision, error))


def _fetch(model: BaseModel) -> Path:
    files = _files(model)
    total, done = sum(size for _, size in files), 0
    target = hub_folder(model.source, model.revision)
    for number, (name, size) in enumerate(files, start=1):
        show = partial(
            base_model_progress,
            model.pk,
            total=total,
            message=f"File {number} of {len(files)}: {name}",
        )
        show(done=done)
        hf_hub_download(
            model.source,
            name,
            revision=model.revision or None,
            local_dir=str(target),
            tqdm_class=_bar(show, done),
        )
        done += size
    return target


def _bar(show: Callable[..., None], before: int) -> type[tqdm]:
    """A progress bar that nobody sees: what it counts goes to the model's row."""

    class Bar(tqdm):
        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **{**options, "disable": True})  # type: ignore[no-untyped-call]
            self.counted = float(options.get("initial") or 0)
            self.shown_at = time.monotonic()

        def update(self, n: float | None = 1) -> None:
            self.counted += n or 0
            if time.monotonic() - self.shown_at >= SHOW_S:
                self.shown_at = time.monotonic()
                show(done=before + int(self.counted))

    return Bar


def _files(model: BaseModel) -> list[tuple[str, int]]:
    info = HfApi().model_info(
        model.source, revision=model.revision or None, files_metadata=True, timeout=30
    )
    found = [(item.rfilename, item.size or 0) for item in info.siblings or []]
    wanted = [
        (name, size)
        for name, size in found
        if "/" not in name
        and name.endswith(WANTED)
        and (is_weights(name) or not name.endswith(".safetensors"))
    ]
    if not any(is_weights(name) for name, _ in wanted):
        raise UserError(
            f"{model.source} has no .safetensors files; other formats are never loaded. "
            "Choose a repository or revision that has them."
        )
    return wanted


def hub_failure(source: str, revision: str, error: Exception) -> str:
    """Why a hub id could not be fetched, and the way out."""
    if is_disk_full(error):
        return (
            f"The disk is full, so {source} was not fetched whole. Free some space in the data "
            "folder of the workers and try again; what is there already is kept."
        )
    match error:
        case GatedRepoError():
            return (
                f"{source} is gated: its owner must grant access. Accept the terms on its page, "
                "then set HF_TOKEN for the workers and try again."
            )
        case RepositoryNotFoundError():
            return f"The hub has no {source}, or it is private. Check the id, or set HF_TOKEN."
        case RevisionNotFoundError():
            return f"{source} has no revision {revision!r}. Leave it out to use the newest."
        case EntryNotFoundError() if not isinstance(error, LocalEntryNotFoundError):
            return f"{source} lacks a file that it lists. Try again, or use another revision."
        case HFValidationError():
            return f"{source!r} is no hub id. One looks like `organisation/model`."
        case HfHubHTTPError():
            return f"The hub answered with an error for {source}: {error}. Try again later."
        case httpx2.HTTPError() | LocalEntryNotFoundError() | ConnectionError() | TimeoutError():
            return (
                f"The hub was not reached for {source} ({_named(error)}). Check the network of the "
                "workers and try again, or copy the model to this machine and add its folder."
            )
    return (
        f"{source} was not fetched ({_named(error)}). Try again; the log of the worker says more, "
        "and a folder on this machine can be added instead."
    )


def _named(error: Exception) -> str:
    said = str(error).strip().splitlines()
    return f"{type(error).__name__}: {said[0]}" if said else type(error).__name__
