"""The database of a test is reached by its processes too, password and all; and their broker is
that of no other process of the run."""

from __future__ import annotations

import dj_database_url

from tests.database_url import url_of
from tests.isolation import own_broker

PARTS = {"USER": "hone", "HOST": "127.0.0.1", "PORT": 5432, "NAME": "test_hone"}


def test_a_password_survives_the_way_through_the_url() -> None:
    url = url_of("postgresql", {**PARTS, "PASSWORD": "p@ss:w/rd #1"})
    assert url == "postgres://hone:p%40ss%3Aw%2Frd%20%231@127.0.0.1:5432/test_hone"
    read = dj_database_url.parse(url)
    assert {key: read[key] for key in (*PARTS, "PASSWORD")} == {**PARTS, "PASSWORD": "p@ss:w/rd #1"}


def test_a_file_is_named_as_it_is() -> None:
    assert url_of("sqlite", {"NAME": "/tmp/test.sqlite3"}) == "sqlite:////tmp/test.sqlite3"


def test_each_process_of_a_run_has_a_database_of_redis_to_itself() -> None:
    assert own_broker("redis://:p@127.0.0.1:6379/7", "gw0") == "redis://:p@127.0.0.1:6379/7"
    assert own_broker("redis://:p@127.0.0.1:6379/7", "gw1") == "redis://:p@127.0.0.1:6379/8"
    assert own_broker("redis://127.0.0.1:6379/7", "") == "redis://127.0.0.1:6379/7"
    assert own_broker("filesystem://localhost/", "gw1") == "filesystem://localhost/"
