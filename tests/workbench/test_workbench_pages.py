"""The pages of the workbench: asking, watching, reading, marking, and keeping as a fixture."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from graders.models import Fixture, GraderVersion
from hone.accounts.models import AuditEntry
from jobs.models import Comparison, HumanMark, Job, Trajectory
from jobs.workbench.services import Side

Make = Callable[..., Comparison]
NAMES = ("comparison", "comparison-pulse", "comparison-cancel", "comparison-delete")
POSTED = {"comparison-cancel", "comparison-delete"}


def page_of(client: Client, address: str, **headers: str) -> str:
    answer = client.get(address, headers=headers)
    assert answer.status_code == 200
    return answer.content.decode()


def of(comparison: Comparison, name: str = "comparison") -> str:
    return reverse(name, args=[comparison.pk])


def asked(job: Job, loose: GraderVersion, changes: dict[str, str]) -> dict[str, str]:
    typed = {"job": job.pk, "a": "stored", "b": loose.pk, "most": "20", "repeats": "0", "draft": ""}
    return {**typed, **changes}


def test_a_comparison_is_asked_for_and_leads_to_its_page(
    owner: Client, job: Job, loose: GraderVersion
) -> None:
    form = page_of(owner, f"/workbench/new/?job={job.pk}&b={loose.pk}")
    assert f'<option value="{loose.pk}" selected>loose v1</option>' in form
    answer = owner.post("/workbench/new/", asked(job, loose, {"split": "train", "first_step": "2"}))
    made = Comparison.objects.get()
    assert answer["Location"] == of(made)
    assert (made.label_a, made.label_b, made.split) == ("stored rewards", "loose v1", "train")
    assert (made.first_step, made.last_step, len(made.chosen)) == (2, None, 20)
    assert (made.repeats, made.mutations) == (0, False)
    page = page_of(owner, of(made))
    assert "Over 20 of 45 trajectories" in page
    assert "The first scores come as soon as a worker is free." in page
    assert "stored rewards and loose v1" in page_of(owner, "/workbench/")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"b": "draft", "draft": "{"}, "Line 1, column 2"),
        ({"b": "draft", "draft": '{"type": "no"}'}, "is no kind of grader"),
        ({"b": "gradver-0"}, "Select a valid choice."),
        ({"job": "ftjob-0"}, "Select a valid choice."),
        ({"most": "9999"}, "use at most 5000"),
        ({"first_step": "99"}, "has no stored trajectory of these steps"),
    ],
)
def test_what_is_asked_wrong_is_named(
    owner: Client, job: Job, loose: GraderVersion, changes: dict[str, str], said: str
) -> None:
    answer = owner.post("/workbench/new/", asked(job, loose, changes))
    assert answer.status_code == 200
    assert said in answer.content.decode()
    assert Comparison.objects.count() == 0


def test_a_draft_comes_from_the_editor_unsaved(owner: Client, job: Job) -> None:
    source = 'def grade(sample, item):\r\n    return 1.0  # "</textarea>'
    page = owner.post("/workbench/new/", {"do": "draft", "source": source}).content.decode()
    assert "&#34;type&#34;: &#34;python&#34;" in page
    assert r"return 1.0  # \&#34;&lt;/textarea&gt;" in page
    assert '<option value="draft" selected>' in page
    page = owner.post("/workbench/new/", {"do": "draft", "spec": '{"type": "x"}'}).content.decode()
    assert "{&#34;type&#34;: &#34;x&#34;}" in page
    assert (GraderVersion.objects.count(), Comparison.objects.count()) == (1, 0)


def test_the_page_says_first_how_many_disagree_and_lists_them_first(
    owner: Client, compare: Make
) -> None:
    done = compare(first_step=4, split="train")
    page = page_of(owner, of(done))
    assert "<strong>2 of 15</strong> disagree by more than 0.10 (13\u202f%, 4.0\u202f%" not in page
    assert "<strong>2 of 15</strong> disagree by more than 0.10" in page
    changes = re.findall(r'<td class="num" data-label="Change">([+−]?[\d.]+)</td>', page)
    assert changes[:3] == ["+1.00", "+1.00", "0.00"]
    assert "<script>alert" not in page
    assert 'href="/jobs/' in page
    assert '<svg class="mirror"' in page


def test_filters_leave_what_they_say(
    owner: Client, compare: Make, grader: Callable[..., GraderVersion]
) -> None:
    done = compare(first_step=4, split="train")

    def rows(only: str) -> int:
        return page_of(owner, f"{of(done)}?only={only}").count('<tr id="row-')

    assert (rows(""), rows("disagree"), rows("ungraded"), rows("marked")) == (15, 2, 0, 0)
    assert rows("nonsense") == 15
    broken = grader("broken", reference="{{item.nothing}}")
    page = page_of(owner, f"{of(compare(b=Side.of(broken), most=5))}?only=ungraded")
    assert page.count('<tr id="row-') == 5
    assert "invalid_variable" in page


def test_a_long_table_has_pages(owner: Client, compare: Make) -> None:
    done = compare()
    first = page_of(owner, of(done))
    assert first.count('<tr id="row-') == 25
    assert "from=25#table" in first
    second = page_of(owner, f"{of(done)}?from=25")
    assert "from=0#table" in second
    assert page_of(owner, f"{of(done)}?from=x").count('<tr id="row-') == 25


def test_the_job_graded_again_shows_both_curves(owner: Client, compare: Make) -> None:
    page = page_of(owner, of(compare()))
    assert "The job graded again" in page
    assert 'class="stroke-s1"' in page
    assert "Mean score by step: stored rewards" in page


def test_what_fools_a_grader_is_said_at_the_top(
    owner: Client, compare: Make, grader: Callable[..., GraderVersion]
) -> None:
    always = grader("always", input="a", reference="a")
    done = compare(b=Side.of(always), most=10, first_step=4, mutations=True, repeats=2)
    page = page_of(owner, of(done))
    assert "<strong>B can be fooled</strong>" in page
    assert "an instruction to the grader" in page
    assert "got the same score in all 2 runs" in page
    assert "A policy finds that out." in page


def test_an_answer_that_fools_becomes_a_fixture_that_must_get_little(
    owner: Client,
    stranger: Client,
    viewer: Client,
    compare: Make,
    grader: Callable[..., GraderVersion],
) -> None:
    always = grader("always", input="a", reference="a")
    done = compare(b=Side.of(always), most=10, first_step=4, mutations=True)
    score = done.scores.filter(case="order")[0]
    address = reverse("comparison-forgery-keep", args=[done.pk, score.pk])
    assert f'action="{address}"' in page_of(owner, of(done))
    assert stranger.post(address).status_code == 404
    assert viewer.post(address).status_code == 403
    plain = done.scores.filter(case="")[0].pk
    other = reverse("comparison-forgery-keep", args=[done.pk, plain])
    assert owner.post(other).status_code == 404
    owner.post(address, {"side": "b"})
    fixture = Fixture.objects.get()
    assert (fixture.grader, fixture.low, fixture.high) == (always.grader, 0.0, 0.1)
    assert fixture.answer == score.answer
    assert "highest score" in fixture.answer
    assert not fixture.results.get().passed
    page = owner.post(address, {"side": "a"}, follow=True).content.decode()
    assert "A draft has no fixtures. Save it as a grader first." in page


def test_a_pulse_says_nothing_until_something_is_new(owner: Client, compare: Make) -> None:
    comparison = compare(work=False, most=5)
    page = page_of(owner, of(comparison))
    since = re.search(r"since=([\w.]+)", page)
    assert since is not None
    pulse = of(comparison, "comparison-pulse")
    assert owner.get(f"{pulse}?since={since[1]}").status_code == 204
    Comparison.objects.update(status="done", done=5)
    answer = owner.get(f"{pulse}?since={since[1]}")
    assert answer["HX-Trigger"] == "comparison-news"
    assert "hx-get" not in answer.content.decode()
    results = page_of(owner, of(comparison), HX_Request="true", HX_Target="results")
    assert results.lstrip().startswith('<div id="results"')


def test_one_is_cancelled_and_deleted(owner: Client, compare: Make) -> None:
    comparison = compare(work=False, most=5)
    refused = owner.post(of(comparison, "comparison-delete"), follow=True).content.decode()
    assert "Cancel it first." in refused
    owner.post(of(comparison, "comparison-cancel"))
    comparison.refresh_from_db()
    assert comparison.status == "cancelled"
    assert "Cancelled" in page_of(owner, of(comparison))
    owner.post(of(comparison, "comparison-delete"))
    assert Comparison.objects.count() == 0


def test_marks_are_given_in_the_table_and_shown(
    owner: Client, compare: Make, one: Trajectory
) -> None:
    done = compare(first_step=4, split="train")
    typed = {"value": "0.75", "comparison": done.pk, "only": "disagree", "from": "0"}
    address = f"/jobs/{done.job_id}/trajectories/{one.pk}/mark/"
    answer = owner.post(address, typed)
    assert answer["Location"] == f"{of(done)}?only=disagree&from=0#row-{one.pk}"
    page = page_of(owner, of(done))
    assert 'value="0.75"' in page
    assert page_of(owner, f"{of(done)}?only=marked").count('<tr id="row-') == 1
    assert "1 of these trajectories is marked: too few to decide on, 30 say more" in page
    assert owner.post(address, {"value": ""})["Location"].endswith(f"/trajectories/{one.pk}/")
    assert HumanMark.objects.count() == 0


@pytest.mark.parametrize("comparison", ["cmp-../..", "//elsewhere.example.org", "cmp-", "x"])
def test_a_mark_never_leads_elsewhere(
    owner: Client, job: Job, one: Trajectory, comparison: str
) -> None:
    here = f"/jobs/{job.pk}/trajectories/{one.pk}/"
    answer = owner.post(f"{here}mark/", {"value": "1", "comparison": comparison})
    assert answer["Location"] == here


@pytest.mark.parametrize(
    ("value", "said"),
    [("7", "7 is no mark here. Use a number from 0 to 1."), ("x", "Your mark: Enter a number.")],
)
def test_a_mark_that_does_not_fit_is_named(
    owner: Client, job: Job, one: Trajectory, value: str, said: str
) -> None:
    here = f"/jobs/{job.pk}/trajectories/{one.pk}/"
    assert said in owner.post(f"{here}mark/", {"value": value}, follow=True).content.decode()
    assert HumanMark.objects.count() == 0


def test_a_trajectory_is_kept_as_a_fixture_with_one_button(
    owner: Client, job: Job, one: Trajectory
) -> None:
    here = f"/jobs/{job.pk}/trajectories/{one.pk}/"
    page = page_of(owner, here)
    form = page.split(f'action="{here}keep/"', 1)[1].split("</form>", 1)[0]
    typed = dict(re.findall(r'name="(\w+)" value="([^"]*)"', form))
    answer = owner.post(f"{here}keep/", typed)
    fixture = Fixture.objects.get()
    assert answer["Location"] == (f"/graders/{fixture.grader_id}/fixtures/#fixture-{fixture.pk}")
    assert (fixture.name, fixture.low, fixture.high) == (one.uid, 1.0, 1.0)
    assert fixture.answer == "yes"
    assert fixture.item["answer"] == "yes"
    assert fixture.sample["output_tools"][0]["function"]["name"] == "lookup_order"
    assert fixture.results.get().passed
    kept = page_of(owner, f"/graders/{fixture.grader_id}/fixtures/")
    assert f'href="{here}"' in kept
    again = owner.post(f"{here}keep/", typed, follow=True).content.decode()
    assert f"There is a fixture named {one.uid} already" in again


def test_a_limit_s_nothing_is_kept_as_what_the_grader_said(owner: Client, job: Job) -> None:
    looped = Trajectory.objects.filter(run__job=job, step=4, stop="tool_loop")[0]
    page = page_of(owner, f"/jobs/{job.pk}/trajectories/{looped.pk}/")
    assert 'name="low" value="1.0"' in page


@pytest.mark.parametrize("typed", [{}, {"grader": "grader-0", "name": "x", "low": "1"}])
def test_a_fixture_that_is_not_whole_is_refused(
    owner: Client, job: Job, one: Trajectory, typed: dict[str, str]
) -> None:
    here = f"/jobs/{job.pk}/trajectories/{one.pk}/"
    assert owner.post(f"{here}keep/", typed)["Location"] == here
    assert Fixture.objects.count() == 0


@pytest.mark.parametrize("name", NAMES)
def test_a_foreign_comparison_is_as_an_absent_one(
    stranger: Client, compare: Make, name: str
) -> None:
    ask: Any = stranger.post if name in POSTED else stranger.get
    foreign = ask(of(compare(most=3, work=False), name))
    absent = ask(reverse(name, args=["cmp-0000000000000000"]))
    assert foreign.status_code == absent.status_code == 404
    assert foreign.content == absent.content


def test_a_foreign_trajectory_is_neither_marked_nor_kept(
    stranger: Client, job: Job, one: Trajectory
) -> None:
    for name in ("mark", "keep"):
        address = f"/jobs/{job.pk}/trajectories/{one.pk}/{name}/"
        assert stranger.post(address, {"value": "1"}).status_code == 404


def test_a_viewer_reads_everything_and_changes_nothing(
    viewer: Client, compare: Make, job: Job, one: Trajectory
) -> None:
    done = compare(most=5)
    count = AuditEntry.objects.count()
    for address in ("/workbench/", of(done), of(done, "comparison-pulse")):
        main = page_of(viewer, address).rpartition("<main")[2]
        assert 'method="post"' not in main
    here = f"/jobs/{job.pk}/trajectories/{one.pk}/"
    assert "Keep as fixture" not in page_of(viewer, here)
    refused = [
        viewer.get("/workbench/new/"),
        viewer.post("/workbench/new/", {}),
        viewer.post(of(done, "comparison-cancel")),
        viewer.post(of(done, "comparison-delete")),
        viewer.post(f"{here}mark/", {"value": "1"}),
        viewer.post(f"{here}keep/", {}),
    ]
    assert [answer.status_code for answer in refused] == [403] * 6
    assert AuditEntry.objects.count() == count


def test_who_is_not_signed_in_is_asked_to(compare: Make) -> None:
    for address in ("/workbench/", "/workbench/new/", of(compare(most=3, work=False))):
        assert Client().get(address)["Location"].startswith("/login/")
