"""How steady a grader version is and what it costs, as comparisons measured it."""

from __future__ import annotations

import re
from collections.abc import Callable
from decimal import Decimal

import pytest
from django.test import Client

from graders.models import GraderVersion, Judge
from hone.accounts.models import User
from jobs.models import ComparedScore, Comparison, Job
from jobs.workbench.services import Side
from jobs.workbench.upkeep import Upkeep, upkeep_measure, upkeep_of

Make = Callable[..., Comparison]


def test_a_comparison_keeps_what_it_found_of_each_grader_when_it_is_done(
    compare: Make, grader: Callable[..., GraderVersion], loose: GraderVersion
) -> None:
    done = compare(repeats=2, most=3)
    assert done.upkeep == {"b": {"noise": 0.0, "cost": 0.0}}
    exact = grader("exact")
    assert upkeep_of([loose.pk, exact.pk]) == {loose.pk: Upkeep(0.0, 0.0)}
    both = compare(Side.of(exact), most=3)
    assert both.upkeep == {side: {"noise": None, "cost": 0.0} for side in ("a", "b")}
    # What was not measured anew stands as it was measured before.
    assert upkeep_of([loose.pk]) == {loose.pk: Upkeep(0.0, 0.0)}
    assert upkeep_of([exact.pk]) == {exact.pk: Upkeep(None, 0.0)}
    assert upkeep_of([]) == {}


def test_the_noise_is_the_mean_spread_of_repeated_samples(compare: Make) -> None:
    """Of three samples one gets 0 and 1: its standard deviation is √½, the mean a third of it."""
    done = compare(repeats=2, most=3)
    again = ComparedScore.objects.filter(comparison=done, case="again").order_by("pk")
    trembling = again[0].trajectory_id
    again.filter(trajectory=trembling, attempt=1).update(b=0.0)
    again.filter(trajectory=trembling, attempt=2).update(b=1.0)
    assert upkeep_measure(done)["b"]["noise"] == pytest.approx(0.5**0.5 / 3)


def test_the_cost_is_by_the_prices_of_the_judges_for_a_thousand_samples(
    compare: Make, job: Job, alice: User
) -> None:
    """1 000 tokens in at 2 and 500 out at 4 a million: 0.004 a sample."""
    judge = Judge.objects.create(
        organisation=job.organisation, name="judge", base_url="https://judge.example.org/v1",
        models_offered=["m"], input_price=Decimal(2), output_price=Decimal(4), created_by=alice,
    )  # fmt: skip
    done = compare(most=3)
    spent = {"prompt_tokens": 1000, "completion_tokens": 500, "total_tokens": 1500}
    done.scores.update(detail_b={"usage": {"judge/m": spent}})
    assert upkeep_measure(done)["b"]["cost"] == pytest.approx(4.0)
    Judge.objects.filter(pk=judge.pk).update(input_price=0, output_price=0)
    assert upkeep_measure(done)["b"]["cost"] is None
    done.scores.update(detail_b={"usage": {"gone/m": spent}})
    assert upkeep_measure(done)["b"]["cost"] is None


def test_the_list_of_graders_shows_both_and_a_dash_where_nothing_was_measured(
    compare: Make, grader: Callable[..., GraderVersion], owner: Client, loose: GraderVersion
) -> None:
    grader("never compared")
    done = compare(most=3)
    Comparison.objects.filter(pk=done.pk).update(upkeep={"b": {"noise": 0.0123, "cost": 2.5}})
    page = owner.get("/graders/").content.decode()
    cells = {
        re.sub(r"<[^>]+>", "", row.split("</th>")[0]): re.findall(
            r'<td class="num">(.*?)</td>', row
        )
        for row in page.split("<tr>")[2:]
    }
    assert cells["loose"][1:3] == ["0.012", "2.5000"]
    assert cells["never compared"][1:3] == ["–", "–"]
