from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [('graders', '0001_graders')]

    operations = [
        migrations.RemoveConstraint(model_name='grader', name='one_grader_of_a_name'),
        migrations.AddConstraint(
            model_name='grader',
            constraint=models.UniqueConstraint(condition=models.Q(('archived', False)), fields=('organisation', 'name'), name='one_grader_of_a_name'),
        ),
    ]
