"""A job's events and its spec, and the pages of models."""

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
from hone.tools.services import ToolFields, tool_create
from jobs.models import Adapter, BaseModel, Checkpoint, Job, JobEvent, Run


def text_of(page: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page))


def test_equal_neighbours_are_folded_with_their_count(owner: Client, running: Job) -> None:
    JobEvent.objects.bulk_create(
        JobEvent(job=running, level="warn", text=f"retry {story.HOSTILE}") for _ in range(14)
    )
    page = owner.get(f"/jobs/{running.pk}/events/").content.decode()
    assert page.count("retry &lt;script&gt;") == 1
    assert "× 14" in page
    assert "⟦U+202E⟧" in page


def test_events_are_searched_within_a_level_and_the_search_survives(
    owner: Client, running: Job
) -> None:
    address = f"/jobs/{running.pk}/events/?level=warn&q=LOOKUP"
    page = owner.get(address).content.decode()
    assert story.SLOW.text in page
    assert 'name="q" value="LOOKUP"' in page
    assert '<input type="hidden" name="level" value="warn">' in page
    assert 'href="?q=LOOKUP&amp;level=error"' in page
    nothing = owner.get(f"/jobs/{running.pk}/events/?q=nobody%00+said").content.decode()
    assert "No event matches “nobody said”." in nothing


def test_events_page_by_page_hold_each_event_once(owner: Client, running: Job) -> None:
    JobEvent.objects.bulk_create(JobEvent(job=running, text=f"event {n:03}") for n in range(120))
    address, seen = "?q=event", []
    for _ in range(3):
        page = owner.get(f"/jobs/{running.pk}/events/{address}").content.decode()
        seen += re.findall(r"event (\d{3})", page)
        older = re.search(r'href="([^"]+)" rel="next"', page)
        address = older.group(1).replace("&amp;", "&") if older else ""
    assert seen == [f"{n:03}" for n in reversed(range(120))]
    assert address == ""


def test_the_spec_names_each_tool_s_version_and_masks_its_headers(
    owner: Client, running: Job, alice: User
) -> None:
    version = tool_create(
        acting_user=alice,
        organisation=running.organisation,
        name="lookup_order",
        fields=ToolFields(url="https://tools.example.org/lookup", headers={"X-Key": "hush-hush"}),
    )
    running.tool_versions.add(version)
    page = owner.get(f"/jobs/{running.pk}/spec/").content.decode()
    assert "<td>v1</td>" in page
    assert "X-Key: **********" in page
    assert "hush-hush" not in page
    raw = owner.get(f"/jobs/{running.pk}/spec.json")
    assert raw["Content-Type"] == "application/json"
    assert b"hush-hush" not in raw.content


def test_the_spec_as_json_is_whole_and_the_page_shortens_long_lists(
    owner: Client, stranger: Client, running: Job
) -> None:
    running.spec["train"]["split_rows"] = list(range(5000, 9000))
    running.save(update_fields=["spec"])
    told = json.loads(owner.get(f"/jobs/{running.pk}/spec.json").content)
    assert (told["id"], told["seed"]) == (running.pk, 42)
    assert told["train"]["split_rows"] == list(range(5000, 9000))
    page = owner.get(f"/jobs/{running.pk}/spec/").content.decode()
    assert "… 3960 more in the JSON" in page
    assert len(page) < 60_000
    assert stranger.get(f"/jobs/{running.pk}/spec.json").status_code == 404


def test_the_spec_offers_clone_and_rebase_to_those_who_may(
    owner: Client, viewer: Client, running: Job
) -> None:
    page = owner.get(f"/jobs/{running.pk}/spec/").content.decode()
    assert f'href="/jobs/new/?from={running.pk}&amp;rebase=1"' in page
    assert "rebase=1" not in viewer.get(f"/jobs/{running.pk}/spec/").content.decode()


def adapter_make(job: Job, step: int = 4) -> Adapter:
    run = Run.objects.get(job=job)
    return Adapter.objects.create(
        job=job, run=run, step=step, path="adapter", sha256="41ce" * 16, bytes=18_400_000,
        proof_max_abs_logprob_diff=3.1e-6, proof_tokens=512, base_max_abs_logprob_diff=0.4,
    )  # fmt: skip


