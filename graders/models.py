"""Graders and their immutable versions."""

from __future__ import annotations

from typing import Any, ClassVar

from django.db import models

from hone.accounts.models import Organisation, User
from hone.core.ids import new_id
from hone.core.ordered_json import OrderedJSONField

TOLERANCE = 0.0005
"""Half of the last digit that pages show of a reward."""


def grader_id() -> str:
    return new_id("grader")


def grader_version_id() -> str:
    return new_id("gradver")


def judge_id() -> str:
    return new_id("judge")


class Judge(models.Model):
    """An OpenAI-compatible endpoint with models that grade. Its key is never shown again.

    The name stays, since graders say `name/model`; all else may change, and what runs uses the
    row as it stands when its engine starts.
    """

    id = models.CharField(primary_key=True, max_length=40, default=judge_id, editable=False)
    organisation = models.ForeignKey(Organisation, on_delete=models.PROTECT, related_name="judges")
    name = models.CharField(max_length=64)
    base_url = models.CharField(max_length=2000)
    models_offered = models.JSONField(default=list)
    key_sealed = models.TextField(blank=True)
    input_price = models.DecimalField(max_digits=12, decimal_places=6, default=0)
    output_price = models.DecimalField(max_digits=12, decimal_places=6, default=0)
    per_minute = models.PositiveIntegerField(default=0)
    max_concurrency = models.PositiveIntegerField(default=8)
    timeout_s = models.FloatField(default=60.0)
    archived = models.BooleanField(default=False)
    created_by = models.ForeignKey(User, on_delete=models.PROTECT, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering: ClassVar[list[str]] = ["name", "id"]
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(
                fields=["organisation", "name"],
                condition=models.Q(archived=False),
                name="one_judge_of_a_name",
            )
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def prices(self) -> tuple[str, str]:
        """For a million tokens in and out, as people write them."""
        shown = [format(price.normalize(), "f") for price in (self.input_price, self.output_price)]
        return shown[0], shown[1]

    @property
    def has_key(self) -> bool:
        return bool(self.key_sealed)

    @property
    def secret_place(self) -> str:
        """Where its key belongs: a sealed text copied to another row does not open."""
        return f"{self.organisation_id}|judge-key|{self.pk}"


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
    spec = OrderedJSONField()
    """Values of headers are masked in it."""
    headers_sealed = models.TextField(blank=True)
    sha256 = models.CharField(max_length=64)
    reason = models.TextField(blank=True, help_text="Why it was saved although fixtures fail")
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
    def secret_place(self) -> str:
        """Where its headers belong: a sealed text copied to another row does not open."""
        return f"{self.organisation_id}|grader-headers|{self.pk}"

    @property
    def kind(self) -> str:
        return str(self.spec["type"])

    def save(self, *args: Any, **kwargs: Any) -> None:
        if not self._state.adding:
            raise ValueError("A version of a grader is never changed. Save a new one.")
        super().save(*args, **kwargs)


class Fixture(models.Model):
    """A sample with the score that each version of the grader must give it: `low` to `high`."""

    grader = models.ForeignKey(Grader, on_delete=models.CASCADE, related_name="fixtures")
    name = models.CharField(max_length=100)
    sample = OrderedJSONField()
    item = OrderedJSONField()
    low = models.FloatField()
    high = models.FloatField()
    origin = models.CharField(max_length=200, blank=True)
    origin_address = models.CharField(max_length=200, blank=True)
    created_by = models.ForeignKey(User, on_delete=models.PROTECT, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["grader", "name"], name="one_fixture_of_a_name"),
            models.CheckConstraint(
                condition=models.Q(low__lte=models.F("high")), name="fixture_range_in_order"
            ),
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def is_exact(self) -> bool:
        return self.low == self.high

    @property
    def answer(self) -> str:
        """What the model answered in the sample."""
        return str(self.sample.get("output_text", ""))

    def holds(self, reward: float | None) -> bool:
        """Whether this is a score that the sample must get; pages show three digits of it."""
        return reward is not None and self.low - TOLERANCE <= reward <= self.high + TOLERANCE


class FixtureResult(models.Model):
    """What one version gave one fixture, when it was saved or last run again."""

    version = models.ForeignKey(GraderVersion, on_delete=models.CASCADE, related_name="results")
    fixture = models.ForeignKey(Fixture, on_delete=models.CASCADE, related_name="results")
    reward = models.FloatField(null=True)
    code = models.CharField(max_length=60, blank=True)
    message = models.TextField(blank=True)
    seconds = models.FloatField(default=0.0)

    class Meta:
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["version", "fixture"], name="one_result_of_a_fixture")
        ]

    def __str__(self) -> str:
        return f"{self.fixture} by {self.version}"

    @property
    def passed(self) -> bool:
        return self.fixture.holds(self.reward)
