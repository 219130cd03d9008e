"""The trajectory list at a million rows: an index for each order, and full-text search.

SQLite keeps the words of the excerpt in an FTS5 table beside the rows, filled by triggers; PostgreSQL in
a generated column of the row, together with its labels (flags, tools, stop), under one GIN index.
A later migration that makes SQLite remake the table of trajectories drops the triggers: it must make
them again. The tests of the search run after all migrations and would tell.
"""

from django.db import migrations, models


SQLITE = (
    """
    CREATE VIRTUAL TABLE jobs_trajectory_search USING fts5(
        excerpt, content='jobs_trajectory', content_rowid='id',
        tokenize="unicode61 remove_diacritics 0"
    )
    """,
    """
    CREATE TRIGGER jobs_trajectory_search_new AFTER INSERT ON jobs_trajectory BEGIN
        INSERT INTO jobs_trajectory_search(rowid, excerpt) VALUES (new.id, new.excerpt);
    END
    """,
    """
    CREATE TRIGGER jobs_trajectory_search_gone AFTER DELETE ON jobs_trajectory BEGIN
        INSERT INTO jobs_trajectory_search(jobs_trajectory_search, rowid, excerpt)
        VALUES ('delete', old.id, old.excerpt);
    END
    """,
    """
    CREATE TRIGGER jobs_trajectory_search_changed AFTER UPDATE OF excerpt ON jobs_trajectory BEGIN
        INSERT INTO jobs_trajectory_search(jobs_trajectory_search, rowid, excerpt)
        VALUES ('delete', old.id, old.excerpt);
        INSERT INTO jobs_trajectory_search(rowid, excerpt) VALUES (new.id, new.excerpt);
    END
    """,
    "INSERT INTO jobs_trajectory_search(jobs_trajectory_search) VALUES ('rebuild')",
)
SQLITE_BACK = (
    "DROP TRIGGER jobs_trajectory_search_new",
    "DROP TRIGGER jobs_trajectory_search_gone",
    "DROP TRIGGER jobs_trajectory_search_changed",
    "DROP TABLE jobs_trajectory_search",
)
# Punctuation becomes a blank, so that `refund.id` and `a_b` are words here as in FTS5.
POSTGRESQL = (
    r"""
    ALTER TABLE jobs_trajectory ADD COLUMN search tsvector GENERATED ALWAYS AS (
        to_tsvector('simple', regexp_replace(excerpt, '[!-/:-@\[-`{-~]+', ' ', 'g'))
        || array_to_tsvector(array_remove(string_to_array(
            replace(packed_flags, '|', '|flag:') || replace(packed_tools, '|', '|tool:')
            || '|stop:' || stop, '|'
        ), ''))
    ) STORED
    """,
    "CREATE INDEX trajectories_search ON jobs_trajectory USING gin (search)",
)
POSTGRESQL_BACK = ("ALTER TABLE jobs_trajectory DROP COLUMN search",)


def run(sqlite, postgresql):
    def execute(apps, schema_editor):
        lines = {"sqlite": sqlite, "postgresql": postgresql}[schema_editor.connection.vendor]
        for line in lines:
            schema_editor.execute(line, params=None)

    return execute


class Migration(migrations.Migration):

    dependencies = [
        ('jobs', '0011_step_buckets'),
    ]

    operations = [
        migrations.RemoveIndex(
            model_name='trajectory',
            name='trajectories_of_task',
        ),
        migrations.AddField(
            model_name='trajectory',
            name='credit',
            field=models.JSONField(null=True),
        ),
        migrations.AddIndex(
            model_name='trajectory',
            index=models.Index(fields=['run', 'row', '-step', 'id'], name='trajectories_of_task'),
        ),
        migrations.AddIndex(
            model_name='trajectory',
            index=models.Index(fields=['run', '-step', 'id'], name='trajectories_newest_first'),
        ),
        migrations.AddIndex(
            model_name='trajectory',
            index=models.Index(fields=['run', 'split', '-step', 'id'], name='trajectories_of_split'),
        ),
        migrations.AddIndex(
            model_name='trajectory',
            index=models.Index(fields=['run', 'reward', 'id'], name='trajectories_by_reward'),
        ),
        migrations.AddIndex(
            model_name='trajectory',
            index=models.Index(fields=['run', 'tokens', 'id'], name='trajectories_by_tokens'),
        ),
        migrations.AddIndex(
            model_name='trajectory',
            index=models.Index(fields=['run', 'tool_calls', 'id'], name='trajectories_by_calls'),
        ),
        migrations.AddIndex(
            model_name='trajectory',
            index=models.Index(fields=['run', 'group'], name='trajectories_of_group'),
        ),
        migrations.AddIndex(
            model_name='trajectory',
            index=models.Index(condition=models.Q(('reward', None)), fields=['run', '-step', 'id'], name='trajectories_ungraded'),
        ),
        migrations.RunPython(run(SQLITE, POSTGRESQL), run(SQLITE_BACK, POSTGRESQL_BACK)),
    ]
