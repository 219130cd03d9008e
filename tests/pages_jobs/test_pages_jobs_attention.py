"""The overview's alarms, the strip of steps, and one chart by itself."""

from __future__ import annotations

from django.test import Client

from jobs.engine.alarms import ALARMS
from jobs.models import Job, JobEvent
from jobs.views.attention import RULES


def test_every_rule_of_the_engine_has_words() -> None:
    assert set(RULES) == set(ALARMS)


def test_without_an_alarm_the_page_says_how_many_rules_were_checked(
    owner: Client, running: Job
) -> None:
    page = owner.get(f"/jobs/{running.pk}/").content.decode()
    assert "8 rules are checked after every training step; up to step 4 none fired." in page


def test_an_alarm_shows_its_value_its_limit_its_steps_and_the_way_to_its_evidence(
    owner: Client, running: Job
) -> None:
    for step, value in ((1, 0.02), (3, 0.5)):
        JobEvent.objects.create(
            job=running, level="warn", code="mismatch", text=f"KL is {value}", step=step,
            data={"mismatch_kl": value},
        )  # fmt: skip
    page = owner.get(f"/jobs/{running.pk}/").content.decode()
    assert '! Sampler and trainer differ</th><td class="num">5.0e-01</td><td>above 0.01' in page
    assert '<td class="num">1–3</td><td class="num">2 ×</td><td class="wrap">KL is 0.5</td>' in page
    assert f'href="/jobs/{running.pk}/trajectories/?step=3">Trajectories of step 3</a>' in page
    assert 'aria-label="alarm at step 3"' in page


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
