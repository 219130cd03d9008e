"""A run has a checkpoint row a step; pages ask for the few that are on disk or were evaluated."""

from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ("jobs", "0014_checkpoints_and_forks"),
    ]

    operations = [
        migrations.AddIndex(
            model_name="checkpoint",
            index=models.Index(
                condition=models.Q(("available", True), models.Q(("damage", ""), _negated=True), _connector="OR"),
                fields=["run"],
                name="checkpoints_available",
            ),
        ),
        migrations.AddIndex(
            model_name="checkpoint",
            index=models.Index(
                condition=models.Q(("validation_reward__isnull", False)), fields=["run", "step"], name="checkpoints_evaluated"
            ),
        ),
    ]
