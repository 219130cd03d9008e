"""Loaded by pytest before settings are read: every run has a data folder and a broker of its own,
and so has each of the processes that share a run."""

from __future__ import annotations

import os
import re
import tempfile

WORKER = re.compile(r"gw(\d+)")
REDIS = re.compile(r"(rediss?://.*/)(\d+)")


def own_broker(url: str, worker: str) -> str:
    """The broker of a process of the run: on Redis, the database that many places further on."""
    place, redis = WORKER.fullmatch(worker), REDIS.fullmatch(url)
    if place is None or redis is None:
        return url
    return f"{redis[1]}{int(redis[2]) + int(place[1])}"


os.environ["HONE_DATA_DIR"] = tempfile.mkdtemp(prefix="hone-tests-")
os.environ.setdefault("DJANGO_ALLOW_ASYNC_UNSAFE", "true")
os.environ.setdefault("OMP_NUM_THREADS", "1")
if "BROKER_URL" in os.environ:
    os.environ["BROKER_URL"] = own_broker(
        os.environ["BROKER_URL"], os.environ.get("PYTEST_XDIST_WORKER", "")
    )
