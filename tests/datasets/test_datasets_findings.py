"""The background report finds what is wrong with rows that are each sound."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.core.files.base import ContentFile
from pytest_django.fixtures import Settings
from tokenizers import Tokenizer, models, pre_tokenizers

from hone.accounts.models import Organisation, User
from hone.core.errors import UserError
from hone.datasets.findings.known import KnownModel
from hone.datasets.findings.overlap import overlap
from hone.datasets.findings.prints import Prints
from hone.datasets.findings.scan import scan
from hone.datasets.models import DatasetVersion
from hone.datasets.services import dataset_create
from hone.datasets.services.findings import (
    findings_again,
    findings_compared,
    findings_sweep,
)
from hone.datasets.services.looking import findings_make
from tests import gsm8k

LONG = "The quick brown fox jumps over the lazy dog while {} people watch from the old stone bridge"


def _row(question: str, *others: dict[str, Any], **keys: Any) -> dict[str, Any]:
    return {"messages": [*others, {"role": "user", "content": question}], **keys}


def _scan(rows: Sequence[Any], models: Sequence[KnownModel] = ()) -> tuple[dict[str, Any], Prints]:
    lines = [row if isinstance(row, bytes) else json.dumps(row).encode() for row in rows]
    return scan(lines, len(lines), models)


def test_repeats_are_told_apart_from_rows_that_ask_the_same() -> None:
    rows = [_row("a", n=1), _row("b", n=2), {"n": 1, **_row("a")}, _row("a", n=3), _row("c")]
    found, _ = _scan(rows)
    assert found["duplicates"] == {"rows": 1, "examples": [[1, 3]]}
    assert found["same_prompt"] == {"rows": 2, "examples": [[1, 3], [3, 4]]}
    assert found["near"]["rows"] == 0


def test_what_is_nearly_the_same_is_found_among_others() -> None:
    others = [_row(" ".join(f"word{n}x{place}" for place in range(30))) for n in range(200)]
    rows = [*others, _row(LONG.format(12)), *others[:0], _row(LONG.format(12) + " today")]
    found, _ = _scan(rows)
    assert found["near"] == {"rows": 1, "examples": [[201, 202]]}
    assert found["same_prompt"]["rows"] == 0


def test_instructions_that_all_rows_share_make_them_not_alike() -> None:
    system = {"role": "system", "content": LONG.format("many") * 20}
    rows = [_row(f"Question {n} about thing {n * 7}?", system) for n in range(20)]
    assert _scan(rows)[0]["near"]["rows"] == 0


def test_a_key_twice_in_one_object_is_found_at_any_depth() -> None:
    twice = b'{"messages":[{"role":"user","content":"x"}],"meta":{"a":1,"a":2}}'
    found, _ = _scan([_row("x"), twice])
    assert found["repeated_keys"] == {"rows": 1, "examples": [{"row": 2, "key": "a"}]}


def test_a_row_of_very_many_keys_is_seen_in_one_pass() -> None:
    names = ",".join(f'"k{n}":0' for n in range(60_000))
    row = b'{"messages":[{"role":"user","content":"x"}],"k0":1,' + names.encode() + b"}"
    started = time.perf_counter()
    found, _ = _scan([row])
    assert found["repeated_keys"]["examples"] == [{"row": 1, "key": "k0"}]
    assert time.perf_counter() - started < 5


def _leak(rows: Sequence[Any], key: str) -> dict[str, Any]:
    (leak,) = [each for each in _scan(rows)[0]["leaks"] if each["key"] == key]
    return leak


def test_an_answer_in_the_prompt_is_a_leak() -> None:
    rows = [_row(f"It is code-{n}. What is it?", answer=f"code-{n}") for n in range(50)]
    leak = _leak(rows, "answer")
    assert (leak["rows"], leak["prompt"], leak["tools"], leak["chance"]) == (50, 50, 0, 0)
    assert (leak["likely"], leak["examples"]) == (True, [1, 2, 3, 4, 5])


def test_an_answer_in_what_a_tool_said_is_a_leak() -> None:
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    rows = [
        _row(
            "Which?",
            {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "tool", "content": f'{{"total": {n}.5}}', "tool_call_id": "c"},
            answer=n + 0.5,
        )
        for n in range(50)
    ]
    leak = _leak(rows, "answer")
    assert (leak["prompt"], leak["tools"], leak["likely"]) == (0, 50, True)


def test_a_short_value_that_stands_there_by_chance_is_no_leak() -> None:
    rows = [_row("Add 1, 2, 3 and 4.", answer=str(n % 4 + 1)) for n in range(50)]
    leak = _leak(rows, "answer")
    assert (leak["prompt"], leak["chance"], leak["likely"]) == (50, 49, False)


@pytest.mark.parametrize(
    ("question", "held"),
    [("He has 18 eggs.", 1), ("He has 180 eggs.", 0), ("It is 18.5 m", 0), ("(18)", 1)],
)
def test_a_value_is_found_as_a_word_of_its_own(question: str, held: int) -> None:
    assert _leak([_row(question, answer="18")], "answer")["prompt"] == held


def test_a_label_that_all_rows_have_is_no_leak() -> None:
    rows = [_row("A question about shops", topic="shops") for _ in range(20)]
    assert _leak(rows, "topic")["likely"] is False


def _model(folder: Path, context: int | None = None) -> KnownModel:
    tokenizer = Tokenizer(models.WordLevel({"[UNK]": 0}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.save(str(folder / "tokenizer.json"))
    return KnownModel("words", folder / "tokenizer.json", context)


def test_tokens_are_counted_by_each_models_own_tokenizer(tmp_path: Path) -> None:
    rows = [_row("w " * n) for n in range(1, 101)]
    (found,) = _scan(rows, [_model(tmp_path, context=90)])[0]["lengths"]
    assert {key: found[key] for key in ("model", "rows", "p50", "p95", "max", "over")} == {
        "model": "words",
        "rows": 100,
        "p50": 50,
        "p95": 95,
        "max": 100,
        "over": 10,
    }
    assert (sum(found["bins"]), found["low"], found["high"]) == (100, 1, 100)


def test_what_costs_much_looks_at_evenly_spaced_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hone.datasets.findings.scan.MOST_SAMPLED", 10)
    monkeypatch.setattr("hone.datasets.findings.scan.MOST_ROWS", 50)
    found, prints = _scan([_row(f"question {n}") for n in range(95)])
    assert (found["rows"], found["compared"], found["sampled"]) == (95, 50, 10)
    assert prints.sampled.tolist() == list(range(1, 96, 10))


def test_rows_that_two_versions_share_are_found() -> None:
    _, training = _scan([_row(f"question {n}") for n in range(20)] + [_row(LONG.format(3))])
    _, validation = _scan([_row("question 7"), _row("other"), _row(LONG.format(3) + " now")])
    assert overlap(validation, training) == {
        "same": 1,
        "compared": 3,
        "same_examples": [[1, 8]],
        "near": 1,
        "sampled": 3,
        "near_examples": [[3, 21]],
    }
    assert overlap(_scan([_row("new")])[1], training)["same"] == 0


@pytest.fixture
def make(bob: User, organisation: Organisation, settings: Settings, tmp_path: Path) -> Any:
    settings.MEDIA_ROOT = tmp_path / "files"

    def made(name: str, rows: Sequence[Any]) -> DatasetVersion:
        content = ContentFile("\n".join(map(json.dumps, rows)).encode())
        return dataset_create(acting_user=bob, organisation=organisation, name=name, upload=content)

    return made


def test_a_report_is_made_once_and_again_when_asked(
    make: Any, bob: User, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    version = make("a", [_row(f"question {n}") for n in range(12)])
    assert (findings_make(version.pk), findings_make(version.pk)) == (True, False)
    version.refresh_from_db()
    assert (version.findings["state"], version.findings["rows"]) == ("done", 12)
    models = [lambda: [_model(tmp_path)]]
    monkeypatch.setattr("hone.datasets.services.looking.known_models", models)
    findings_again(acting_user=bob, version=version)
    assert findings_make(version.pk)
    version.refresh_from_db()
    assert [each["model"] for each in version.findings["lengths"]] == ["words"]


def test_versions_are_compared_once_both_were_looked_through(make: Any) -> None:
    rows = [_row(f"question {n}") for n in range(24)]
    first, second = make("a", rows[:14]), make("b", rows[12:])
    findings_make(first.pk)
    with pytest.raises(UserError, match="The rows of b v1 were not looked through yet"):
        findings_compared(first, second)
    findings_make(second.pk)
    assert findings_compared(first, second)["same"] == 2


def test_a_report_that_nobody_makes_is_rung_for(make: Any) -> None:
    version = make("a", [_row(f"question {n}") for n in range(12)])
    assert findings_sweep() == 0
    DatasetVersion.objects.update(created_at=version.created_at.replace(year=2020))
    assert findings_sweep() == 0
    DatasetVersion.objects.update(created_at=version.created_at - timedelta(minutes=10))
    assert (findings_sweep(), findings_sweep()) == (1, 0)
    findings_make(version.pk)
    assert findings_sweep() == 0


def test_a_report_that_breaks_off_says_so(make: Any, settings: Settings) -> None:
    version = make("a", [_row(f"question {n}") for n in range(12)])
    (Path(settings.MEDIA_ROOT) / version.storage_key).unlink()
    with pytest.raises(FileNotFoundError):
        findings_make(version.pk)
    version.refresh_from_db()
    assert version.findings == {"state": "failed"}


@gsm8k.needed
def test_real_questions_neither_repeat_nor_leak(make: Any) -> None:
    def rows(name: str) -> list[dict[str, Any]]:
        found = map(json.loads, gsm8k.FILE.with_name(name).read_text("utf-8").splitlines())
        return [
            _row(each["question"], answer=each["answer"].rpartition("#### ")[2]) for each in found
        ]

    validation = make("validation", rows("gsm8k_test.jsonl"))
    training = make("training", rows("gsm8k_train_2000.jsonl"))
    for version in (validation, training):
        findings_make(version.pk)
        version.refresh_from_db()
    assert validation.findings["duplicates"]["rows"] == 0
    assert not any(each["likely"] for each in validation.findings["leaks"])
    assert findings_compared(validation, training)["same"] == 0
