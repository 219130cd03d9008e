"""The overview's alarms, the strip of steps, and one chart by itself."""

from __future__ import annotations

import pytest
from django.test import Client

from hone.accounts.models import AuditEntry, User
from hone.core.errors import UserError
from jobs.engine.alarms import ALARMS
from jobs.models import AlarmSeen, Checkpoint, Job, JobEvent, JobStep
from jobs.selectors.attention import Raised, kept_steps
from jobs.services.alarms import alarm_see
from jobs.views.attention import RULES, TRENDS, attention


def fire(job: Job, code: str, step: int, **data: object) -> None:
    JobEvent.objects.create(
        job=job, level="warn", code=code, text=f"{code} at {step}", step=step, data=data
    )


def test_every_rule_of_the_engine_has_words() -> None:
    assert set(RULES) == set(ALARMS)


def test_without_an_alarm_the_page_says_how_many_rules_were_checked(
    owner: Client, running: Job
) -> None:
    page = owner.get(f"/jobs/{running.pk}/").content.decode()
    assert "13 rules checked at step 4, none fired." in page


def test_an_alarm_shows_its_value_its_limit_its_steps_and_the_way_to_its_evidence(
    owner: Client, running: Job
) -> None:
    for step, value in ((1, 0.02), (3, 0.5)):
        fire(running, "mismatch", step, mismatch_kl=value)
    page = owner.get(f"/jobs/{running.pk}/").content.decode()
    assert '! Sampler and trainer differ</th><td class="num">5.0e-01</td><td>above 0.01' in page
    trend = '<td class="num">1–3</td><td class="num">2 ×</td><td><svg class="spark"'
    assert trend in page
    assert '<td class="wrap">mismatch at 3</td>' in page
    rows = f"/jobs/{running.pk}/trajectories/?step=3&amp;split=train"
    assert f'<a href="{rows}">Trajectories</a> of step 3 · ' in page
    assert 'aria-label="alarm at step 3"' in page


@pytest.mark.parametrize(
    ("code", "data", "addresses"),
    [
        (
            "silent_groups", {"share": 0.9},
            ["split=train&amp;flag=no_signal&amp;reward_to=0",
             "split=train&amp;flag=no_signal&amp;reward_from=1"],
        ),
        ("ungraded", {"share": 0.1}, ["split=train&amp;flag=ungraded"]),
        ("length_up", {"tokens_mean": 900}, ["split=train&amp;sort=-tokens"]),
        ("duplicates", {"share": 0.9, "group": "train-3-1"}, ["split=train&amp;group=train-3-1"]),
        ("one_part", {"explained": 0.9, "part": "a&b"},
         ["", "split=train&amp;part=a%26b&amp;sort=-reward"]),
    ],
)  # fmt: skip
def test_an_alarm_leads_to_the_very_attempts_that_made_it(
    owner: Client, running: Job, code: str, data: dict[str, object], addresses: list[str]
) -> None:
    fire(running, code, 3, **data)
    page = owner.get(f"/jobs/{running.pk}/").content.decode()
    for asked in addresses:
        found = f"?step=3{'&amp;' if asked else ''}{asked}"
        assert f'{found}">' in page
        where = "trajectories" if asked else "graders"
        address = f"/jobs/{running.pk}/{where}/{found}".replace("&amp;", "&")
        assert owner.get(address).status_code == 200


def test_an_alarm_draws_its_figure_between_its_least_and_largest(running: Job) -> None:
    raised = Raised("mismatch", 1, 3, 1, "told", {"mismatch_kl": 0.3})
    told = [{"learning": {"mismatch_kl": value}} for value in (0.1, None, 0.2, 0.3)]
    (alarm,) = attention(running, [raised], [JobStep(metrics=each) for each in told])["alarms"]
    assert 'd="M0.0 20.0L48.0 10.0L96.0 0.0"' in alarm.trend
    assert attention(running, [raised], [])["alarms"][0].trend == ""


def test_the_trend_of_each_rule_has_a_name() -> None:
    drawn = {rule.column for rule in RULES.values()} - {""}
    assert drawn == set(TRENDS)


def test_groups_that_fall_silent_draw_a_rising_line(running: Job) -> None:
    raised = Raised("silent_groups", 1, 3, 1, "told", {"share": 1.0})
    told = [{"groups": {"with_signal": n, "total": 4}} for n in (4, 2, 0)]
    steps = [JobStep(metrics=each) for each in ({}, *told)]
    (alarm,) = attention(running, [raised], steps)["alarms"]
    assert 'd="M0.0 20.0L48.0 10.0L96.0 0.0"' in alarm.trend
    assert "Share of groups without a signal, the last 3 steps" in alarm.trend


