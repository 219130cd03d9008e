"""A database of its own on PostgreSQL, and a data folder beside it.

`--keep` leaves the seeded database, named after what decides its contents, and each run works on a
copy. Without it everything is gone afterwards.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import msgspec
import psycopg
from psycopg import sql

from benchmarks.pages.plan import FACTS, Facts, Plan

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "var" / "bench-pages"
NAME = "hone_bench_pages"
DECIDING = tuple(f"benchmarks/pages/{name}.py" for name in ("filling", "story", "attempts", "rows"))
NO_SERVER = (
    "This benchmark needs a PostgreSQL server and a role that may create databases there: {error}. "
    "Set DATABASE_URL, as postgres://user:password@host:port/postgres, or PGHOST and its like."
)


@dataclass(frozen=True)
class Place:
    """Where the seeded installation is."""

    environment: dict[str, str]
    facts: Facts


@contextmanager
def seeded(plan: Plan, *, keep: bool) -> Iterator[Place]:
    """The installation; it is made where it is not there yet."""
    server = _server()
    whole = f"{NAME}_{plan.steps}_{fingerprint(plan)}"
    folder = FOLDER / whole
    try:
        if not (_exists(server, whole) and (folder / FACTS).exists()):
            _make(server, plan, whole, folder)
        _migrate(_environment(server, whole, folder))
        facts = msgspec.json.decode((folder / FACTS).read_bytes(), type=Facts)
        if not keep:
            yield Place(_environment(server, whole, folder), facts)
            return
        copy = f"{NAME}_run"
        _drop(server, copy)
        _execute(server, "CREATE DATABASE {} TEMPLATE {} STRATEGY FILE_COPY", copy, whole)
        try:
            yield Place(_environment(server, copy, folder), facts)
        finally:
            _drop(server, copy)
    finally:
        if not keep:
            _drop(server, whole)
            shutil.rmtree(folder, ignore_errors=True)


def fingerprint(plan: Plan) -> str:
    """Of everything that decides what is filled in; later migrations are run on what is there."""
    found = hashlib.sha256(msgspec.json.encode(plan.seeded(), order="sorted"))
    for name in DECIDING:
        found.update((ROOT / name).read_bytes())
    return found.hexdigest()[:10]


def _make(server: str, plan: Plan, name: str, folder: Path) -> None:
    """What earlier code made for this plan goes first."""
    start = f"{NAME}_{plan.steps}_"
    with psycopg.connect(server) as connection:
        found = connection.execute(
            "SELECT datname FROM pg_database WHERE starts_with(datname, %s)", [start]
        )
        earlier = [old for (old,) in found]
    for old in earlier:
        _drop(server, old)
        shutil.rmtree(FOLDER / old, ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)
    _execute(server, "CREATE DATABASE {}", name)
    command = [sys.executable, "-m", "benchmarks.pages.seed", msgspec.json.encode(plan).decode()]
    subprocess.run(command, env=_environment(server, name, folder), check=True)


def _migrate(environment: dict[str, str]) -> None:
    """A kept database may be older than the newest migrations."""
    command = [sys.executable, str(ROOT / "manage.py"), "migrate", "--verbosity", "0"]
    subprocess.run(command, env=environment, check=True)


def _server() -> str:
    """A connection string of the server's own database; ends with a sentence where none is."""
    url = os.environ.get("DATABASE_URL") or ""
    if url.startswith("sqlite"):
        url = ""
    try:
        with psycopg.connect(url or "dbname=postgres", connect_timeout=5) as connection:
            info = connection.info
            may = connection.execute(
                "SELECT rolcreatedb OR rolsuper FROM pg_roles WHERE rolname = current_user"
            ).fetchone()
            if may is None or not may[0]:
                raise SystemExit(NO_SERVER.format(error=f"{info.user} may not create databases"))
            return _url(info, info.dbname)
    except psycopg.OperationalError as error:
        words = " ".join(str(error).split())
        raise SystemExit(NO_SERVER.format(error=words)) from error


def _url(info: psycopg.ConnectionInfo, name: str) -> str:
    secret = f":{quote(info.password, safe='')}" if info.password else ""
    return f"postgres://{quote(info.user)}{secret}@{quote(info.host, safe='')}:{info.port}/{name}"


def _environment(server: str, name: str, folder: Path) -> dict[str, str]:
    return {
        **os.environ,
        "DATABASE_URL": f"{server.rpartition('/')[0]}/{name}",
        "BROKER_URL": "",
        "HONE_DATA_DIR": str(folder),
        "HONE_LOG_LEVEL": "WARNING",
        "DJANGO_SETTINGS_MODULE": "hone.settings",
        "PYTHONPATH": os.pathsep.join((str(ROOT / "platform"), str(ROOT))),
    }


def _exists(server: str, name: str) -> bool:
    with psycopg.connect(server) as connection:
        found = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [name])
        return found.fetchone() is not None


def _drop(server: str, name: str) -> None:
    _execute(server, "DROP DATABASE IF EXISTS {} WITH (FORCE)", name)


def _execute(server: str, statement: str, *names: str) -> None:
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(sql.SQL(statement).format(*map(sql.Identifier, names)))
