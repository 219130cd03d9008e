"""Trajectories by the words of their excerpt and by their labels, from an index of the database.

PostgreSQL has both in one `tsvector` of the row under a GIN index; SQLite has the words in an FTS5
table and looks the labels up in the packed columns (migration 0012).
"""

from __future__ import annotations

import json
import re

from django.db import connection
from django.db.models import BooleanField, Q, QuerySet
from django.db.models.expressions import RawSQL

from jobs.models import Trajectory
from jobs.models.trajectory import SEPARATOR

MOST_WORDS = 16
_WORD = re.compile(r"[^\W_]+")


def words_of(text: str) -> list[str]:
    """The words that are looked for; punctuation separates them."""
    return _WORD.findall(text.lower())[:MOST_WORDS]


def with_words(
    rows: QuerySet[Trajectory], text: str, *, one_by_one: bool = False
) -> QuerySet[Trajectory]:
    """Rows with all these words; the last may be the beginning of one. No word: no row.

    `one_by_one`: each of the few `rows` is looked at, and the index, which would list all the
    rows that have a common word, is left alone.
    """
    words = words_of(text)
    if not words:
        return rows.none()
    if connection.vendor == "postgresql":
        query = f"{' & '.join(words)}:*"
        return rows.filter(_matches("to_tsquery('simple', %s)", query, one_by_one))
    quoted = " ".join(f'"{word}"' for word in words)
    found = RawSQL(
        "SELECT rowid FROM jobs_trajectory_search WHERE jobs_trajectory_search MATCH %s",
        [f"{quoted}*"],
    )
    return rows.filter(pk__in=found)


def with_labels(
    rows: QuerySet[Trajectory],
    *,
    flag: str = "",
    tool: str = "",
    stop: str = "",
    one_by_one: bool = False,
) -> QuerySet[Trajectory]:
    """Rows that have each label that is given; `one_by_one` as for words."""
    given = {"flag": flag, "tool": tool, "stop": stop}
    chosen = {kind: label for kind, label in given.items() if label}
    if not chosen:
        return rows
    if connection.vendor == "postgresql":
        lexemes = (_quoted(f"{kind}:{label}") for kind, label in chosen.items())
        return rows.filter(_matches("%s::tsquery", " & ".join(lexemes), one_by_one))
    if "stop" in chosen:
        rows = rows.filter(stop=stop)
    for column, label in (("packed_flags", flag), ("packed_tools", tool)):
        if label:
            rows = rows.filter(Q((f"{column}__contains", f"{SEPARATOR}{label}{SEPARATOR}")))
    return rows


def about(rows: QuerySet[Trajectory]) -> int:
    """How many the database expects, from its statistics; 0 where it keeps none of words."""
    if connection.vendor != "postgresql" or rows.query.is_empty():
        return 0
    return int(json.loads(rows.explain(format="json"))[0]["Plan"]["Plan Rows"])


def _matches(query: str, text: str, one_by_one: bool) -> RawSQL:
    """The planner knows the operator and has an index for it, and none for its function."""
    column = '"jobs_trajectory"."search"'
    matches = f"ts_match_vq({column}, {query})" if one_by_one else f"{column} @@ {query}"
    return RawSQL(matches, [text], output_field=BooleanField())


def _quoted(lexeme: str) -> str:
    escaped = lexeme.replace("\\", "\\\\").replace("'", "''")
    return f"'{escaped}'"
