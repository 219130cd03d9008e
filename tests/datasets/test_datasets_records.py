"""Rows without messages, such as questions with answers, are asked for their columns."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from django.core.files.base import ContentFile
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client

from hone.accounts.models import Organisation, User
from hone.core.errors import UserError
from hone.datasets.errors import Problem
from hone.datasets.forms import likely_question
from hone.datasets.models import Dataset, Intake
from hone.datasets.records import is_record, record_names, record_rows
from hone.datasets.services.intakes import intake_of_file
from hone.datasets.views.problems import problem_kinds

ROW = {"question": "How many?", "answer": "3"}
FILE = b"".join(json.dumps({**ROW, "n": n}).encode() + b"\n" for n in range(12))


@pytest.mark.parametrize(
    ("line", "is_one"),
    [
        (b'{"question": "How many?", "answer": "3"}', True),
        (b'\xef\xbb\xbf{"question": "How many?"}', True),
        (b'{"messages": [], "question": "How many?"}', False),
        (b'{"n": 3}', False),
        (b"{}", False),
        (b'["question"]', False),
        (b'{"question": ', False),
        (b'{"": "no name"}', False),
    ],
)
def test_a_record_has_texts_by_key_and_no_messages(line: bytes, is_one: bool) -> None:
    assert is_record(line) is is_one


def test_a_key_that_a_row_lacks_is_none_and_a_line_that_is_no_object_is_named(
    tmp_path: Path,
) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"q": "a"}\n\n{"q": "b", "extra": 1}\n[1]\n')
    assert record_names(path) == ["q", "extra"]
    rows = record_rows(path)
    assert [next(rows), next(rows)] == [{"q": "a", "extra": None}, {"q": "b", "extra": 1}]
    with pytest.raises(UserError, match="Line 4 is no JSON object"):
        next(rows)


def test_such_a_file_becomes_a_dataset_once_its_columns_are_named(bob: User) -> None:
    browser = Client()
    browser.force_login(bob)
    form = {"name": "quiz", "upload": SimpleUploadedFile("quiz.jsonl", FILE)}
    page = browser.post("/datasets/new/", form, follow=True)
    assert "its rows are no tasks yet" in page.content.decode()
    assert page.context["form"].initial["user"] == "{{question}}"
    path = page.redirect_chain[-1][0]
    given = {"user": "{{question}} Say the number.", "keep": ["answer", "n"]}
    stored = browser.post(path, given, follow=True).content.decode()
    assert "quiz v1 is stored with 12 rows." in stored
    rows = browser.get(f"/datasets/{Dataset.objects.get().pk}/v1/rows/?q=number").content.decode()
    assert "How many? Say the <mark>number</mark>." in rows


def test_an_upload_in_parts_is_asked_too(bob: User, organisation: Organisation) -> None:
    file = ContentFile(FILE, name="quiz.jsonl")
    made = intake_of_file(acting_user=bob, organisation=organisation, file=file)
    assert Intake.objects.get().pk == made.pk
    assert (made.state, made.recipe) == ("asking", {"kind": "records"})


@pytest.mark.parametrize(
    ("names", "asked"),
    [
        (["id", "Question", "answer"], "Question"),
        (["answer", "prompt"], "prompt"),
        (["row_id", "title", "body"], "title"),
        (["idx"], "idx"),
    ],
)
def test_the_message_begins_with_the_column_that_asks(names: list[str], asked: str) -> None:
    assert likely_question(names) == asked


def test_alike_problems_are_told_once_with_their_first_lines() -> None:
    same = [Problem(n, f"messages[{n}].role", "role", f"Line {n} is wrong") for n in range(1, 101)]
    kinds = problem_kinds([*same, Problem(7, "tools", "tools", "Line 7 has no list")])
    assert [(kind.lines, kind.more, kind.message) for kind in kinds] == [
        ([1, 2, 3, 4, 5], 95, "Line 1 is wrong"),
        ([7], 0, "Line 7 has no list"),
    ]
