"""The trajectory list: words, orders, parts, windows, peek and news."""

from __future__ import annotations

import re

import pytest
import story
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from jobs.models import Job, Trajectory
from jobs.selectors import Filters, trajectories, trajectory_list
from jobs.selectors.histogram import reward_histogram
from jobs.selectors.trajectories import trajectory_rows
from jobs.services.lease import Lease
from jobs.views.excerpts import Piece, snippet


def _found(job: Job, **given: object) -> list[str]:
    return [row.uid for row in trajectory_list(job, Filters(**given)).rows]  # type: ignore[arg-type]


def _excerpt(uid: str, text: str) -> None:
    one = Trajectory.objects.get(uid=uid)
    one.excerpt = text
    one.save(update_fields=["excerpt"])


def test_words_are_found_in_any_case_and_order_and_the_last_may_be_a_beginning(
    running: Job,
) -> None:
    _excerpt("t4-r1-s0", "Your Refund of 40 is on its way; refund.id 5512")
    _excerpt("t4-r1-s1", "no refunds here, search_policy")
    assert _found(running, text="refund") == ["t4-r1-s0", "t4-r1-s1"]
    assert _found(running, text="way REFUND") == ["t4-r1-s0"]
    assert _found(running, text="refund way") == ["t4-r1-s0"]
    assert _found(running, text="refun way") == [], "only the last word may be a beginning"
    assert _found(running, text="policy") == ["t4-r1-s1"]
    assert _found(running, text="search_poli") == ["t4-r1-s1"]


@pytest.mark.parametrize("text", ['"', "'", "a' | b", '"a" OR b', ":*", "NEAR(", "-", "%", "\\"])
def test_signs_of_a_query_language_are_only_punctuation(running: Job, text: str) -> None:
    _found(running, text=text)


def test_a_text_that_changed_is_found_by_its_new_words_alone(running: Job) -> None:
    _excerpt("t4-r1-s0", "zebra")
    assert _found(running, text="zebra") == ["t4-r1-s0"]
    _excerpt("t4-r1-s0", "giraffe")
    assert _found(running, text="zebra") == []
    Trajectory.objects.filter(uid="t4-r1-s0").delete()
    assert _found(running, text="giraffe") == []


def test_the_words_are_marked_and_stay_text(owner: Client, running: Job) -> None:
    _excerpt("t4-r1-s0", "<b>Refund</b> of 40 \u202e")
    page = owner.get(f"/jobs/{running.pk}/trajectories/?text=refund").content.decode()
    assert '<p class="hit">&lt;b&gt;<mark>Refund</mark>&lt;/b&gt; of 40 ⟦U+202E⟧</p>' in page


def test_a_snippet_begins_a_little_before_the_first_hit() -> None:
    text = "a " * 50 + "the refund and refunded, refunds"
    assert snippet(text, ["refund"]) == (
        Piece("…"),
        Piece("a " * 28 + "the "),
        Piece("refund", is_hit=True),
        Piece(" and "),
        Piece("refunded", is_hit=True),
        Piece(", "),
        Piece("refunds", is_hit=True),
    )
    assert snippet("prerefund", ["refund"]) == ()
    assert snippet("x", []) == ()


@pytest.mark.parametrize("sort", list(trajectories.ORDERS))
def test_every_order_pages_through_all_rows_once_and_back(running: Job, sort: str) -> None:
    everything = Trajectory.objects.filter(run__job=running)
    if sort.endswith("reward"):
        everything = everything.exclude(reward=None)
    wanted = list(everything.order_by(*trajectories.ORDERS[sort]).values_list("pk", flat=True))
    page = trajectory_list(running, Filters(sort=sort), limit=7)
    pages = [page]
    while page.after:
        page = trajectory_list(running, Filters(sort=sort), after=page.after, limit=7)
        pages.append(page)
    assert [row.pk for page in pages for row in page.rows] == wanted
    for before, after in zip(pages[-2::-1], pages[:0:-1], strict=True):
        back = trajectory_list(running, Filters(sort=sort), before=after.before, limit=7)
        assert [row.pk for row in back.rows] == [row.pk for row in before.rows]


def test_a_part_has_a_range(owner: Client, running: Job) -> None:
    wanted = Trajectory.objects.filter(step=4, split="train", reward=1.0).count()
    query = "step=4&split=train&part=accuracy&part_from=0.5"
    page = owner.get(f"/jobs/{running.pk}/trajectories/?{query}").content.decode()
    assert len(re.findall("row-link", page)) == wanted > 0
    assert _found(running, part="nothing", step=4) == []
    assert _found(running, part="format", part_to=0.5) == []