def test_every_limit_is_said_though_none_fired(owner: Client, running: Job) -> None:
    page = owner.get(f"/jobs/{running.pk}/").content.decode()
    for rule in RULES.values():
        assert f"<li>{rule.words}: {rule.limit}</li>" in page


def test_an_alarm_that_was_seen_is_quiet_for_that_person_until_it_is_told_again(
    owner: Client, viewer: Client, running: Job
) -> None:
    fire(running, "mismatch", 2, mismatch_kl=0.5)
    seen = f"/jobs/{running.pk}/alarms/mismatch/seen/"
    assert f'action="{seen}"' in owner.get(f"/jobs/{running.pk}/").content.decode()
    assert ">1 alarm, last at step 2<" in owner.get("/jobs/").content.decode()
    answer = owner.post(seen, {"step": "2"})
    assert (answer.status_code, answer["Location"]) == (302, f"/jobs/{running.pk}/#attention")
    page = owner.get(f"/jobs/{running.pk}/").content.decode()
    assert "You have seen all of them." in page
    assert '<td class="nowrap">up to step 2</td>' in page
    assert "1 alarm" not in owner.get("/jobs/").content.decode()
    assert ">1 alarm, last at step 2<" in viewer.get("/jobs/").content.decode()
    fire(running, "mismatch", 3, mismatch_kl=0.6)
    assert f'action="{seen}"' in owner.get(f"/jobs/{running.pk}/").content.decode()
    assert ">1 alarm, last at step 3<" in owner.get("/jobs/").content.decode()


def test_what_is_seen_is_what_was_shown_and_is_never_taken_back(running: Job, alice: User) -> None:
    for step in (1, 3):
        fire(running, "low_ess", step)
    for shown, kept in ((2, 1), (9, 3), (1, 3)):
        alarm_see(acting_user=alice, job=running, rule="low_ess", step=shown)
        assert AlarmSeen.objects.get().step == kept
    entry = AuditEntry.objects.filter(action="alarm.see").order_by("pk")[0]
    assert (entry.target, entry.detail) == (running.pk, {"rule": "low_ess", "step": 1})
    for rule, step in (("low_ess", 0), ("mismatch", 4), ("step", 4)):
        with pytest.raises(UserError, match="told nothing of"):
            alarm_see(acting_user=alice, job=running, rule=rule, step=step)


def test_seeing_is_for_members_of_the_organisation(
    viewer: Client, stranger: Client, running: Job
) -> None:
    fire(running, "mismatch", 2, mismatch_kl=0.5)
    seen = f"/jobs/{running.pk}/alarms/mismatch/seen/"
    assert viewer.post(seen, {"step": "2"}).status_code == 403
    assert stranger.post(seen, {"step": "2"}).status_code == 404
    assert "Seen</button>" not in viewer.get(f"/jobs/{running.pk}/").content.decode()


def test_the_strip_marks_what_stays_and_not_what_is_gone(running: Job) -> None:
    assert kept_steps(running) == [0, 4]
    Checkpoint.objects.filter(step=0).update(available=False)
    Checkpoint.objects.filter(step=3).update(pinned=True)
    assert kept_steps(running) == [3, 4]


def test_the_strip_has_a_bar_a_step_and_names_its_marks(owner: Client, running: Job) -> None:
    page = owner.get(f"/jobs/{running.pk}/?step=2").content.decode()
    assert page.count('<rect class="step"') == 4
    assert 'aria-label="Step 2: 3 of 4 groups with signal"' in page
    assert page.count('<rect class="here"') == 1
    assert 'aria-label="evaluation at step 4">4</a>' in page
    assert 'aria-label="kept at step 0">0</a>' in page


def test_a_chart_has_its_numbers_as_csv_picture_and_table(owner: Client, running: Job) -> None:
    base = f"/jobs/{running.pk}/charts"
    lines = owner.get(f"{base}/mismatch.csv?from=2&to=3").content.decode().splitlines()
    assert lines == ["step,mismatch KL", "2,0.0001", "3,0.0001"]
    picture = owner.get(f"{base}/reward.svg")
    assert picture["Content-Type"] == "image/svg+xml"
    assert 'class="stroke-s1"' in picture.content.decode()
    assert "1.100" in owner.get(f"{base}/entropy.table").content.decode()
    assert owner.get(f"{base}/nothing.csv").status_code == 404


def test_a_zoom_is_an_address(owner: Client, running: Job) -> None:
    page = owner.get(f"/jobs/{running.pk}/?from=2&to=3&smooth=3").content.decode()
    assert '"from": 2, "to": 3' in page
    assert '"steps": [2, 3]' in page
    assert f"/jobs/{running.pk}/charts/reward.csv?from=2&amp;to=3&amp;smooth=3" in page
    assert owner.get(f"/jobs/{running.pk}/?from=x&to=-1&smooth=z&log=7").status_code == 200
