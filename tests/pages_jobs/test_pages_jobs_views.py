"""The three views of a trajectory and the page of its group."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
import story
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from tokenizers import Tokenizer
from tokenizers.models import WordLevel

from hone.accounts.models import User
from jobs.engine.types import Received
from jobs.engine.types import Trajectory as Body
from jobs.models import Job, Trajectory
from jobs.selectors import trajectory_body
from jobs.views.bins import signed_bin
from jobs.views.groups import divergence_words
from jobs.views.ratios import NOT_COMPUTED, NOT_KEPT, NOT_TRAINED, Ratios, ratios_of
from jobs.views.tokens import strip_of
from jobs.views.word_diffs import Piece, word_diff
from jobs.workbench.services import mark_set

Rewrite = Callable[[str, Callable[[Any], Received | None]], None]


@pytest.fixture
def rewritten(monkeypatch: pytest.MonkeyPatch) -> Rewrite:
    """Pages read another record of what was received than the one that is stored."""

    def rewrite(uid: str, change: Callable[[Any], Received | None]) -> None:
        body = _body(uid)
        body.received = change(body.received)
        monkeypatch.setattr("jobs.views.trajectories.trajectory_body", lambda row: body)

    return rewrite


def _row(uid: str) -> Trajectory:
    return Trajectory.objects.get(uid=uid)


def _get(client: Client, job: Job, uid: str, query: str = "") -> str:
    answer = client.get(f"/jobs/{job.pk}/trajectories/{_row(uid).pk}/{query}")
    assert answer.status_code == 200
    return answer.content.decode()


def _words(page: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<svg.*?</svg>|<[^>]*>", " ", page, flags=re.S))


def test_the_turns_view_has_a_bar_in_words_and_its_formula(owner: Client, running: Job) -> None:
    page = _get(owner, running, "t4-r1-s1")
    assert (
        'aria-label="Turn 1, lookup_order, advantage minus 0.55, plus or minus 0.22, 5 turns '
        'compared, 2 actions"'
    ) in page
    words = _words(page)
    assert "A = episode −0.50 + 0.5 × (0.400 − 0.600) + process +0.05 = −0.55" in words
    assert "episode −0.50 step −0.10 process +0.05 sign unsure" in words


def _audit(client: Client, job: Job, uid: str, query: str = "") -> str:
    found = re.search(r'<p class="audit( bad)?">.*?</p>', _get(client, job, uid, query), re.S)
    return _words(found[0]).strip() if found else ""


@pytest.mark.parametrize("view", ["turns", "group", "tokens"])
def test_the_audit_is_on_every_view_with_the_row_that_the_optimiser_received(
    owner: Client, running: Job, view: str
) -> None:
    assert _audit(owner, running, "t4-r1-s1", f"?view={view}") == (
        "Audit: Σ over turns of A × tokens = −7.85 over 15 tokens = Σ stored for each token = what "
        "the optimiser received (packed row 3, sha 9be1c04d… ) ✓"
    )


def test_a_sum_that_the_optimiser_received_otherwise_is_a_red_line_with_all_three(
    owner: Client, running: Job, rewritten: Rewrite
) -> None:
    rewritten("t4-r1-s1", lambda kept: msgspec.structs.replace(kept, total=-7.8500251))
    assert _audit(owner, running, "t4-r1-s1").startswith(
        "✗ Audit: three sums that must agree differ over 15 tokens. Σ over turns of A × tokens = "
        "−7.85, Σ stored for each token = −7.85, and the optimiser received −7.8500251 (packed row "
        "3, sha 9be1c04d…)."
    )
    rewritten("t4-r1-s1", lambda kept: msgspec.structs.replace(kept, total=-7.850001))
    assert _audit(owner, running, "t4-r1-s1").endswith("✓")
    rewritten("t4-r1-s1", lambda kept: Received())
    assert "and the optimiser received nothing" in _audit(owner, running, "t4-r1-s1")


def test_what_is_not_kept_was_not_packed_or_was_not_trained_is_said_so(
    owner: Client, running: Job, rewritten: Rewrite
) -> None:
    tokens = "?view=tokens&colour=ratio"
    assert _audit(owner, running, "t4-r1-s0") == (
        "Audit: Σ over turns of A × tokens = −7.50 over 15 tokens = Σ stored for each token ✓. "
        "What the optimiser received is not kept for this step."
    )
    assert NOT_KEPT.replace("'", "&#x27;") in _get(owner, running, "t4-r1-s0", tokens)
    assert _audit(owner, running, "t4-r0-s0") == ""
    assert NOT_TRAINED in _get(owner, running, "t4-r0-s0", tokens)
    rewritten("t4-r1-s1", lambda kept: Received())
    assert NOT_COMPUTED in _get(owner, running, "t4-r1-s1", tokens)


def test_the_axis_is_the_same_for_all_attempts_of_a_group(owner: Client, running: Job) -> None:
    for uid in ("t4-r1-s0", "t4-r1-s1", "t4-r1-s2"):
        page = _get(owner, running, uid)
        assert "Bars: advantage per token, ±1, one scale for all attempts of the group" in page
    per_turn = _get(owner, running, "t4-r1-s1", "?bars=turn")
    assert "Bars: advantage × tokens, ±5, one scale" in per_turn


def test_rows_from_before_credit_was_kept_say_whose_scale_it_is(
    owner: Client, running: Job
) -> None:
    Trajectory.objects.update(credit=None)
    assert "the scale of this attempt alone" in _get(owner, running, "t4-r1-s1")


def test_the_ungraded_lane_says_what_happened_and_draws_no_bar(owner: Client, running: Job) -> None:
    page = _get(owner, running, "t4-r0-s0")
    assert "credit-bar" not in page
    assert "It has no reward. It is not in the group mean, the gradient or any average." in page
    assert "Its group trained on 3 of 4." in page


def test_the_group_view_merges_siblings_and_compares_two(owner: Client, running: Job) -> None:
    page = _get(owner, running, "t4-r1-s1", "?view=group")
    words = _words(page)
    assert "4 siblings, 4 graded, mean" in words
    assert "lookup_order(5512, long" in words
    assert "No single divergence explains this group." in words
    assert 'class="trie"' in page
    assert "Side by side" in words
    first, other = _row("t4-r1-s0"), _row("t4-r1-s1")
    chosen = _get(owner, running, "t4-r1-s1", f"?view=group&left={first.pk}&right={other.pk}")
    assert "The first 1 turn is the same in both." in _words(chosen)
    assert "<del>" in chosen


def test_a_group_has_a_page_and_foreign_and_absent_ones_are_the_same(
    owner: Client, stranger: Client, running: Job
) -> None:
    base = f"/jobs/{running.pk}/groups"
    page = owner.get(f"{base}/4-train-train-4-1/").content.decode()
    assert "Task 2, step 4, train" in page
    assert page.count("<option") == 8
    assert f'href="{base}/4-train-train-4-1/"' in _get(owner, running, "t4-r1-s1")
    for absent in ("4-train-nothing", "x", "4-train-%00", "99999999999-train-a"):
        assert owner.get(f"{base}/{absent}/").status_code == 404
    assert stranger.get(f"{base}/4-train-train-4-1/").status_code == 404


def test_no_divergence_is_said_so() -> None:
    assert divergence_words(None) == "No single divergence explains this group."


def test_words_that_differ_are_marked_on_their_side() -> None:
    assert word_diff('{"id": 5512}', '{"id": 5513}') == (
        (Piece('{"id": '), Piece("5512", is_own=True), Piece("}")),
        (Piece('{"id": '), Piece("5513", is_own=True), Piece("}")),
    )
    assert word_diff("", "a") == ((), (Piece("a", is_own=True),))


def _body(uid: str) -> Body:
    return trajectory_body(_row(uid))


@pytest.mark.parametrize(
    ("value", "name"),
    [(-0.5, "b0"), (-0.2, "b1"), (-0.05, "b2"), (0.0, "b3"), (0.1, "b4"), (0.3, "b5"), (2.0, "b6")],
)
def test_seven_bins_of_signed_values(value: float, name: str) -> None:
    assert signed_bin(value) == name


def test_equal_neighbours_are_one_element_but_for_the_token_that_is_named(running: Job) -> None:
    body = _body("t4-r1-s1")
    ratios = ratios_of(running, body)
    merged = strip_of(body, 1, "advantage", lambda token: f"w{token} ", ratios)
    assert [(run.first, run.last, run.classes) for run in merged.runs] == [
        (0, 0, "k-sampled"),
        (1, 7, "k-sampled b0"),
    ]
    named = strip_of(body, 1, "advantage", lambda token: f"w{token} ", ratios, focus=3)
    assert [(run.first, run.last) for run in named.runs] == [(0, 0), (1, 2), (3, 3), (4, 7)]
    single = strip_of(body, 1, "logprob", None, ratios)
    assert [run.classes for run in single.runs] == ["k-sampled q1"] * 8
    assert single.tokens[1] == {
        "at": 1, "id": 1, "text": "#1 ", "kind": "sampled", "logprob": -0.5, "entropy": 0.3,
        "advantage": -0.55, "ratio": 6.0,
    }  # fmt: skip
    first = strip_of(body, 1, "advantage", None, ratios).tokens[0]
    assert (first["advantage"], first["ratio"]) == (None, None), "never trained"


def test_seven_bins_of_the_ratio_around_1_and_a_border_past_the_clip(running: Job) -> None:
    logs = [math.log(r) for r in (0.5, 0.8, 0.95, 0.995, 1.05, 1.25, 1.29, 2.0, 6.0)]
    ratios = Ratios(dict(enumerate(logs)), (0.8 - 1e-9, 1.28))
    assert [ratios.classes(place) for place in range(10)] == [
        "b0 past-clip", "b1", "b2", "b3", "b4", "b5", "b5 past-clip", "b6 past-clip",
        "b6 past-clip", "",
    ]  # fmt: skip
    assert ratios.legend()[0] == ("b0", "under 0.67")
    assert ratios.legend()[-1] == ("past-clip", "past the clip, 0.8 to 1.28")
    cispo = ratios_of(running, _body("t4-r1-s1"))
    assert cispo.taken == (0.0, 5.0)
    assert cispo.legend()[-1] == ("past-clip", "past the clip, 5")
    strip = strip_of(_body("t4-r1-s1"), 1, "ratio", None, cispo)
    assert [run.classes for run in strip.runs] == [
        *("k-sampled", "k-sampled b6 past-clip", "k-sampled b2", "k-sampled b1", "k-sampled b1"),
        *("k-sampled b1", "k-sampled b1", "k-sampled b0"),
    ]


def test_the_turn_s_mismatch_is_of_its_trained_tokens_alone(running: Job) -> None:
    body = _body("t4-r1-s1")
    ratios = Ratios({1: 0.5, 3: -0.25, 21: 9.0})
    found = ratios.mismatch(body.turns[0])
    assert found is not None
    assert (found.mean, found.most, found.tokens) == (0.375, 0.5, 2)
    exact = (math.exp(0.5) - 1.5 + math.exp(-0.25) - 0.75) / 2
    assert found.kl == pytest.approx(exact)
    assert found.words == "mean |Δ| 0.375, max |Δ| 0.500, KL 0.089"
    tiny = Ratios({1: 3e-6}).mismatch(body.turns[0])
    assert tiny is not None
    assert tiny.words == "mean |Δ| 3.0e-06, max |Δ| 3.0e-06, KL 4.5e-12"
    assert Ratios().mismatch(body.turns[0]) is None


def test_the_strip_shows_decoded_tokens_with_their_ratios(owner: Client, running: Job) -> None:
    bare = _get(owner, running, "t4-r1-s1", "?view=tokens")
    assert "The tokenizer of base-0.6b is not on this machine" in bare
    assert running.base_model is not None
    words = {f"<w{at}>": at for at in range(30)}
    Tokenizer(WordLevel(words, unk_token="<w0>")).save(
        str(Path(running.base_model.folder) / "tokenizer.json")
    )
    page = _get(owner, running, "t4-r1-s1", "?view=tokens&turn=2&token=21&colour=ratio")
    assert "&lt;w21&gt;" in page
    assert "<w21>" not in page
    assert 'class="tok k-sampled b0" id="t21"' in page
    assert (
        "Sampler against trainer, by log-probability: mean |Δ| 0.524, max |Δ| 1.792, KL 0.458 "
    ) in page
    block = re.search(r'<script id="token-data"[^>]*>(.*?)</script>', page, re.S)
    assert block is not None
    told = json.loads(block.group(1))
    assert [token["at"] for token in told] == list(range(8, 30))
    assert [(token["at"], token["ratio"]) for token in told[11:15]] == [
        (19, None), (20, 0.571), (21, 0.527), (22, 6.0),
    ]  # fmt: skip
    assert 'data-focus="21"' in page


def test_a_page_that_did_not_change_is_not_sent_again_and_a_mark_changes_it(
    owner: Client, running: Job, alice: User
) -> None:
    address = f"/jobs/{running.pk}/trajectories/{_row('t4-r1-s1').pk}/"
    first = owner.get(address)
    tag = first["ETag"]
    unchanged = owner.get(address, headers={"If-None-Match": tag})
    assert unchanged.status_code == 304
    # The browser puts it in the place of the one it kept: another would leave a page without looks.
    assert unchanged["Content-Security-Policy"] == first["Content-Security-Policy"]
    mark_set(acting_user=alice, trajectory=_row("t4-r1-s1"), value=1.0)
    again = owner.get(address, headers={"If-None-Match": tag})
    assert (again.status_code, again["ETag"] != tag) == (200, True)


def test_long_texts_come_in_steps_and_as_plain_text_without_script(
    owner: Client, stranger: Client, running: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jobs.views.texts.STEP_CHARACTERS", 10)
    address = f"/jobs/{running.pk}/trajectories/{_row('t4-r1-s1').pk}/text/"
    query = "?turn=1&call=0&what=output&from=3"
    step = owner.get(address + query, headers={"HX-Request": "true"}).content.decode()
    assert '<pre class="text" dir="auto">tatus&quot;: &quot;d</pre>' in step
    assert "what=output&amp;from=13" in step
    plain = owner.get(address + query)
    assert plain["Content-Type"] == "text/plain; charset=utf-8"
    assert plain.content.decode() == f'tatus": "delivered"}} {story.HOSTILE}'
    for bad in ("?turn=9&what=raw", "?turn=1&call=7&what=output", "?turn=1&what=output", ""):
        assert owner.get(address + bad).status_code == 404
    assert stranger.get(address + query).status_code == 404


def test_turns_beyond_the_budget_come_when_they_are_opened(
    owner: Client, running: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jobs.views.turn_lines.MOST_INLINE", 1)
    page = _get(owner, running, "t4-r1-s1")
    address = f"/jobs/{running.pk}/trajectories/{_row('t4-r1-s1').pk}/turns/2/"
    assert f'hx-get="{address}"' in page
    assert ">Answer<" not in page
    assert ">Answer<" in owner.get(address).content.decode()
    assert ">Answer<" in _get(owner, running, "t4-r1-s1", "?turn=2")
    assert owner.get(address.replace("/2/", "/9/")).status_code == 404


@pytest.mark.parametrize("view", ["turns", "group", "tokens"])
def test_every_view_keeps_text_inert_and_asks_few_times(
    owner: Client, running: Job, view: str
) -> None:
    with CaptureQueriesContext(connection) as captured:
        page = _get(owner, running, "t4-r1-s0", f"?view={view}")
    assert len(captured) <= 12
    assert '<script>alert("x")' not in page
    assert "\u202e" not in page