def test_where_many_match_the_newest_steps_are_looked_through_first(
    owner: Client, running: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trajectories, "FEW", 10)
    monkeypatch.setattr(trajectories, "MOST_LOOKED_THROUGH", 32)
    page = owner.get(f"/jobs/{running.pk}/trajectories/?tool=lookup_order").content.decode()
    link = re.search(r'href="(\?[^"]*until=\d+)">Look through the steps before', page)
    assert link is not None
    assert set(_steps(page)) == {"4"}
    rest = owner.get(f"/jobs/{running.pk}/trajectories/{link.group(1).replace('&amp;', '&')}")
    assert set(_steps(rest.content.decode())) == {"3", "2"}


def _steps(page: str) -> list[str]:
    return re.findall(r'row-link.*?</th>\s*<td class="num">(\d+)</td>', page, re.S)


def test_what_the_database_expects_to_be_many_is_counted_where_the_window_is_not_full(
    running: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trajectories, "MANY", 0)
    rare = trajectory_list(running, Filters(flag="looped"))
    assert (rare.found, len(rare.rows), rare.looked_back_to) == (6, 6, None)
    monkeypatch.setattr(trajectories, "PAGE", 6)
    common = trajectory_list(running, Filters(flag="looped"))
    assert (common.found, len(common.rows)) == (None, 6)


def test_each_row_of_a_window_is_held_to_the_same_words_and_labels(running: Job) -> None:
    by_index = Filters(text="lookup", tool="lookup_order", flag="looped")
    for filters in (by_index, Filters(text="nobodysaidthis"), Filters(stop="tool_loop")):
        rows = trajectory_rows(running.leading_run_id, filters)
        each = trajectory_rows(running.leading_run_id, filters, one_by_one=True)
        assert set(rows) == set(each)


def test_few_matches_are_counted_and_all_there(running: Job) -> None:
    page = trajectory_list(running, Filters(flag="looped", sort="-tokens"))
    assert (page.found, len(page.rows), page.looked_back_to) == (6, 6, None)


def test_another_order_says_that_it_splits_groups(owner: Client, running: Job) -> None:
    page = owner.get(f"/jobs/{running.pk}/trajectories/?step=4&sort=-reward").content.decode()
    assert "Sorted by highest reward first, so the attempts at one task no longer stand" in page
    assert 'aria-sort="descending"' in page
    assert "Ungraded ones have no reward and are not in this order." in page
    plain = owner.get(f"/jobs/{running.pk}/trajectories/?step=4").content.decode()
    assert "no longer stand together" not in plain
    assert "32 trajectories</strong>, 8 groups, 2 ungraded" in " ".join(plain.split())


def test_the_bins_keep_what_the_range_leaves_out_and_the_sum_does_not(running: Job) -> None:
    wide = reward_histogram(running, Filters(step=4, split="train"))
    narrow = reward_histogram(running, Filters(step=4, split="train", reward_from=0.9))
    assert narrow.bins == wide.bins
    ones = next(each.n for each in wide.bins if each.label == "1")
    assert (wide.total, narrow.total, wide.groups, wide.ungraded) == (16, ones, 4, 1)


def test_without_a_step_the_newest_are_counted(
    running: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jobs.selectors.histogram.MOST_COUNTED", 48)
    found = reward_histogram(running, Filters())
    assert (found.oldest, found.total) == (3, 48)


def test_marks_of_credit_stand_in_the_row_and_what_is_not_trained_says_so(
    owner: Client, running: Job
) -> None:
    page = owner.get(f"/jobs/{running.pk}/trajectories/?step=4&row=2").content.decode()
    assert 'aria-label="0 up, 2 down, 1 of 2 with evidence of their own"' in page
    assert page.count("evaluated, not trained") == 4


def test_peek_shows_the_turns_of_a_row(owner: Client, stranger: Client, running: Job) -> None:
    one = Trajectory.objects.get(uid="t4-r0-s1")
    address = f"/jobs/{running.pk}/trajectories/{one.pk}/peek/"
    page = owner.get(address).content.decode()
    assert page.count("<li>") == 3
    assert f'href="/jobs/{running.pk}/trajectories/{one.pk}/#turn-3"' in page
    assert "same call, same result × 3" in page
    assert stranger.get(address).status_code == 404


def test_news_tells_of_a_newer_step_and_moves_no_row(owner: Client, job: Job, lease: Lease) -> None:
    story.steps_commit(job, lease, 0, 4)
    address = f"/jobs/{job.pk}/trajectories/news/?since=4"
    assert owner.get(address).status_code == 204
    story.steps_commit(job, lease, 5, 5)
    page = owner.get(address).content.decode()
    assert "16 new at step 5" in page
    assert f'href="/jobs/{job.pk}/trajectories/?step=5">Go</a>' in page


@pytest.mark.parametrize("query", ["", "step=4", "text=delivered", "sort=-tokens&flag=looped"])
def test_a_filter_asks_the_database_a_fixed_number_of_times(
    owner: Client, running: Job, query: str
) -> None:
    with CaptureQueriesContext(connection) as captured:
        owner.get(f"/jobs/{running.pk}/trajectories/?{query}")
    assert len(captured) <= 12
