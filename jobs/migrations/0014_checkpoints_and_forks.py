import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('jobs', '0013_replay_tools'),
    ]

    operations = [
        migrations.AddField(
            model_name='adapter',
            name='base_max_abs_logprob_diff',
            field=models.FloatField(null=True),
        ),
        migrations.AddField(
            model_name='checkpoint',
            name='damage',
            field=models.CharField(blank=True, max_length=300),
        ),
        migrations.AddField(
            model_name='checkpoint',
            name='pinned',
            field=models.BooleanField(default=False),
        ),
        migrations.AddField(
            model_name='checkpoint',
            name='verified_at',
            field=models.DateTimeField(help_text='When its files last had their hashes', null=True),
        ),
        migrations.AddField(
            model_name='job',
            name='start_checkpoint',
            field=models.ForeignKey(null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='forks', to='jobs.checkpoint'),
        ),
    ]