@pytest.fixture
def tuned(running: Job) -> Job:
    adapter_make(running)
    return running


def test_a_base_model_says_whether_it_fits_and_how_it_calls_tools(
    owner: Client, tuned: Job
) -> None:
    page = text_of(owner.get("/models/base-0.6b/").content.decode())
    assert "Ready fits here: needs about 3.6 GB of" in page
    assert "Context 32 768 tokens" in page
    assert "Tool format hermes, by its chat template" in page
    assert "refunds-v3" in page
    BaseModel.objects.update(parameters=10**13)
    page = text_of(owner.get("/models/base-0.6b/").content.decode())
    assert "does not fit on this machine: needs about 60000.0 GB" in page


def test_an_adapter_has_a_page_with_its_proof_and_its_forks(
    owner: Client, tuned: Job, alice: User, organisation: Organisation, files: Path
) -> None:
    fork = story.job_make(
        alice, organisation, files / "model", name="the fork",
        version=tuned.train_version, grader=tuned.grader_version,
    )  # fmt: skip
    Job.objects.filter(pk=fork.pk).update(
        start_checkpoint=Checkpoint.objects.get(run__job=tuned, step=4)
    )
    page = text_of(owner.get(f"/models/{tuned.pk}/").content.decode())
    assert re.search(r"Validation reward 0\.\d{3} at step 4 \(0\.\d{3}–0\.\d{3}, 95 %", page)
    assert "largest |Δ log-probability| 3.1e-06 over 512 tokens" in page
    assert "differs: largest |Δ log-probability| 4.0e-01" in page
    assert "the fork" in page
    listed = text_of(owner.get("/models/").content.decode())
    assert re.search(r"over 512 tokens 1 18\.4 MB Download", listed)


def test_models_that_are_not_there_or_not_yours_are_not_found(
    owner: Client, stranger: Client, tuned: Job
) -> None:
    assert stranger.get(f"/models/{tuned.pk}/").status_code == 404
    assert "refunds-v3" not in stranger.get("/models/base-0.6b/").content.decode()
    for name in ("nobody", "ftjob-0000", "a/b/c", "x%00y"):
        assert owner.get(f"/models/{name}/").status_code == 404


def test_a_model_whose_name_has_a_slash_has_a_page(owner: Client, tuned: Job) -> None:
    BaseModel.objects.update(name="org/model v2")
    assert 'href="/models/org/model%20v2/"' in owner.get("/models/").content.decode()
    assert owner.get("/models/org/model v2/").status_code == 200


def test_adapters_are_searched_and_paged_in_as_many_queries_for_many_as_for_few(
    owner: Client, tuned: Job, alice: User, organisation: Organisation, files: Path
) -> None:
    def asked(address: str) -> tuple[str, int]:
        with CaptureQueriesContext(connection) as captured:
            page = owner.get(address).content.decode()
        return page, len(captured)

    _, few = asked("/models/")
    for number in range(60):
        adapter_make(
            story.job_make(
                alice, organisation, files / "model", name=f"tuned {number:02}",
                version=tuned.train_version, grader=tuned.grader_version,
            )
        )  # fmt: skip
    page, many = asked("/models/")
    assert (many, few <= 12 + 5) == (few, True)
    names = re.findall(r">tuned (\d\d)<", page)
    assert names == [f"{n:02}" for n in reversed(range(10, 60))]
    older = re.search(r'href="([^"]+)" rel="next"', page)
    assert older is not None
    rest = owner.get(f"/models/{older.group(1)}").content.decode()
    assert re.findall(r">tuned (\d\d)<", rest) == [f"{n:02}" for n in reversed(range(10))]
    assert "refunds-v3" in rest
    assert re.findall(r">tuned (\d\d)<", owner.get("/models/?q=TUNED+07").content.decode()) == [
        "07"
    ]
    assert "No adapter matches" in owner.get("/models/?q=nothing").content.decode()
