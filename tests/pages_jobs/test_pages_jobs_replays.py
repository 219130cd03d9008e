"""Measuring a turn on demand, as the trajectory's page has it: button, states, result, refusals."""

from __future__ import annotations

import re
from html import unescape
from typing import Any

import pytest
from django.test import Client

from jobs.engine import events
from jobs.models import Job, Replay, Run, Trajectory
from jobs.selectors.tries import Divergence, Node
from jobs.services.ending import replay_finish, run_cancel, run_fail, run_pause
from jobs.services.lease import Lease, run_acquire

THIN = "\u202f"


def _row(job: Job, uid: str = "t4-r1-s1") -> Trajectory:
    return Trajectory.objects.get(run__job=job, uid=uid)


def _address(job: Job, uid: str = "t4-r1-s1") -> str:
    return f"/jobs/{job.pk}/trajectories/{_row(job, uid).pk}/"


def _text(client: Client, job: Job, uid: str = "t4-r1-s1") -> str:
    page = client.get(_address(job, uid)).content.decode()
    return unescape(re.sub(r"\s+", " ", re.sub(r"<svg.*?</svg>|<[^>]*>", " ", page, flags=re.S)))


def _ask(client: Client, job: Job, uid: str = "t4-r1-s1", **fields: Any) -> Replay:
    answer = client.post(f"{_address(job, uid)}measure/", {"turn": 1, "continuations": 4, **fields})
    assert (answer.status_code, answer["Location"]) == (302, f"{_address(job, uid)}#turn-1")
    return Replay.objects.get()


def _lease(replay: Replay) -> Lease:
    lease = run_acquire(replay.pk, holder="test", host="here")
    assert lease is not None
    return lease


def _finish(replay: Replay, uid: str = "t4-r1-s1", **changes: Any) -> None:
    fields: dict[str, Any] = {
        "uid": uid,
        "turn": 0,
        "delta": 0.5,
        "interval": (-0.05, 0.9),
        "n": 8,
        "unusable": 0,
        "reason": "",
        "weights_step": 3,
        "cost": {},
    }
    replay_finish(_lease(replay), events.ReplayDone(**(fields | changes)))


def test_the_button_is_at_turns_with_calls_that_another_turn_followed(
    owner: Client, running: Job
) -> None:
    page = owner.get(_address(running)).content.decode()
    assert page.count("Measure by continuations</button>") == 1
    assert 'name="continuations" value="4" min="2" max="16"' in page
    looped = owner.get(_address(running, "t4-r0-s1")).content.decode()
    assert looped.count("Measure by continuations</button>") == 2
    for uid in ("v4-r1-s1", "t4-r0-s0"):
        assert "Measure by continuations" not in _text(owner, running, uid)


def test_while_it_is_open_its_state_stands_there_and_can_be_cancelled(
    owner: Client, running: Job
) -> None:
    replay = _ask(owner, running, continuations=6)
    page = _text(owner, running)
    assert "Turn 1 is measured as soon as a training worker is free." in page
    assert (
        "Measured by 6 continuations from each side: queued for a training worker. Reload this "
        "page for the result. Cancel"
    ) in page
    assert "Measure by continuations" not in page
    lease = _lease(replay)
    assert "from each side: running. Reload this page for the result." in _text(owner, running)
    cancel = f"/jobs/{running.pk}/replays/{replay.pk}/cancel/"
    answer = owner.post(cancel)
    assert answer["Location"] == f"{_address(running)}#turn-1"
    assert "from each side: being cancelled." in _text(owner, running)
    run_cancel(lease)
    page = _text(owner, running)
    assert "Measured by 6 continuations from each side: cancelled." in page
    assert "Measure by continuations" in page
    owner.post(cancel)
    assert "This measurement is cancelled already" in _text(owner, running)


def test_a_second_press_is_refused_with_a_sentence(owner: Client, running: Job) -> None:
    _ask(owner, running)
    _ask(owner, running)
    assert "Turn 1 of t4-r1-s1 is being measured already." in _text(owner, running)


