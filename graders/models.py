"""Graders and their immutable versions."""

from __future__ import annotations

from typing import Any, ClassVar

from django.db import models

from hone.accounts.models import Organisation, User
from hone.core.ids import new_id


def grader_id() -> str:
    return new_id("grader")


def grader_version_id() -> str:
    return new_id("gradver")


class Grader(models.Model):
    """A name in an organisation; what it does is in its versions."""

    id = models.CharField(primary_key=True, max_length=40, default=grader_id, editable=False)
    organisation = models.ForeignKey(Organisation, on_delete=models.PROTECT, related_name="graders")
    name = models.CharField(max_length=100)
    archived = models.BooleanField(default=False)
    created_by = models.ForeignKey(User, on_delete=models.PROTECT, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(
                fields=["organisation", "name"],
                condition=models.Q(archived=False),
                name="one_grader_of_a_name",
            )
        ]

    def __str__(self) -> str:
        return self.name


class GraderVersion(models.Model):
    """One spec, as it was saved. Rows are added and never changed."""

    id = models.CharField(
        primary_key=True, max_length=40, default=grader_version_id, editable=False
    )
    grader = models.ForeignKey(Grader, on_delete=models.PROTECT, related_name="versions")
    number = models.PositiveIntegerField()
    spec = models.JSONField()
    sha256 = models.CharField(max_length=64)
    created_by = models.ForeignKey(User, on_delete=models.PROTECT, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["grader", "number"], name="one_version_of_a_number"),
            models.CheckConstraint(condition=models.Q(number__gte=1), name="versions_from_one"),
        ]

    def __str__(self) -> str:
        return f"{self.grader.name} v{self.number}"

    @property
    def organisation(self) -> Organisation:
        return self.grader.organisation

    @property
    def organisation_id(self) -> str:
        return self.grader.organisation_id

    @property
    def kind(self) -> str:
        return str(self.spec["type"])

    def save(self, *args: Any, **kwargs: Any) -> None:
        if not self._state.adding:
            raise ValueError("A version of a grader is never changed. Save a new one.")
        super().save(*args, **kwargs)
