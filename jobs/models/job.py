"""A fine-tuning job: what was asked, frozen, and where it stands."""

from __future__ import annotations

from typing import Any, ClassVar

from django.conf import settings
from django.db import models
from django.utils.functional import cached_property

from hone.accounts.models import Organisation
from hone.core.ids import new_id
from hone.core.ordered_json import OrderedJSONField
from jobs.models.base_model import BaseModel
from jobs.models.states import FINAL, LEADING, OPEN, Stateful, Status

MOST_NEWEST = 400
"""Steps that are looked at to know how far back a number of trajectories reaches."""


def job_id() -> str:
    return new_id("ftjob")


class Purpose(models.TextChoices):
    """What a job is for. Preflights and tries train nothing; see their own models."""

    TRAIN = "train", "Training"
    PREFLIGHT = "preflight", "Preflight"
    PLAYGROUND = "playground", "Playground"


class Job(Stateful):
    """One job. `spec` is frozen at creation (see `jobs.services.frozen`); rewards are copies.

    Versions may be deleted under a job: the job keeps their names and hashes in `spec`, and fails
    with a sentence if it still needed them.
    """

    id = models.CharField(primary_key=True, max_length=40, default=job_id, editable=False)
    organisation = models.ForeignKey(Organisation, on_delete=models.PROTECT, related_name="jobs")
    purpose = models.CharField(max_length=10, choices=Purpose.choices, default=Purpose.TRAIN)
    name = models.CharField(max_length=100)
    spec = OrderedJSONField()
    base_model = models.ForeignKey(BaseModel, on_delete=models.PROTECT, related_name="jobs")
    train_version = models.ForeignKey(
        "datasets.DatasetVersion", on_delete=models.SET_NULL, null=True, related_name="+"
    )
    validation_version = models.ForeignKey(
        "datasets.DatasetVersion", on_delete=models.SET_NULL, null=True, related_name="+"
    )
    tool_versions: models.ManyToManyField[Any, Any] = models.ManyToManyField(
        "tools.ToolVersion", related_name="+"
    )
    grader_version = models.ForeignKey(
        "graders.GraderVersion", on_delete=models.SET_NULL, null=True, related_name="+"
    )
    start_checkpoint = models.ForeignKey(
        "jobs.Checkpoint", on_delete=models.SET_NULL, null=True, related_name="forks"
    )
    seed = models.IntegerField(default=42)
    metadata = models.JSONField(default=dict)
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True, related_name="+"
    )
    error_code = models.CharField(max_length=60, blank=True)
    error_message = models.TextField(blank=True)
    error_log = models.TextField(blank=True, help_text="The last 100 lines of the engine's log")
    total_steps = models.IntegerField(default=0)
    last_step = models.IntegerField(default=-1)
    baseline_reward = models.FloatField(null=True)
    best_reward = models.FloatField(null=True)
    best_step = models.IntegerField(null=True)
    last_reward = models.FloatField(null=True)
    train_reward = models.FloatField(null=True)
    engine_seconds = models.FloatField(default=0.0)
    created_at = models.DateTimeField(auto_now_add=True)
    started_at = models.DateTimeField(null=True)
    finished_at = models.DateTimeField(null=True)

    class Meta:
        ordering: ClassVar[list[str]] = ["-created_at", "-id"]
        indexes: ClassVar[list[models.Index]] = [
            models.Index(fields=["organisation", "-created_at", "-id"], name="jobs_newest_first"),
            models.Index(fields=["status", "created_at"], name="jobs_queue"),
        ]
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.CheckConstraint(
                condition=models.Q(status__in=Status.values), name="known_job_status"
            ),
            models.CheckConstraint(
                condition=models.Q(purpose__in=Purpose.values), name="known_job_purpose"
            ),
            models.CheckConstraint(
                condition=models.Q(finished_at__isnull=True, status__in=OPEN)
                | models.Q(finished_at__isnull=False, status__in=sorted(FINAL)),
                name="final_job_has_finish_time",
            ),
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def trains(self) -> bool:
        return self.purpose == Purpose.TRAIN

    @property
    def is_preflight(self) -> bool:
        return self.purpose == Purpose.PREFLIGHT

    @property
    def is_tryout(self) -> bool:
        return self.purpose == Purpose.PLAYGROUND

    @cached_property
    def leading_run_id(self) -> str:
        """The run whose trajectories are the job's: it has one, the same one, from its creation."""
        return str(self.runs.values_list("pk", flat=True).get(kind__in=LEADING))

    @cached_property
    def newest_rollouts(self) -> list[tuple[int, int]]:
        """The newest `MOST_NEWEST` steps, newest first, and how many rollouts each made."""
        return self.rollouts_until(None)

    def rollouts_until(self, step: int | None) -> list[tuple[int, int]]:
        """As `newest_rollouts`, from that step down."""
        asked = {"usage__isnull": False} if step is None else {"usage__step__lte": step}
        steps = self.runs.filter(pk=self.leading_run_id, **asked).order_by("-usage__step")
        return list(steps.values_list("usage__step", "usage__rollouts")[:MOST_NEWEST])

    @property
    def origin(self) -> str:
        """What step 0 measures: the base model, or the checkpoint that a fork starts from."""
        return "start" if self.spec.get("start") else "base"

    @property
    def origin_in_full(self) -> str:
        return "start" if self.spec.get("start") else "base model"

    @property
    def noun(self) -> str:
        """What sentences call it."""
        return {Purpose.PREFLIGHT: "preflight", Purpose.PLAYGROUND: "try"}.get(
            Purpose(self.purpose), "job"
        )
