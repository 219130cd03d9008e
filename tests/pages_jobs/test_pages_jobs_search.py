"""Search: ids lead to pages, words find names, and nobody finds what is not theirs."""

from __future__ import annotations

import re

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from hone.accounts.models import Organisation, User
from hone.search.views import titled
from jobs.models import Checkpoint, Job, Run, Trajectory


def found(client: Client, text: str) -> str:
    return client.get("/search/", {"q": text}).content.decode().split("<main", 1)[1]


def test_each_id_leads_to_its_page(running: Job, owner: Client) -> None:
    version, grader = running.train_version, running.grader_version
    assert version is not None
    assert grader is not None
    run = Run.objects.get(job=running)
    for pasted, address in [
        (running.pk, f"/jobs/{running.pk}/"),
        (f"  {run.pk} ", f"/jobs/{running.pk}/"),
        (version.dataset_id, f"/datasets/{version.dataset_id}/"),
        (version.pk, f"/datasets/{version.dataset_id}/v1/"),
        (grader.grader_id, f"/graders/{grader.grader_id}/"),
        (grader.pk, f"/graders/{grader.grader_id}/"),
    ]:
        assert owner.get("/search/", {"q": pasted})["Location"] == address


def test_a_foreign_id_is_as_an_absent_one(running: Job, stranger: Client) -> None:
    foreign, absent = found(stranger, running.pk), found(stranger, "ftjob-0000000000000000")
    assert "Nothing that you can see has the id" in foreign
    assert foreign.replace(running.pk, "ftjob-0000000000000000") == absent


def test_words_find_things_of_every_kind_with_the_hit_marked(running: Job, owner: Client) -> None:
    page = found(owner, "REFUND")
    heads = re.findall(r'<h2 id="found-\d">(\w+)', page)
    assert heads == ["Jobs", "Checkpoints", "Datasets", "Graders"]
    assert "<mark>refund</mark>s</a>" in page


def test_nothing_of_others_is_found(running: Job, stranger: Client) -> None:
    row = Trajectory.objects.filter(run__job=running)[0]
    for text in ("refund", row.uid, str(row.pk), running.pk[6:14]):
        assert "<table" not in found(stranger, text)


@pytest.mark.parametrize("by", ["uid", "pk"])
def test_a_trajectory_is_found_by_its_id(running: Job, owner: Client, by: str) -> None:
    row = Trajectory.objects.filter(run__job=running, step=3)[0]
    page = found(owner, str(getattr(row, by)))
    assert f'href="/jobs/{running.pk}/trajectories/{row.pk}/"' in page


def test_a_trajectory_is_looked_up_by_index(running: Job, owner: Client) -> None:
    row = Trajectory.objects.filter(run__job=running, step=3)[0]
    with CaptureQueriesContext(connection) as asked:
        found(owner, row.uid)
    sql = next(each["sql"] for each in asked if '"jobs_trajectory"."uid" =' in each["sql"])
    assert '"jobs_trajectory"."step" = 3' in sql
    assert '"jobs_trajectory"."run_id" IN' in sql


def test_a_checkpoint_is_found_by_its_manifest(running: Job, owner: Client) -> None:
    kept = Checkpoint.objects.filter(available=True)[0]
    assert kept.manifest_sha256[:12] in found(owner, kept.manifest_sha256[:10].upper())


@pytest.mark.parametrize(
    "odd",
    ["", "%", "_", "'", "\x00", "9" * 40, "x" * 5000, "ftjob-" + "0" * 16, "a\u202eb", "t-9-"],
)
def test_whatever_is_typed_is_answered(running: Job, owner: Client, odd: str) -> None:
    assert owner.get("/search/", {"q": odd}).status_code == 200


def test_a_search_asks_the_database_at_most_twelve_times(
    running: Job, owner: Client, alice: User, organisation: Organisation
) -> None:
    row = Trajectory.objects.filter(run__job=running)[0]
    for text in ("refund", row.uid, "ftjob-0000000000000000"):
        with CaptureQueriesContext(connection) as asked:
            found(owner, text)
        assert len(asked) <= 12, text


@pytest.mark.parametrize(
    ("title", "text", "pieces"),
    [
        ("Refunds", "fun", [("Re", False), ("fun", True), ("ds", False)]),
        ("a.b.c", ".", [("a", False), (".", True), ("b", False), (".", True), ("c", False)]),
        ("İx", "x", [("İ", False), ("x", True)]),
        ("<b>", "b", [("<", False), ("b", True), (">", False)]),
        ("a\u202eb", "\u202e", [("a", False), ("⟦U+202E⟧", True), ("b", False)]),
        ("plain", "q", [("plain", False)]),
    ],
)
def test_hits_are_pieces_of_text(title: str, text: str, pieces: list[tuple[str, bool]]) -> None:
    assert titled(title, text) == pieces
