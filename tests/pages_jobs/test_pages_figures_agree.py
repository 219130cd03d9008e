"""What a page shows, the API and the CSV say alike, to the last digit that is shown."""

from __future__ import annotations

import csv
import re
from html import unescape
from io import StringIO
from typing import Any

import pytest
import story
from django.test import Client

from hone.accounts.models import Organisation, User
from jobs.models import Job, Trajectory
from jobs.services.lease import Lease

SHOWN = re.compile(r"([−+-]?)([\d\u202f]+)(?:\.(\d+))?(?:e([+-]\d+))?\s?(%|ms|s)?")
SCALES = {"%": 100.0, "ms": 1000.0}


def agrees(shown: str, exact: float | None) -> bool:
    """Whether the text is the number, rounded to the digits that the text has."""
    if exact is None:
        return shown == "–"
    found = SHOWN.fullmatch(shown)
    assert found is not None, shown
    sign, whole, digits, power, unit = found.groups()
    size = float(f"{whole.replace(chr(0x202F), '')}.{digits or 0}e{power or 0}")
    value = -size if sign in {"−", "-"} else size
    last_digit = 10.0 ** (int(power or 0) - len(digits or ""))
    return abs(value - exact * SCALES.get(unit or "", 1.0)) <= 0.5000001 * last_digit


def words(text: str) -> str:
    return unescape(re.sub(r"<[^>]*>", "", text)).strip()


def rows_of(page: str) -> list[list[str]]:
    body = page.split("<tbody>")[1].split("</tbody>")[0]
    return [
        [words(cell) for cell in re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row, re.S)]
        for row in body.split("</tr>")[:-1]
    ]


def read_csv(client: Client, address: str) -> list[dict[str, str]]:
    return list(csv.DictReader(StringIO(client.get(address).content.decode())))


def number(text: str) -> float | None:
    return float(text) if text else None


@pytest.mark.parametrize(
    ("shown", "exact", "is_so"),
    [
        ("0.267", 4 / 15, True),
        ("0.266", 4 / 15, False),
        ("1\u202f044", 1044.4, True),
        ("1\u202f044", 1044.6, False),
        ("6.2 %", 0.0625, True),
        ("−0.50", -0.5, True),
        ("0.50", -0.5, False),
        ("5.0e-02", 0.0504, True),
        ("91 ms", 0.0911, True),
        ("–", None, True),
        ("0", None, False),
    ],
)
def test_a_shown_number_agrees_or_does_not(shown: str, exact: float | None, is_so: bool) -> None:
    assert agrees(shown, exact) is is_so


def test_every_point_of_every_chart_is_the_same_in_table_csv_and_api(
    owner: Client, running: Job, lease: Lease
) -> None:
    story.steps_commit(running, lease, 5, 9)
    base, compared = f"/jobs/{running.pk}", 0
    for chart in owner.get(f"{base}/series.json").json()["charts"]:
        exact = read_csv(owner, f"{base}/charts/{chart['key']}.csv")
        table = rows_of(owner.get(f"{base}/charts/{chart['key']}.table").content.decode())
        by_step = {row[0].replace("\u202f", ""): row[1:] for row in table}
        assert [int(row["step"]) for row in exact] == chart["steps"]
        for at, line in enumerate(chart["series"]):
            for point, row in enumerate(exact):
                value, told = number(row[line["label"]]), line["values"][point]
                assert (told is None) == (value is None)
                assert value is None or told == pytest.approx(value, rel=1e-5)
                if value is None and row["step"] not in by_step:
                    continue
                shown = by_step[row["step"]][at]
                assert agrees(shown, value), (chart["key"], line["label"], row["step"], shown)
                compared += value is not None
    assert compared > 200


def test_the_tiles_are_the_newest_figures_of_the_steps(
    owner: Client, running: Job, organisation: Organisation, alice: User
) -> None:
    steps = read_csv(owner, f"/jobs/{running.pk}/steps.csv")
    page = owner.get(f"/jobs/{running.pk}/").content.decode()
    tiles = dict(
        re.findall(r'tile-name">([^<]*)</span><span class="tile-value">([^<]*)</span>', page)
    )
    columns = {
        "Validation reward": "validation.reward_mean",
        "Train reward": "train.reward_mean",
        "Tool calls p95": "validation.tool_calls_p95",
        "Tokens p95": "validation.tokens_p95",
        "Loop rate": "validation.loop_rate",
        "Ungraded": "train.ungraded",
        "Step time": "seconds.total",
    }
    assert set(tiles) == set(columns)
    for name, column in columns.items():
        newest = [value for step in steps if (value := number(step[column])) is not None][-1]
        assert agrees(unescape(tiles[name]), newest), (name, tiles[name], newest)


def test_a_trajectorys_facts_are_those_of_its_json(owner: Client, running: Job) -> None:
    for row in Trajectory.objects.filter(run__job=running, reward__isnull=False)[:12]:
        address = f"/jobs/{running.pk}/trajectories/{row.pk}/"
        told: dict[str, Any] = owner.get(f"{address}raw.json").json()
        page = owner.get(address).content.decode()
        facts = {
            words(name): words(value)
            for name, value in re.findall(r"<dt>(.*?)</dt><dd>(.*?)</dd>", page, re.S)
        }
        assert agrees(facts["Reward"], told["reward"])
        assert agrees(facts["Advantage"], told["advantage"]) or told["split"] == "validation"
        assert agrees(facts["Time"], told["seconds"])
        assert int(facts["Task"]) == told["row"] + 1
        calls = sum(len(turn["calls"]) for turn in told["turns"])
        assert facts["Turns, calls"] == f"{len(told['turns'])}, {calls}"
        sampled = sum(kind == 1 for kind in told["kinds"])
        assert f"{sampled} sampled of {len(told['ids'])}" in facts["Tokens"]
