"""When a download last moved, so that one that stands still is rung for again."""

from __future__ import annotations

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("jobs", "0001_jobs")]

    operations = [
        migrations.AddField(
            model_name="basemodel",
            name="progress_at",
            field=models.DateTimeField(help_text="When the download last moved", null=True),
        ),
    ]
