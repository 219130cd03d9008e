"""Tool endpoints and their immutable versions."""

from __future__ import annotations

from typing import Any, ClassVar

from django.conf import settings
from django.db import models

from hone.accounts.models import Organisation
from hone.core.ids import new_id
from hone.core.ordered_json import OrderedJSONField


def tool_id() -> str:
    return new_id("tool")


def version_id() -> str:
    return new_id("toolv")


def server_id() -> str:
    return new_id("mcp")


def secret_id() -> str:
    return new_id("secret")


def recording_id() -> str:
    return new_id("rec")


class Effects(models.TextChoices):
    """What a call does to the world; a writing tool is retried with care."""

    NONE = "none", "None: it only computes"
    READS = "reads", "Reads: it looks things up"
    WRITES = "writes", "Writes: it changes something"


class Kind(models.TextChoices):
    """How a tool is called."""

    HTTP = "http", "HTTP: one POST a call"
    MCP = "mcp", "MCP: a tool of a server"


class Schedule(models.IntegerChoices):
    """How often the contract test runs by itself, in minutes."""

    OFF = 0, "Only when asked"
    QUARTER = 15, "Every 15 minutes"
    HOUR = 60, "Every hour"
    DAY = 1440, "Every day"


class McpServer(models.Model):
    """A server that lists tools. What it lists is untrusted text, and is imported by a person."""

    id = models.CharField(primary_key=True, max_length=40, default=server_id, editable=False)
    organisation = models.ForeignKey(
        Organisation, on_delete=models.PROTECT, related_name="mcp_servers"
    )
    name = models.CharField(max_length=64)
    url = models.CharField(max_length=2000)
    header_names = models.JSONField(default=list)
    listed = OrderedJSONField(default=list)
    """Name, description and parameters of each tool, as the server gave them last."""
    list_sha256 = models.CharField(max_length=64, blank=True)
    listed_at = models.DateTimeField(null=True)
    asked_at = models.DateTimeField(null=True)
    list_error = models.TextField(blank=True)
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
                name="mcp_server_name_once",
            )
        ]

    def __str__(self) -> str:
        return self.name


class Tool(models.Model):
    """A tool that an agent may call, under the name that the model uses."""

    id = models.CharField(primary_key=True, max_length=40, default=tool_id, editable=False)
    organisation = models.ForeignKey(Organisation, on_delete=models.PROTECT, related_name="tools")
    name = models.CharField(max_length=64)
    archived = models.BooleanField(default=False)
    check_every_min = models.PositiveIntegerField(choices=Schedule.choices, default=Schedule.OFF)
    check_arguments = models.TextField(blank=True)
    """What the contract test calls it with; blank: an example made from the schema."""
    next_check_at = models.DateTimeField(null=True, db_index=True)
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
    parameters = OrderedJSONField(default=dict)
    url = models.CharField(max_length=2000)
    effects = models.CharField(max_length=10, choices=Effects.choices, default=Effects.READS)
    idempotent = models.BooleanField(default=True)
    timeout_s = models.FloatField(default=60.0)
    max_concurrency = models.PositiveIntegerField(default=32)
    rate_limit = models.FloatField(default=50.0)
    kind = models.CharField(max_length=4, choices=Kind.choices, default=Kind.HTTP)
    mcp_server = models.ForeignKey(
        McpServer, on_delete=models.PROTECT, null=True, related_name="versions"
    )
    remote_name = models.CharField(max_length=200, blank=True)
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


class Secret(models.Model):
    """One value of one secret header, of a tool or of an MCP server. Values are added beside each
    other and never changed: the newest that is not withdrawn is sent."""

    id = models.CharField(primary_key=True, max_length=40, default=secret_id, editable=False)
    tool = models.ForeignKey(Tool, on_delete=models.CASCADE, null=True, related_name="secrets")
    server = models.ForeignKey(
        McpServer, on_delete=models.CASCADE, null=True, related_name="secrets"
    )
    origin = models.CharField(max_length=300)
    """The server that the value was given for."""
    name = models.CharField(max_length=200)
    number = models.PositiveIntegerField()
    sealed = models.TextField()
    withdrawn = models.BooleanField(default=False)
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True, related_name="+"
    )
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering: ClassVar[list[str]] = ["created_at", "number"]
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["tool", "name", "number"], name="tool_secret_once"),
            models.UniqueConstraint(fields=["server", "name", "number"], name="mcp_secret_once"),
            models.CheckConstraint(
                condition=models.Q(tool__isnull=True, server__isnull=False)
                | models.Q(tool__isnull=False, server__isnull=True),
                name="secret_has_one_owner",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.name} {self.number}"

    @property
    def place(self) -> str:
        """Where it belongs: a sealed text copied to another row does not open."""
        owner = self.tool if self.server is None else self.server
        if owner is None:
            raise ValueError("A secret belongs to a tool or to an MCP server.")
        return f"{owner.organisation_id}|tool-secret|{self.pk}"


class CheckStatus(models.TextChoices):
    """How far a contract test is, and what came of it."""

    WAITING = "waiting", "Waiting"
    RUNNING = "running", "Running"
    OK = "ok", "Answering"
    WARNING = "warning", "Answering, with warnings"
    PROBLEM = "problem", "Not answering as agreed"


class ToolCheck(models.Model):
    """One contract test of a version: its lines, its times and its cost in calls."""

    version = models.ForeignKey(ToolVersion, on_delete=models.CASCADE, related_name="checks")
    status = models.CharField(
        max_length=10, choices=CheckStatus.choices, default=CheckStatus.WAITING
    )
    with_load = models.BooleanField(default=False)
    lines = models.JSONField(default=list)
    """Each with `key`, `mark` (ok, warning, problem, skipped) and `text`."""
    p50_s = models.FloatField(null=True)
    p95_s = models.FloatField(null=True)
    calls = models.PositiveIntegerField(default=0)
    faults = models.PositiveIntegerField(default=0)
    error = models.TextField(blank=True)
    """The first thing that was wrong, in words."""
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True, related_name="+"
    )
    """Nobody: the schedule."""
    created_at = models.DateTimeField(auto_now_add=True)
    started_at = models.DateTimeField(null=True)
    ended_at = models.DateTimeField(null=True)

    class Meta:
        ordering: ClassVar[list[str]] = ["-id"]
        indexes: ClassVar[list[models.Index]] = [models.Index(fields=["status"])]

    def __str__(self) -> str:
        return f"check {self.pk} of {self.version_id}"

    @property
    def is_open(self) -> bool:
        return self.status in {CheckStatus.WAITING, CheckStatus.RUNNING}


class Recording(models.Model):
    """Calls and their answers, kept to be given again: no header, no secret is in it."""

    id = models.CharField(primary_key=True, max_length=40, default=recording_id, editable=False)
    organisation = models.ForeignKey(
        Organisation, on_delete=models.PROTECT, related_name="recordings"
    )
    name = models.CharField(max_length=100)
    source = models.CharField(max_length=200)
    entries = models.PositiveIntegerField(default=0)
    content = models.BinaryField(default=b"")
    """JSON lines in a zstd frame."""
    sha256 = models.CharField(max_length=64, blank=True)
    archived = models.BooleanField(default=False)
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True, related_name="+"
    )
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        ordering: ClassVar[list[str]] = ["name", "id"]
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(
                fields=["organisation", "name"],
                condition=models.Q(archived=False),
                name="recording_name_once",
            )
        ]

    def __str__(self) -> str:
        return self.name