def test_the_result_stands_beside_the_turn_and_changes_no_total(
    owner: Client, running: Job
) -> None:
    before = re.findall(r"Advantage [^ ]+", _text(owner, running))
    _finish(_ask(owner, running))
    page = _text(owner, running)
    assert (
        f"Continuations on demand, not trained on: +0.50 (n 8, 95{THIN}% −0.05 to +0.90, "
        "sign unsure), 4 from each side. Sampled with the weights that made this trajectory, those "
        "after step 3."
    ).replace(THIN, " ") in page.replace(THIN, " ")
    assert re.findall(r"Advantage [^ ]+", page) == before
    assert "1 of 2 turns has evidence of its own" in page


@pytest.mark.parametrize(
    ("uid", "weights_step", "sentence"),
    [
        (
            "t4-r1-s1",
            4,
            "The weights that made this trajectory, those after step 3, are gone: these figures "
            "are of other weights, those after step 4.",
        ),
        (
            "t2-r1-s1",
            0,
            "those after step 1, are gone: these figures are of other weights, the base model's.",
        ),
        ("t1-r1-s1", 0, "Sampled with the weights that made this trajectory, the base model's."),
    ],
)
def test_it_says_of_which_weights_the_figures_are(
    owner: Client, running: Job, uid: str, weights_step: int, sentence: str
) -> None:
    _finish(_ask(owner, running, uid), uid, weights_step=weights_step)
    assert sentence in _text(owner, running, uid)


def test_without_an_estimate_the_reason_stands_there_escaped(owner: Client, running: Job) -> None:
    _finish(
        _ask(owner, running),
        delta=None,
        interval=None,
        reason="usable are 0 of 4; 4 because of <script>alert(1)</script>",
    )
    page = owner.get(_address(running)).content.decode()
    assert "no estimate, 4 from each side. Usable are 0 of 4; 4 because of &lt;script&gt;" in page
    assert "<script>alert" not in page


def test_a_failure_and_a_wait_say_why(owner: Client, running: Job) -> None:
    replay = _ask(owner, running)
    run_pause(_lease(replay), reason="disk_full", text="The disk is full.")
    assert "from each side: waits. The disk is full. Cancel" in _text(owner, running)
    Run.objects.filter(pk=replay.pk).update(status="queued")
    run_fail(_lease(replay), code="x", text="the tool refused")
    page = _text(owner, running)
    assert "Measured by 4 continuations from each side: failed. The tool refused." in page
    assert "Measure by continuations" in page


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"continuations": "17"}, "Continuations from each side: This is 17; use at most 16."),
        ({"continuations": "1"}, "Continuations from each side: This is 1; use at least 2."),
        ({"continuations": ""}, "Continuations from each side: This is empty. Fill it in."),
        ({"turn": "0"}, "turn: This is 0; use at least 1."),
        ({"turn": "99"}, "Turn 99 of t4-r1-s1 cannot be measured"),
    ],
)
def test_what_does_not_fit_is_refused_with_a_sentence(
    owner: Client, running: Job, fields: dict[str, str], sentence: str
) -> None:
    given = {"turn": "1", "continuations": "4", **fields}
    assert owner.post(f"{_address(running)}measure/", given).status_code == 302
    assert sentence in _text(owner, running)
    assert not Replay.objects.exists()


def test_a_viewer_reads_the_result_and_has_no_buttons(
    owner: Client, viewer: Client, running: Job
) -> None:
    replay = _ask(owner, running)
    page = _text(viewer, running)
    assert "queued for a training worker" in page
    assert "Cancel this measurement" not in viewer.get(_address(running)).content.decode()
    posts = {f"{_address(running)}measure/", f"/jobs/{running.pk}/replays/{replay.pk}/cancel/"}
    assert {viewer.post(address, {"turn": 1}).status_code for address in posts} == {403}
    assert owner.get(f"{_address(running)}measure/")["Location"] == _address(running)


