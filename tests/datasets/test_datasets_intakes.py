"""A file on its way to a version: whole or not at all, whoever works on it and however often."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.core.files.base import ContentFile
from django.utils import timezone
from pytest_django.fixtures import Settings

from hone.accounts.models import Membership, Organisation, User
from hone.core.errors import UserError
from hone.datasets.models import Dataset, DatasetVersion, Intake, Upload
from hone.datasets.reading import Reading
from hone.datasets.selectors import dataset_rows, latest_version
from hone.datasets.services import dataset_create, intakes, taking_in
from hone.datasets.services.intakes import (
    dataset_split_make,
    intake_columns,
    intake_of_file,
    intake_set_columns,
)
from hone.datasets.services.taking_in import intake_run, intakes_sweep
from hone.datasets.splits import Split
from hone.datasets.tables import Columns
from tests import gsm8k


def _lines(rows: int, **keys: Any) -> bytes:
    row = {"messages": [{"role": "user", "content": "Where?"}], **keys}
    return b"".join(
        json.dumps({**row, "n": n, "who": f"w{n % 20}"}).encode() + b"\n" for n in range(rows)
    )


@pytest.fixture(autouse=True)
def _own_storage(settings: Settings, tmp_path: Path) -> None:
    settings.MEDIA_ROOT = tmp_path / "files"
    settings.FILE_UPLOAD_TEMP_DIR = tmp_path / "incoming"
    settings.FILE_UPLOAD_TEMP_DIR.mkdir()


def _files() -> list[Path]:
    folders = (Path(settings.MEDIA_ROOT), Path(settings.FILE_UPLOAD_TEMP_DIR))
    return [path for folder in folders for path in folder.rglob("*") if path.is_file()]


@pytest.fixture
def take(bob: User, organisation: Organisation) -> Any:
    def taken(content: bytes, name: str = "a.jsonl", **fields: Any) -> Intake:
        file = ContentFile(content, name=name)
        return intake_of_file(acting_user=bob, organisation=organisation, file=file, **fields)

    return taken


@pytest.fixture
def waiting(take: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """An intake that is left to a worker, whatever its size."""
    monkeypatch.setattr(intakes, "SMALL_BYTES", 0)
    return take


def test_a_small_file_is_a_version_at_once(take: Any) -> None:
    intake = take(_lines(12), "orders.jsonl")
    assert (intake.state, str(intake.version), intake.version.rows) == ("stored", "orders v1", 12)
    assert {path.name for path in _files()} == {"rows.jsonl", "offsets.bin"}


def test_a_large_file_waits_for_a_worker_and_is_seen_once_it_is_whole(waiting: Any) -> None:
    intake = waiting(_lines(12))
    assert (intake.state, DatasetVersion.objects.count()) == ("waiting", 0)
    assert intake_run(intake.pk) == "stored"
    intake.refresh_from_db()
    assert (intake.version.rows, intake.bytes_done) == (12, len(_lines(12)))
    assert intake_run(intake.pk) == ""
    assert len(_files()) == 2


def test_a_next_version_and_the_same_bytes(take: Any) -> None:
    dataset = take(_lines(12)).version.dataset
    assert take(_lines(13), dataset=dataset).version.number == 2
    again = take(_lines(12), dataset=dataset)
    assert (again.state, again.message) == (
        "refused",
        "This file is version 1 of a already. Nothing to add.",
    )
    assert latest_version(dataset).number == 2
    assert len(_files()) == 4


def test_a_bad_file_leaves_its_problems_and_no_bytes(take: Any) -> None:
    intake = take(_lines(12) + b"{}\n" * 150)
    assert (intake.state, intake.problems_total, len(intake.problems)) == ("refused", 150, 100)
    assert intake.problems[0][:3] == [13, "messages", "messages_missing"]
    assert (Dataset.objects.count(), _files()) == (0, [])


def test_another_kind_of_file_is_refused_before_anything_is_made(take: Any) -> None:
    with pytest.raises(UserError, match=r"called 'a.txt'"):
        take(_lines(12), "a.txt")
    assert not Intake.objects.exists()


def test_a_name_that_was_taken_meanwhile_is_refused(waiting: Any, take: Any) -> None:
    first, second = waiting(_lines(12)), waiting(_lines(13))
    assert (intake_run(first.pk), intake_run(second.pk)) == ("stored", "refused")
    second.refresh_from_db()
    assert second.message.startswith("A dataset is called 'a' already.")
    assert DatasetVersion.objects.count() == 1


def test_who_may_no_longer_write_makes_no_version(waiting: Any, bob: User) -> None:
    intake = waiting(_lines(12))
    Membership.objects.filter(user=bob).delete()
    assert intake_run(intake.pk) == "refused"
    assert not Dataset.objects.exists()


@pytest.mark.parametrize("finished", [True, False])
def test_a_worker_that_was_overtaken_stores_nothing(
    waiting: Any, monkeypatch: pytest.MonkeyPatch, finished: bool
) -> None:
    intake = waiting(_lines(12))
    real = taking_in._store

    def overtaken(mine: Intake, read: Any) -> None:
        monkeypatch.setattr(taking_in, "_store", real)
        Intake.objects.update(beat_at=timezone.now() - timedelta(minutes=2))
        assert intakes_sweep() == 1
        assert intake_run(intake.pk) == "stored" if finished else taking_in._claimed(intake.pk)
        real(mine, read)

    monkeypatch.setattr(taking_in, "_store", overtaken)
    assert intake_run(intake.pk) == ("stored" if finished else "")
    intake.refresh_from_db()
    assert (intake.state, intake.attempt) == ("stored" if finished else "running", 2)
    assert DatasetVersion.objects.count() == Dataset.objects.count() == finished
    assert len([path for path in _files() if "uploads" not in path.parts]) == 2 * finished


def test_a_waiting_file_is_rung_for_once_a_minute(waiting: Any) -> None:
    waiting(_lines(12))
    assert intakes_sweep() == 0
    Intake.objects.update(beat_at=timezone.now() - timedelta(seconds=61))
    assert (intakes_sweep(), intakes_sweep()) == (1, 0)


@pytest.mark.parametrize("place", ["reading", "storing"])
def test_a_worker_says_that_it_works_and_ends_where_it_was_overtaken(
    waiting: Any, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    monkeypatch.setattr(taking_in, "BEAT_S", 0)
    intake = waiting(_lines(12))
    real = taking_in._store

    def overtaken(mine: Intake, read: Any) -> None:
        Intake.objects.update(attempt=7)
        real(mine, read)
        read.file.read()

    def overtaken_reading(*given: Any, seen: Any, **options: Any) -> None:
        seen(Reading(rows=3, size=40))
        intake.refresh_from_db()
        assert (intake.bytes_done, intake.rows_done) == (40, 3)
        Intake.objects.update(attempt=7)
        seen(Reading(rows=4, size=50))

    if place == "reading":
        monkeypatch.setattr(taking_in, "read_upload", overtaken_reading)
    else:
        monkeypatch.setattr(taking_in, "_store", overtaken)
    assert intake_run(intake.pk) == ""
    assert not Dataset.objects.exists()


def test_a_check_that_keeps_breaking_off_is_given_up(
    waiting: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*given: Any) -> None:
        raise RuntimeError("a fault of ours")

    intake = waiting(_lines(12))
    monkeypatch.setattr(taking_in, "_store", broken)
    for attempt in range(1, 6):
        with pytest.raises(RuntimeError):
            intake_run(intake.pk)
        Intake.objects.update(beat_at=timezone.now() - timedelta(minutes=2))
        assert intakes_sweep() == (attempt < 5)
    intake.refresh_from_db()
    assert (intake.state, intake.message[:30]) == ("refused", "The check broke off 5 times. A")
    assert _files() == []


def test_a_refused_file_leaves_its_report_for_thirty_days(take: Any) -> None:
    take(b"{}\n")
    Intake.objects.update(created_at=timezone.now() - timedelta(days=29))
    intakes_sweep()
    assert Intake.objects.count() == 1
    Intake.objects.update(created_at=timezone.now() - timedelta(days=31))
    intakes_sweep()
    assert Intake.objects.count() == 0


def test_an_upload_becomes_one_dataset(take: Any, bob: User, organisation: Organisation) -> None:
    take(_lines(12))
    with pytest.raises(UserError, match="on its way"):
        intakes.intake_create(
            acting_user=bob, organisation=organisation, upload=Upload.objects.get(), name="b"
        )


CSV = "question,answer,level\n" + "".join(f'"What, is {n}?",{n},easy\n' for n in range(12))


def test_a_table_waits_for_its_columns_and_becomes_tasks(take: Any, bob: User) -> None:
    intake = take(CSV.encode(), "quiz.csv")
    assert (intake.state, intake_columns(intake)) == ("asking", ["question", "answer", "level"])
    columns = Columns("{{ question }} ({{level}})", "Be brief.", ("answer",))
    done = intake_set_columns(acting_user=bob, intake=intake, columns=columns)
    assert (done.state, str(done.version)) == ("stored", "quiz v1")
    assert list(dataset_rows(done.version, 3, 1)) == [
        {
            "messages": [
                {"role": "system", "content": "Be brief."},
                {"role": "user", "content": "What, is 3? (easy)"},
            ],
            "answer": "3",
        }
    ]
    assert len(_files()) == 2


def test_of_a_large_table_the_beginning_is_read_for_its_columns(
    take: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hone.datasets.services.uploads.CHUNK", 50)
    names, cells = intakes.intake_table(take(CSV.encode() + b'"broken', "quiz.csv"), 2)
    assert names == ["question", "answer", "level"]
    assert [each["answer"] for each in cells] == ["0", "1"]


def test_a_table_that_breaks_off_leaves_nothing(take: Any, bob: User) -> None:
    intake = take(CSV.encode() + b"only,two\n", "quiz.csv")
    done = intake_set_columns(acting_user=bob, intake=intake, columns=Columns("{{question}}"))
    assert (done.state, done.message) == (
        "refused",
        "Line 14 has 2 cells and the first line names 3 columns. Put a text with commas into "
        "quotation marks.",
    )
    assert (Dataset.objects.count(), _files()) == (0, [])


def _version(bob: User, organisation: Organisation, content: bytes) -> DatasetVersion:
    return dataset_create(
        acting_user=bob, organisation=organisation, name="All", upload=ContentFile(content)
    )


def test_a_split_by_a_key_keeps_what_belongs_together(
    bob: User, organisation: Organisation
) -> None:
    version = _version(bob, organisation, _lines(140))
    made = []
    for seed, names in ((3, ("t", "v")), (3, ("t again", "v again")), (4, ("t4", "v4"))):
        sides = dataset_split_make(
            acting_user=bob, version=version, split=Split(0.4, seed, "who"), names=names
        )

        made.append([list(dataset_rows(side.version, 0, 140)) for side in sides])
    first, again, other = made
    assert first == again != other
    training, validation = ({row["who"] for row in side} for side in first)
    assert training | validation == {f"w{n}" for n in range(20)}
    assert not training & validation
    assert sorted(row["n"] for side in first for row in side) == list(range(140))


def test_a_split_by_row_is_that_of_jobs(bob: User, organisation: Organisation) -> None:
    from hone.datasets.selectors import dataset_split

    version = _version(bob, organisation, _lines(50))
    sides = dataset_split_make(
        acting_user=bob, version=version, split=Split(0.3, 5), names=("t", "v")
    )
    rows = [tuple(row["n"] for row in dataset_rows(side.version, 0, 50)) for side in sides]
    assert tuple(rows) == dataset_split(version, 0.3, 5)


def test_a_side_with_too_few_rows_is_refused_in_words(
    bob: User, organisation: Organisation
) -> None:
    version = _version(bob, organisation, _lines(40))
    stored = Dataset.objects.count()
    with pytest.raises(UserError) as refused:
        dataset_split_make(acting_user=bob, version=version, split=Split(0.1, 1), names=("t", "v"))
    assert refused.value.message == (
        "Nothing was split. Too few rows are on the side for validation; at least 10 are needed. "
        "Hold out another share, use another seed or split by another key."
    )
    assert (Dataset.objects.count(), Intake.objects.exists()) == (stored, False)


@pytest.mark.parametrize(
    ("split", "sentence"),
    [
        (Split(0, 1), "0 of the rows cannot be held out"),
        (Split(0.1, 1, "absent"), "No row has a key 'absent'"),
        (Split(0.1, 1, "messages"), "No row has a key 'messages'"),
        (Split(0.1, 1, "some"), "1 of 21 rows have no 'some'"),
    ],
)
def test_a_split_that_cannot_be_is_refused(
    bob: User, organisation: Organisation, split: Split, sentence: str
) -> None:
    version = _version(bob, organisation, _lines(20, some=1) + _lines(1))
    with pytest.raises(UserError, match=sentence):
        dataset_split_make(acting_user=bob, version=version, split=split, names=("t", "v"))
    assert not Intake.objects.exists()


@gsm8k.needed
def test_real_questions_are_split(bob: User, organisation: Organisation) -> None:
    rows = [
        {"messages": [{"role": "user", "content": each["question"]}], "answer": each["answer"]}
        for each in map(json.loads, gsm8k.FILE.read_text("utf-8").splitlines())
    ]
    version = _version(bob, organisation, "\n".join(map(json.dumps, rows)).encode())
    sides = dataset_split_make(
        acting_user=bob, version=version, split=Split(0.1, 1, "answer"), names=("t", "v")
    )
    assert sum(side.version.rows for side in sides) == len(rows)
