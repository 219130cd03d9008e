"""Datasets and their immutable versions. The bytes are in file storage."""

from __future__ import annotations

from typing import Any, ClassVar

from django.conf import settings
from django.db import models

from hone.accounts.models import Organisation
from hone.core.ids import new_id


def dataset_id() -> str:
    return new_id("ds")


def version_id() -> str:
    return new_id("dsv")


class Dataset(models.Model):
    """A named set of tasks; its content is in its versions."""

    id = models.CharField(primary_key=True, max_length=40, default=dataset_id, editable=False)
    organisation = models.ForeignKey(
        Organisation, on_delete=models.PROTECT, related_name="datasets"
    )
    name = models.CharField(max_length=100)
    archived = models.BooleanField(default=False)
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True, related_name="+"
    )
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering: ClassVar[list[str]] = ["name", "id"]
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(
                fields=["organisation", "name"],
                condition=models.Q(archived=False),
                name="dataset_name_once",
            )
        ]

    def __str__(self) -> str:
        return self.name


class DatasetVersion(models.Model):
    """One file, as it was uploaded; rows are counted from zero in code, from one for people."""

    id = models.CharField(primary_key=True, max_length=40, default=version_id, editable=False)
    dataset = models.ForeignKey(Dataset, on_delete=models.CASCADE, related_name="versions")
    number = models.PositiveIntegerField()
    sha256 = models.CharField(max_length=64)
    bytes = models.BigIntegerField()
    rows = models.PositiveIntegerField()
    report = models.JSONField(default=dict)
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True, related_name="+"
    )
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering: ClassVar[list[str]] = ["dataset_id", "number"]
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["dataset", "number"], name="dataset_version_once")
        ]

    def __str__(self) -> str:
        return f"{self.dataset.name} v{self.number}"

    def save(self, *args: Any, **kwargs: Any) -> None:
        if not self._state.adding:
            raise ValueError("A dataset version is never changed; upload the next one.")
        super().save(*args, **kwargs)

    @property
    def organisation(self) -> Organisation:
        return self.dataset.organisation

    @property
    def storage_folder(self) -> str:
        """What of file storage is this version's alone."""
        return f"datasets/{self.pk}"

    @property
    def storage_key(self) -> str:
        """Where the rows are in file storage."""
        return f"{self.storage_folder}/rows.jsonl"

    @property
    def offsets_key(self) -> str:
        """Where the rows begin in the file: one little-endian 64-bit number a row."""
        return f"{self.storage_folder}/offsets.bin"
