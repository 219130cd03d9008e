from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('jobs', '0012_trajectories_to_search'),
    ]

    operations = [
        migrations.AddField(
            model_name='replay',
            name='packed_tools',
            field=models.CharField(blank=True, help_text='What the turn called; empty: not told', max_length=2000),
        ),
    ]
