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


def upload_id() -> str:
    return new_id("upload")


def part_id() -> str:
    return new_id("part")


def intake_id() -> str:
    return new_id("intake")


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
    findings = models.JSONField(
        default=dict, help_text="What the background report found, which may come later"
    )
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

    @property
    def prints_key(self) -> str:
        """What the background report keeps to compare the rows with those of other versions."""
        return f"{self.storage_folder}/prints.bin"


class UploadStatus(models.TextChoices):
    """The states of the contract's Uploads."""

    PENDING = "pending", "Pending"
    COMPLETED = "completed", "Completed"
    CANCELLED = "cancelled", "Cancelled"
    EXPIRED = "expired", "Expired"


class Upload(models.Model):
    """A file that arrives in parts: its bytes become whole once, or are gone after an hour."""

    id = models.CharField(primary_key=True, max_length=40, default=upload_id, editable=False)
    organisation = models.ForeignKey(Organisation, on_delete=models.CASCADE, related_name="uploads")
    filename = models.CharField(max_length=300)
    mime_type = models.CharField(max_length=200, blank=True)
    purpose = models.CharField(max_length=40)
    bytes = models.BigIntegerField()
    status = models.CharField(
        max_length=12, choices=UploadStatus.choices, default=UploadStatus.PENDING
    )
    order = models.JSONField(default=list, help_text="Ids of the parts, once they are complete")
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True, related_name="+"
    )
    created_at = models.DateTimeField(auto_now_add=True)
    expires_at = models.DateTimeField()

    class Meta:
        ordering: ClassVar[list[str]] = ["created_at", "id"]
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.CheckConstraint(
                condition=models.Q(status__in=UploadStatus.values), name="known_upload_status"
            )
        ]

    def __str__(self) -> str:
        return self.filename

    @property
    def storage_folder(self) -> str:
        """What of file storage is this upload's alone."""
        return f"uploads/{self.pk}"


class UploadPart(models.Model):
    """Up to 64 MB of an upload. The same bytes sent again are the same part."""

    id = models.CharField(primary_key=True, max_length=40, default=part_id, editable=False)
    upload = models.ForeignKey(Upload, on_delete=models.CASCADE, related_name="parts")
    sha256 = models.CharField(max_length=64)
    bytes = models.PositiveIntegerField()
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering: ClassVar[list[str]] = ["created_at", "id"]
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["upload", "sha256"], name="upload_part_once")
        ]

    def __str__(self) -> str:
        return self.pk

    @property
    def storage_key(self) -> str:
        return f"uploads/{self.upload_id}/{self.pk}"


class IntakeState(models.TextChoices):
    """Where a file is on its way to a version."""

    ASKING = "asking", "Needs its columns named"
    WAITING = "waiting", "Waiting"
    RUNNING = "running", "Checking"
    STORED = "stored", "Stored"
    REFUSED = "refused", "Refused"


class Intake(models.Model):
    """A file on its way to become a version: who asked, from what, how far, and the outcome.

    `recipe` says what makes the rows: `{"kind": "jsonl"}`, a table with its columns, one side of a
    split, or a version without some rows. The row is the truth; a worker that takes it raises
    `attempt` and is fenced by it.
    """

    id = models.CharField(primary_key=True, max_length=40, default=intake_id, editable=False)
    organisation = models.ForeignKey(Organisation, on_delete=models.CASCADE, related_name="intakes")
    name = models.CharField(max_length=100)
    dataset = models.ForeignKey(
        Dataset, on_delete=models.CASCADE, null=True, related_name="intakes"
    )
    upload = models.OneToOneField(Upload, on_delete=models.SET_NULL, null=True)
    recipe = models.JSONField(default=dict)
    state = models.CharField(
        max_length=10, choices=IntakeState.choices, default=IntakeState.WAITING
    )
    attempt = models.PositiveIntegerField(default=0)
    beat_at = models.DateTimeField(auto_now_add=True)
    bytes_total = models.BigIntegerField(default=0)
    bytes_done = models.BigIntegerField(default=0)
    rows_done = models.BigIntegerField(default=0)
    message = models.TextField(blank=True)
    problems = models.JSONField(default=list)
    problems_total = models.PositiveIntegerField(default=0)
    version = models.ForeignKey(
        DatasetVersion, on_delete=models.CASCADE, null=True, related_name="intakes"
    )
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True, related_name="+"
    )
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering: ClassVar[list[str]] = ["created_at", "id"]
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.CheckConstraint(
                condition=models.Q(state__in=IntakeState.values), name="known_intake_state"
            )
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def is_open(self) -> bool:
        """Whether a worker has it or will."""
        return self.state in {IntakeState.WAITING, IntakeState.RUNNING}
