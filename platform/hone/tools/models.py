"""Tool endpoints and their immutable versions."""

from __future__ import annotations

from typing import Any, ClassVar

from django.conf import settings
from django.db import models

from hone.accounts.models import Organisation
from hone.core.ids import new_id


def tool_id() -> str:
    return new_id("tool")


def version_id() -> str:
    return new_id("toolv")


class Effects(models.TextChoices):
    """What a call does to the world; a writing tool is retried with care."""

    NONE = "none", "None: it only computes"
    READS = "reads", "Reads: it looks things up"
    WRITES = "writes", "Writes: it changes something"


class Tool(models.Model):
    """A tool that an agent may call, under the name that the model uses."""

    id = models.CharField(primary_key=True, max_length=40, default=tool_id, editable=False)
    organisation = models.ForeignKey(Organisation, on_delete=models.PROTECT, related_name="tools")
    name = models.CharField(max_length=64)
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
                name="tool_name_once",
            )
        ]

    def __str__(self) -> str:
        return self.name


class ToolVersion(models.Model):
    """Where and how the tool is called. Header values are encrypted and never shown again."""

    id = models.CharField(primary_key=True, max_length=40, default=version_id, editable=False)
    tool = models.ForeignKey(Tool, on_delete=models.CASCADE, related_name="versions")
    number = models.PositiveIntegerField()
    description = models.TextField(blank=True)
    parameters = models.JSONField(default=dict)
    url = models.CharField(max_length=2000)
    effects = models.CharField(max_length=10, choices=Effects.choices, default=Effects.READS)
    idempotent = models.BooleanField(default=True)
    timeout_s = models.FloatField(default=60.0)
    max_concurrency = models.PositiveIntegerField(default=32)
    headers_sealed = models.TextField(blank=True)
    header_names = models.JSONField(default=list)
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True, related_name="+"
    )
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering: ClassVar[list[str]] = ["tool_id", "number"]
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["tool", "number"], name="tool_version_once")
        ]

    def __str__(self) -> str:
        return f"{self.tool.name} v{self.number}"

    def save(self, *args: Any, **kwargs: Any) -> None:
        if not self._state.adding:
            raise ValueError("A tool version is never changed; save the next one.")
        super().save(*args, **kwargs)

    @property
    def organisation(self) -> Organisation:
        return self.tool.organisation

    @property
    def secret_place(self) -> str:
        """Where its headers belong: a sealed text copied to another row does not open."""
        return f"{self.tool.organisation_id}|tool-headers|{self.pk}"