def test_a_foreign_measurement_is_absent(
    owner: Client, stranger: Client, running: Job, alice: object, organisation: object, files: Any
) -> None:
    import story

    replay = _ask(owner, running)
    other = story.job_make(
        alice,
        organisation,
        files / "m",
        name="other",
        version=running.train_version,
        grader=running.grader_version,
    )
    assert stranger.post(f"{_address(running)}measure/", {"turn": 1}).status_code == 404
    cancel = f"/replays/{replay.pk}/cancel/"
    assert stranger.post(f"/jobs/{running.pk}{cancel}").status_code == 404
    assert owner.post(f"/jobs/{other.pk}{cancel}").status_code == 404
    assert owner.post(f"/jobs/{running.pk}/replays/run-%00/cancel/").status_code == 404
    measure = f"/jobs/{other.pk}/trajectories/{_row(running).pk}/measure/"
    assert owner.post(measure, {"turn": 1, "continuations": 4}).status_code == 404


@pytest.fixture
def parted(monkeypatch: pytest.MonkeyPatch) -> None:
    """A group that parts at its first turn: two attempts one way, two the other."""
    ways = [Node(0, 0, ("a",), [0, 1]), Node(0, 0, ("b",), [2, 3])]
    found = Divergence(Node(-1, -1, (), [0, 1, 2, 3], ways), 0.8, 0.06, True, 4)
    monkeypatch.setattr("jobs.views.groups.first_divergence", lambda root, rewards: found)


@pytest.mark.usefixtures("parted")
def test_both_sides_of_a_split_are_measured_by_one_button(
    owner: Client, viewer: Client, stranger: Client, running: Job
) -> None:
    group = f"/jobs/{running.pk}/groups/4-train-train-4-1/"
    page = owner.get(group).content.decode()
    assert "Replay both sides ×4</button>" in page
    assert page.count("its turn 1 was not measured") == 2
    assert "Replay both sides" not in viewer.get(group).content.decode()
    assert viewer.post(f"{group}measure/").status_code == 403
    assert stranger.post(f"{group}measure/").status_code == 404
    sides = {"turn": "1", "trajectory": re.findall(r'name="trajectory" value="(\d+)"', page)}
    elsewhere = Trajectory.objects.get(run__job=running, uid="t4-r2-s0").pk
    sides["trajectory"].append(str(elsewhere))
    answer = owner.post(f"{group}measure/?merge=tokens", sides)
    assert (answer.status_code, answer["Location"]) == (302, f"{group}?merge=tokens")
    made = list(Replay.objects.order_by("trajectory__sample"))
    assert [(each.trajectory.uid, each.turn, each.continuations) for each in made] == [
        ("t4-r1-s0", 0, 4), ("t4-r1-s2", 0, 4),
    ]  # fmt: skip
    _finish(made[0], "t4-r1-s0")
    page = owner.get(group).content.decode()
    assert "Replay both sides" not in page
    assert "Turn 1 of t4-r1-s0 and t4-r1-s2 is measured as soon as" in page
    assert "Continuations on demand, not trained on: " in page
    assert "queued for a training worker" in page


@pytest.mark.usefixtures("parted")
def test_of_a_split_both_sides_are_queued_or_none(owner: Client, running: Job) -> None:
    group = f"/jobs/{running.pk}/groups/4-train-train-4-1/"
    second = Trajectory.objects.get(run__job=running, uid="t4-r1-s2")
    owner.post(
        f"/jobs/{running.pk}/trajectories/{second.pk}/measure/", {"turn": 1, "continuations": 4}
    )
    pks = [Trajectory.objects.get(run__job=running, uid=f"t4-r1-s{at}").pk for at in (0, 2)]
    sides = {"turn": "1", "trajectory": pks}
    page = owner.post(f"{group}measure/", sides, follow=True).content.decode()
    assert "Turn 1 of t4-r1-s2 is being measured already." in page
    assert Replay.objects.count() == 1


def test_a_group_that_no_split_explains_has_nothing_to_measure(owner: Client, running: Job) -> None:
    group = f"/jobs/{running.pk}/groups/4-train-train-4-1/"
    assert "Replay both" not in owner.get(group).content.decode()
    for sent in ({}, {"turn": "1"}, {"turn": "x", "trajectory": ["1"]}, {"trajectory": ["y"]}):
        answer = owner.post(f"{group}measure/", sent)
        assert answer.status_code in {302, 404}
    page = owner.get(group).content.decode()
    assert "Nothing was measured: the sides of a split were not named." in page
    assert not Replay.objects.exists()
