"""Buckets of steps for the charts of long jobs, and those of the steps that exist already."""

from itertools import islice

import django.db.models.deletion
from django.db import migrations, models

from jobs.selectors.rollup import bucket_rows


def roll_up(apps, schema_editor):
    run_model, steps = apps.get_model("jobs", "Run"), apps.get_model("jobs", "JobStep")
    buckets = apps.get_model("jobs", "StepBucket")
    for run_id in run_model.objects.filter(kind="train").values_list("pk", flat=True):
        found = steps.objects.filter(run_id=run_id).order_by("step").values_list("step", "metrics")
        rows = (buckets(run_id=run_id, **each) for each in bucket_rows(found.iterator(2000)))
        while batch := list(islice(rows, 500)):
            buckets.objects.bulk_create(batch)


class Migration(migrations.Migration):
    dependencies = [("jobs", "0010_comparison_waits")]

    operations = [
        migrations.CreateModel(
            name="StepBucket",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("size", models.IntegerField()),
                ("first", models.IntegerField()),
                ("last", models.IntegerField()),
                ("validation_reward", models.FloatField(null=True)),
                ("figures", models.JSONField()),
                ("run", models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name="buckets", to="jobs.run")),
            ],
        ),
        migrations.AddConstraint(
            model_name="stepbucket",
            constraint=models.UniqueConstraint(fields=("run", "size", "first"), name="bucket_once"),
        ),
        migrations.AddIndex(
            model_name="jobevent",
            index=models.Index(fields=["job", "code", "step"], name="events_by_code"),
        ),
        migrations.RunPython(roll_up, migrations.RunPython.noop),
    ]
