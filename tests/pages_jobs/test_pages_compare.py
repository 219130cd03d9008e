"""Compare jobs: what each reached, what differs, and the same tasks before and after."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import story
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from hone.accounts.models import Organisation, User
from jobs.models import Job, JobStep, Run, Trajectory, Usage
from jobs.selectors.compare.curves import Curve, aligned, curves_of
from jobs.selectors.compare.differences import differences
from jobs.selectors.compare.sides import sides
from jobs.services.rollup import rollup_steps


@pytest.fixture
def other(running: Job, alice: User, organisation: Organisation, files: Path) -> Job:
    """The same data and grader, trained to step 8, with two settings of its own."""
    job = story.job_make(
        alice,
        organisation,
        files / "model",
        name="refunds-v2 <b>bold</b>",
        version=running.train_version,
        grader=running.grader_version,
    )
    job.spec["settings"] = [
        {**each, "value": 9} if each["name"] == "group_size" else each
        for each in job.spec["settings"]
    ]
    job.seed = 7
    job.save(update_fields=["spec", "seed"])
    story.steps_commit(job, story.lease_take(job), 0, 8)
    job.refresh_from_db()
    return job


def _page(client: Client, query: str, status: int = 200) -> str:
    answer = client.get(f"/compare/?{query}")
    assert answer.status_code == status
    return answer.content.decode()


def _text(page: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", "", page)).replace("\u202f", " ")


def test_two_jobs_stand_side_by_side_at_their_best_steps(
    owner: Client, running: Job, other: Job
) -> None:
    page = _page(owner, f"jobs={running.pk},{other.pk}")
    assert (
        "Validation reward: refunds-v2 &lt;b&gt;bold&lt;/b&gt; 0.600 at step 8, "
        "refunds-v3 0.267 at step 4." in _text(page)
    )
    assert "<b>bold" not in page
    context = owner.get(f"/compare/?jobs={running.pk},{other.pk}").context
    assert [row.side.gain for row in context["sides"]] == pytest.approx([4 / 15, 9 / 15])
    assert [row.side.gain_per_hour for row in context["sides"]] == pytest.approx(
        [4 / 15 / (20.8 / 3600), 9 / 15 / (36.9 / 3600)]
    )
    assert [(row.ungraded, row.attempts) for row in context["sides"]] == [(1, 16), (1, 16)]


def test_tasks_are_paired_by_row_with_the_sign_test(owner: Client, running: Job) -> None:
    page = _text(_page(owner, f"jobs={running.pk}@0,{running.pk}@4"))
    assert (
        "Same 4 validation tasks: refunds-v3 @ 4 (step 4) is better than refunds-v3 @ 0 (step 0) "
        "on 3, worse on 0, equal on 1 (sign test, two-sided, p = 0.250). "
        # 0.25 and 3.1824 times the standard error of 0.5, 0.25, 0.25 and 0: 0.1021.
        "The mean difference is +0.25, 95 % interval −0.07 to +0.57." in page
    )
    context = owner.get(f"/compare/?jobs={running.pk}@0,{running.pk}@4").context
    assert [(row.pair.row, row.pair.before, row.pair.after) for row in context["task_rows"]] == [
        (3, 0.0, 0.5),
        (1, 0.0, 0.25),
        (2, 0.0, 0.25),
        (0, 0.0, 0.0),
    ]
    assert [[cell["n"] for cell in line["cells"]] for line in context["grid"]] == [
        [0, 3, 0],
        [0, 1, 0],
        [0, 0, 0],
    ]


def test_the_scatters_place_the_same_rewards_as_the_table(
    owner: Client, running: Job, other: Job
) -> None:
    context = owner.get(f"/compare/?jobs={running.pk},{other.pk}").context
    assert [each.title for each in context["scatters"]] == [
        "Reward against tokens",
        "Reward against time",
    ]
    assert context["scatters"][0].caption.startswith(
        "refunds-v3 0.267 at 16, refunds-v2 <b>bold</b> 0.600 at 16."
    )


def test_a_job_with_one_value_is_drawn_as_a_dot(owner: Client, running: Job) -> None:
    context = owner.get(f"/compare/?jobs={running.pk}@0,{running.pk}@4").context
    assert [line.dots for line in context["charts"][0].legend] == [True, False, False]


def test_a_line_goes_on_between_two_evaluations(owner: Client, running: Job, other: Job) -> None:
    context = owner.get(f"/compare/?jobs={running.pk},{other.pk}").context
    picture = str(context["charts"][0].picture)
    assert '<path d="M0.0 200.0L500.0 146.7" class="stroke-s1"/>' in picture


def test_a_quadrant_leaves_its_own_tasks(owner: Client, running: Job) -> None:
    query = f"/compare/?jobs={running.pk}@0,{running.pk}@4&change=same-same"
    assert [row.pair.row for row in owner.get(query).context["task_rows"]] == [0]


def test_the_order_of_before_and_after_can_be_turned(owner: Client, running: Job) -> None:
    query = f"/compare/?jobs={running.pk}@0,{running.pk}@4&before=2&after=1"
    found = owner.get(query).context["signs"]
    assert (found.better, found.worse, found.equal) == (0, 3, 1)


def test_a_task_opens_two_bodies_and_no_more(
    owner: Client, running: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    from jobs.views import compare_task

    opened: list[tuple[int, int]] = []
    body = compare_task.trajectory_body
    monkeypatch.setattr(
        compare_task,
        "trajectory_body",
        lambda each: opened.append((each.step, each.sample)) or body(each),
    )
    right = Trajectory.objects.get(run__job=running, step=4, split="validation", row=3, sample=3)
    page = _page(owner, f"jobs={running.pk}@0,{running.pk}@4&task=4&right={right.pk}")
    assert opened == [(0, 0), (4, 3)]
    assert "The first 1 turn did the same on both sides" in page
    assert "<script>alert" not in page
    assert page.count('aria-current="true"') >= 2


def test_an_attempt_of_another_task_is_absent(owner: Client, running: Job) -> None:
    wrong = Trajectory.objects.get(run__job=running, step=4, split="validation", row=2, sample=3)
    _page(owner, f"jobs={running.pk}@0,{running.pk}@4&task=4&right={wrong.pk}", status=404)


def test_only_fields_that_differ_are_listed_with_both_values(running: Job, other: Job) -> None:
    found = differences([running, other])
    assert [(row.field, row.values) for row in found.rows] == [
        ("group_size", (story_value(running, "group_size"), "9")),
        ("seed", ("42", "7")),
    ]
    assert found.fields > 30


def story_value(job: Job, name: str) -> str:
    return next(str(each["value"]) for each in job.spec["settings"] if each["name"] == name)


def test_versions_are_told_apart_by_their_hashes(running: Job, other: Job) -> None:
    other.spec["train"] = {**other.spec["train"], "sha256": "ab" * 32}
    found = {row.field: row.values for row in differences([running, other]).rows}
    assert found["train"] == (
        "refunds v1, 20 rows (41ce41ce41ce)",
        "refunds v1, 20 rows (abababababab)",
    )


def test_rewards_of_different_graders_are_not_one_measure_and_can_be_graded_again(
    owner: Client, viewer: Client, running: Job, other: Job, alice: User, organisation: Organisation
) -> None:
    strict = story.grader_make(alice, organisation, "strict grader", operation="ilike")
    other.grader_version = strict
    other.spec["grader"] = {"name": str(strict), "sha256": strict.sha256}
    other.save(update_fields=["spec", "grader_version"])
    page = _page(owner, f"jobs={running.pk},{other.pk}")
    assert "! not the same measure" in page
    assert "as their grader is not the same version" in page
    assert "Tasks are not paired" in page
    assert "sign test" not in page
    door = re.search(r'href="(/workbench/new/[^"]+)"', page)
    assert door is not None
    form = owner.get(door.group(1).replace("&amp;", "&"))
    assert form.status_code == 200
    assert f'value="{strict.pk}" selected' in form.content.decode()
    assert f'value="{running.pk}" selected' in form.content.decode()
    assert "/workbench/new/" not in _page(viewer, f"jobs={running.pk},{other.pk}")


def test_another_validation_file_is_not_one_measure(
    owner: Client, running: Job, other: Job
) -> None:
    other.spec["validation"] = {**other.spec["validation"], "sha256": "ab" * 32}
    other.save(update_fields=["spec"])
    assert "as their validation tasks are not of the same file" in _page(
        owner, f"jobs={running.pk},{other.pk}"
    )


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("jobs={a}@x,{b}", "names no step of a job. Write the job&#x27;s id, or id@step"),
        ("jobs=@4,{b}", "names no step of a job"),
        ("jobs={a}@9999999999,{b}", "names no step of a job"),
        ("jobs={a},{a}", "is there twice. Name each job, or step of a job, once."),
        ("jobs=1,2,3,4,5,6,7", "7 jobs are more than one page compares. Leave at most 6."),
        (
            "jobs={a}@3,{b}",
            "Step 3 of refunds-v3 was not evaluated. The nearest evaluated step before it is 0.",
        ),
    ],
)
def test_a_bad_address_says_what_to_do(
    owner: Client, running: Job, other: Job, query: str, said: str
) -> None:
    page = _page(owner, query.format(a=running.pk, b=other.pk), status=400)
    assert said in page
    assert 'name="jobs"' in page


@pytest.mark.parametrize(
    "more",
    ["x=nothing", "solo=0", "solo=99", "before=x&after=-1", "task=0", "task=999", "change=zzz"],
)
def test_what_the_address_may_hold_never_breaks_the_page(
    owner: Client, running: Job, other: Job, more: str
) -> None:
    _page(owner, f"jobs={running.pk},{other.pk}&{more}")


def test_fewer_than_two_jobs_are_asked_for(owner: Client, running: Job, other: Job) -> None:
    page = _page(owner, f"jobs={running.pk}")
    assert (
        f'value="{running.pk}" id="tick-{running.pk}" aria-label="Compare refunds-v3" checked'
        in page
    )
    assert f'value="{other.pk}"' in page
    assert "Tick two to 6 jobs" in _page(owner, "")


def test_a_foreign_job_answers_as_an_absent_one(
    stranger: Client, owner: Client, running: Job, other: Job
) -> None:
    foreign = stranger.get(f"/compare/?jobs={running.pk},{other.pk}")
    absent = stranger.get("/compare/?jobs=ftjob-1,ftjob-2")
    assert foreign.status_code == absent.status_code == 404
    assert foreign.content == absent.content
    assert owner.get(f"/compare/?jobs={running.pk},ftjob-1").status_code == 404


def test_a_job_that_was_not_evaluated_yet_is_shown_with_dashes(
    owner: Client, running: Job, alice: User, organisation: Organisation, files: Path
) -> None:
    waiting = story.job_make(
        alice, organisation, files / "model", name="waiting",
        version=running.train_version, grader=running.grader_version,
    )  # fmt: skip
    page = _page(owner, f"jobs={running.pk},{waiting.pk}")
    assert "Not evaluated yet: waiting." in page
    assert "One of the two was not evaluated yet." in page


def test_it_asks_the_database_as_often_for_many_rows_as_for_few(
    owner: Client, running: Job, other: Job
) -> None:
    def asked() -> int:
        with CaptureQueriesContext(connection) as captured:
            _page(owner, f"jobs={running.pk},{other.pk}")
        return len(captured)

    few = asked()
    run = Run.objects.get(job=running)
    template = JobStep.objects.get(run=run, step=4)
    JobStep.objects.bulk_create(
        JobStep(run=run, step=step, epoch=1, metrics=template.metrics) for step in range(5, 105)
    )
    assert asked() == few <= 12


def test_six_sides_of_two_jobs_ask_the_database_no_more_often_than_it_may(
    owner: Client, running: Job, other: Job
) -> None:
    """One of the jobs is long, so that steps and buckets are both read."""
    run = Run.objects.get(job=running)
    metrics = JobStep.objects.get(run=run, step=4).metrics
    JobStep.objects.bulk_create(
        JobStep(run=run, step=step, epoch=1, metrics=metrics) for step in range(5, 1700)
    )
    rollup_steps(run)
    Job.objects.filter(pk=running.pk).update(last_step=1699)
    places = [f"{running.pk}@{step}" for step in (0, 4, 1699)]
    places += [f"{other.pk}@{step}" for step in (0, 4, 8)]
    with CaptureQueriesContext(connection) as captured:
        answer = owner.get(f"/compare/?jobs={','.join(places)}&before=5&after=6")
    assert len(captured) <= 12
    found = [row.side for row in answer.context["sides"]]
    assert [side.seconds for side in found[3:]] == pytest.approx([4.7, 20.8, 36.9])
    assert [side.reward for side in found] == pytest.approx([0, 4 / 15, 4 / 15, 0, 4 / 15, 0.6])


def test_a_soloed_job_is_drawn_alone_on_the_same_scale(
    owner: Client, running: Job, other: Job
) -> None:
    both = owner.get(f"/compare/?jobs={running.pk},{other.pk}").context["charts"][1]
    alone = owner.get(f"/compare/?jobs={running.pk},{other.pk}&solo=2").context["charts"][1]
    names = [[line.label for line in each.legend] for each in (both, alone)]
    assert names == [["refunds-v3", other.name], [other.name]]
    assert (alone.low, alone.high) == (both.low, both.high)
    assert "stroke-s2" in alone.picture


def test_keys_of_the_jobs_are_links(owner: Client, running: Job, other: Job) -> None:
    page = _page(owner, f"jobs={running.pk},{other.pk}")
    assert re.findall(r'data-key="(\d)"', page) == ["1", "2"]


def test_the_crosshair_reads_the_numbers_that_the_table_shows(
    owner: Client, running: Job, other: Job
) -> None:
    page = _page(owner, f"jobs={running.pk},{other.pk}")
    found = re.findall(r'type="application/json">(.*?)</script>', page, re.DOTALL)
    *charts, places = [json.loads(each) for each in found]
    assert places == [f"step {step}" for step in range(9)]
    assert [chart["key"] for chart in charts] == ["reward", "calls", "loops", "train", "tokens"]
    rewards = charts[0]["series"][0]["values"]
    assert rewards[:5] == [0.0, None, None, None, pytest.approx(4 / 15, abs=1e-6)]


def test_a_chart_can_be_kept_as_numbers_and_as_a_picture(
    owner: Client, stranger: Client, running: Job, other: Job
) -> None:
    query = f"jobs={running.pk},{other.pk}&x=tokens"
    page = _page(owner, query).replace("&amp;", "&").replace("%2C", ",")
    for form in ("csv", "svg"):
        assert f'<a href="/compare/charts/reward.{form}?{query}" download>' in page
    assert page.count('<th scope="col" class="num">Trained tokens</th>') == 5
    answer = owner.get(f"/compare/charts/reward.csv?jobs={running.pk}@0,{other.pk}")
    assert answer["Content-Disposition"] == 'attachment; filename="compare-reward.csv"'
    assert answer.content.decode().splitlines() == [
        "step,refunds-v3 @ 0,refunds-v2 <b>bold</b>,base model",
        "0,0.0,0.0,0.0",
        *(f"{step},,,0.0" for step in (1, 2, 3)),
        f"4,,{4 / 15},0.0",
        *(f"{step},,,0.0" for step in (5, 6, 7)),
        "8,,0.6,0.0",
    ]
    picture = owner.get(f"/compare/charts/train.svg?{query}").content.decode()
    assert picture.startswith("<svg xmlns=")
    assert "; trained tokens 0 to 7200</text>" in picture
    assert "<b>" not in picture
    for path in ("reward.csv", "reward.csv?jobs=x", f"other.csv?{query}", f"reward.table?{query}"):
        assert owner.get(f"/compare/charts/{path}").status_code == 404, path
    assert stranger.get(f"/compare/charts/reward.csv?{query}").status_code == 404


def test_tokens_and_hours_are_running_totals(running: Job) -> None:
    found = curves_of(sides([(running, None)]))[0]
    assert found.axes["step"] == (0, 1, 2, 3, 4)
    assert found.axes["tokens"] == (0, 900, 1800, 2700, 3600)
    assert found.axes["hours"] == pytest.approx((4.7, 8.5, 12.3, 16.1, 20.8))


def test_a_hundred_thousand_steps_are_a_few_hundred_points(running: Job) -> None:
    run = Run.objects.get(job=running)
    Usage.objects.bulk_create(
        [Usage(run=run, step=step, trained_tokens=10, seconds=1.0) for step in range(5, 2000)],
        batch_size=1000,
    )
    JobStep.objects.bulk_create(
        [
            JobStep(run=run, step=step, epoch=1, metrics={"train": {"reward_mean": 0.5}})
            for step in range(5, 2000)
        ],
        batch_size=1000,
    )
    rollup_steps(run)
    Job.objects.filter(pk=running.pk).update(last_step=1999)
    running.refresh_from_db()
    found = curves_of(sides([(running, None)]))[0]
    assert len(found.axes["tokens"]) <= 400
    assert found.axes["tokens"][-1] == 3600 + 1995 * 10
    assert list(found.axes["tokens"]) == sorted(found.axes["tokens"])


def _curve(steps: list[float], values: list[float | None], tokens: list[float]) -> Curve:
    return Curve({"step": steps, "reward": values}, {"step": tuple(steps), "tokens": tuple(tokens)})


def test_few_steps_are_places_of_their_own() -> None:
    one = _curve([0, 1, 2], [0.1, None, 0.3], [0, 10, 20])
    other = _curve([0, 1], [0.2, 0.4], [0, 40])
    found = aligned([one, other], "reward", "step")
    assert found.places == (0, 1, 2)
    assert found.values == ((0.1, None, 0.3), (0.2, 0.4, None))


def test_tokens_are_places_at_equal_distances_and_each_value_is_at_or_before_its_place() -> None:
    one = _curve([0, 1, 2], [0.1, None, 0.3], [0, 101, 1000])
    found = aligned([one], "reward", "tokens")
    assert len(found.places) == 201
    assert (found.places[1] - found.places[0], found.places[-1]) == (5, 1000)
    known = {
        place: value for place, value in zip(found.places, found.values[0], strict=True) if value
    }
    assert known == {0: 0.1, 1000: 0.3}


def test_without_a_step_there_is_nothing_to_draw() -> None:
    assert aligned([_curve([], [], [])], "reward", "step").places == ()
