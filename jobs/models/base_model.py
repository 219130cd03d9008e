"""The operator's list of base models."""

from __future__ import annotations

from typing import ClassVar

from django.db import models


class BaseModelStatus(models.TextChoices):
    """Whether jobs can use a model."""

    READY = "ready", "Ready"
    DOWNLOADING = "downloading", "Downloading"
    FAILED = "failed", "Failed"


class BaseModel(models.Model):
    """A model that jobs may start from: a local folder or a hub id, safetensors only.

    Code that comes with a model is never run. `folder` is where its files are; for a hub id it is
    empty until the download is whole.
    """

    name = models.CharField(max_length=100, unique=True)
    source = models.CharField(max_length=500, help_text="A local folder, or a hub id")
    revision = models.CharField(max_length=100, blank=True)
    is_hub = models.BooleanField(default=False)
    folder = models.CharField(max_length=1000, blank=True)
    enabled = models.BooleanField(default=True)
    status = models.CharField(
        max_length=12, choices=BaseModelStatus.choices, default=BaseModelStatus.READY
    )
    message = models.TextField(blank=True)
    bytes_done = models.BigIntegerField(default=0)
    bytes_total = models.BigIntegerField(default=0)
    progress_at = models.DateTimeField(null=True, help_text="When the download last moved")
    architecture = models.CharField(max_length=100, blank=True)
    parameters = models.BigIntegerField(null=True)
    context_length = models.IntegerField(null=True)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering: ClassVar[list[str]] = ["name"]
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.CheckConstraint(
                condition=models.Q(status__in=BaseModelStatus.values), name="known_model_status"
            ),
            models.CheckConstraint(
                condition=~models.Q(status=BaseModelStatus.READY) | ~models.Q(folder=""),
                name="ready_model_has_folder",
            ),
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def progress(self) -> float | None:
        """Share of the download that is done; None where the size is unknown."""
        return self.bytes_done / self.bytes_total if self.bytes_total else None
