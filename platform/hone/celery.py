"""The Celery application. A task is a doorbell: it carries ids; the truth is in the database."""

from __future__ import annotations

import os
from typing import Any

from celery import Celery

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "hone.settings")

from django.conf import settings  # noqa: E402


def _transport() -> dict[str, Any]:
    """Options of the broker without a server: messages are files, polled ten times a second."""
    if not settings.BROKER_URL.startswith("filesystem"):
        return {}
    folders = {
        "data_folder_in": settings.BROKER_FOLDER / "messages",
        "data_folder_out": settings.BROKER_FOLDER / "messages",
        "processed_folder": settings.BROKER_FOLDER / "processed",
        "control_folder": settings.BROKER_FOLDER / "control",
    }
    for folder in folders.values():
        folder.mkdir(parents=True, exist_ok=True)
    return {
        **{name: str(folder) for name, folder in folders.items()},
        "store_processed": False,
        "polling_interval": 0.1,
    }


app = Celery("hone")
app.conf.update(
    broker_url=settings.BROKER_URL,
    broker_transport_options=_transport(),
    broker_connection_retry_on_startup=True,
    accept_content=["json"],
    task_serializer="json",
    task_ignore_result=True,
    task_acks_late=False,
    task_default_queue="default",
    task_routes={"jobs.train": {"queue": "train"}},
    worker_prefetch_multiplier=1,
    worker_hijack_root_logger=False,
    timezone="UTC",
)
app.autodiscover_tasks()
