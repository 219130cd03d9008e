"""What a job leaves: the adapter's zip, checkpoints, history, spec, the models page."""

from __future__ import annotations

import hashlib
import io
import json
import re
import zipfile
from pathlib import Path
from typing import Any

import pytest
import story
from django.test import Client

from hone.accounts.models import AuditEntry, Organisation, User
from hone.accounts.services.keys import key_create
from hone.datasets.models import Dataset
from jobs.engine import events
from jobs.engine.learning.checkpoint import read_verified
from jobs.models import BaseModel, Checkpoint, Job, run_folder
from jobs.services.ending import run_fail, run_finish
from jobs.services.lease import Lease

FILES = {
    "README.md": b"# how to load it",
    "adapter_config.json": b"{}",
    "adapter_model.safetensors": b"weights",
    "proof.json": b"[]",
}


def as_listed(files: dict[str, bytes]) -> list[dict[str, Any]]:
    """Files as a manifest lists them."""
    return [
        {"name": name, "size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        for name, content in files.items()
    ]


def unzipped(answer: Any) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(b"".join(answer.streaming_content))) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


@pytest.fixture
def done(running: Job, lease: Lease) -> Job:
    """The job, succeeded, with a whole adapter on disk."""
    folder = run_folder(lease.run_id) / "adapter"
    folder.mkdir()
    for name, content in FILES.items():
        (folder / name).write_bytes(content)
    (folder / "MANIFEST.json").write_text(json.dumps({"files": as_listed(FILES)}))
    adapter = events.AdapterRef(
        step=4,
        path="adapter",
        sha256=hashlib.sha256(b"weights").hexdigest(),
        bytes=18_400_000,
        proof_max_abs_logprob_diff=3.1e-6,
        proof_tokens=512,
    )
    run_finish(lease, events.Finished(seconds=60.0, adapter=adapter, best_step=4))
    running.refresh_from_db()
    return running


def test_the_download_is_a_zip_of_the_adapters_files(owner: Client, done: Job) -> None:
    answer = owner.get(f"/jobs/{done.pk}/adapter.zip")
    assert answer["Content-Type"] == "application/zip"
    assert f"{done.pk}-adapter.zip" in answer["Content-Disposition"]
    files = unzipped(answer)
    manifest = json.loads(files.pop("MANIFEST.json"))
    assert files == FILES
    assert manifest["files"] == as_listed(files)


def test_what_the_manifest_does_not_list_stays_here(owner: Client, done: Job) -> None:
    (done.adapter.folder / "notes.txt").write_text("not ours")
    files = unzipped(owner.get(f"/jobs/{done.pk}/adapter.zip"))
    assert files.keys() == {*FILES, "MANIFEST.json"}


def test_a_changed_file_is_not_offered_and_the_page_says_which(owner: Client, done: Job) -> None:
    (done.adapter.folder / "adapter_model.safetensors").write_bytes(b"other")
    page = owner.get(f"/jobs/{done.pk}/adapter.zip", follow=True).content.decode()
    assert "The adapter does not match its manifest (adapter_model.safetensors" in page


def test_weights_that_were_replaced_with_their_manifest_are_not_offered(
    owner: Client, done: Job
) -> None:
    others = {**FILES, "adapter_model.safetensors": b"other"}
    (done.adapter.folder / "adapter_model.safetensors").write_bytes(b"other")
    (done.adapter.folder / "MANIFEST.json").write_text(json.dumps({"files": as_listed(others)}))
    page = owner.get(f"/jobs/{done.pk}/adapter.zip", follow=True).content.decode()
    assert "The weights of the adapter are not those that were proved, so it is not" in page


def test_a_job_without_an_adapter_has_no_download(owner: Client, running: Job) -> None:
    assert owner.get(f"/jobs/{running.pk}/adapter.zip").status_code == 404


def test_strangers_cannot_download(stranger: Client, done: Job) -> None:
    assert stranger.get(f"/jobs/{done.pk}/adapter.zip").status_code == 404


def test_the_finished_job_offers_its_adapter_with_the_proof(owner: Client, done: Job) -> None:
    page = owner.get(f"/jobs/{done.pk}/").content.decode()
    assert "Download adapter" in page
    assert "3.1e-06" in page
    assert "Pause…" not in page
    models = owner.get("/models/").content.decode()
    assert f"/jobs/{done.pk}/adapter.zip" in models


def test_checkpoints_stand_best_first(owner: Client, running: Job) -> None:
    page = owner.get(f"/jobs/{running.pk}/checkpoints/").content.decode()
    steps = re.findall(r'<th scope="row"><a href="[^"]*">(\d+)</a>', page)
    assert steps == ["4", "0", "3"]
    assert page.count("<strong>best</strong>") == 1


def test_events_are_newest_first_and_filtered_by_level(owner: Client, running: Job) -> None:
    page = owner.get(f"/jobs/{running.pk}/events/").content.decode()
    assert page.index("Step 4 of 12") < page.index("Step 0 of 12")
    warnings = owner.get(f"/jobs/{running.pk}/events/?level=warn").content.decode()
    assert story.SLOW.text in warnings
    assert "Step 4 of 12" not in warnings
    assert owner.get(f"/jobs/{running.pk}/events/?level=nope&after=x").status_code == 200


def test_a_failed_job_says_why_and_shows_the_log(owner: Client, running: Job, lease: Lease) -> None:
    run_fail(lease, code="out_of_memory", text="Step 5 needed 81.2 GB.", log=story.HOSTILE)
    page = owner.get(f"/jobs/{running.pk}/").content.decode()
    assert "Step 5 needed 81.2 GB." in page
    assert "out_of_memory" in page
    assert '<script>alert("x")' not in page
    assert "Clone with this fixed" in page


def test_the_spec_shows_what_was_set_before_what_was_worked_out(
    owner: Client, running: Job
) -> None:
    page = owner.get(f"/jobs/{running.pk}/spec/").content.decode()
    names = re.findall(r'<th scope="row"><code>([a-z_]+)</code>', page)
    assert names[0] == "steps"
    assert len(names) == 36
    assert "https://tools.example.org/lookup" in page
    assert "Differs from the default: 1 of 36" in page


def test_a_download_in_progress_and_a_failed_one_are_seen(owner: Client, running: Job) -> None:
    fields = {"is_hub": True, "source": "org/model"}
    BaseModel.objects.create(
        name="coming", status="downloading", bytes_done=5, bytes_total=10, **fields
    )
    BaseModel.objects.create(
        name="gated", status="failed", message="org/model is gated: accept its terms.", **fields
    )
    page = owner.get("/models/").content.decode()
    assert '<progress max="10" value="5"' in page
    assert "org/model is gated: accept its terms." in page
    assert 'hx-trigger="every 10s"' in page


PEFT = {"adapter_config.json": b"{}", "adapter_model.safetensors": b"weights"}
STATE = {"step": 4, "base_sha256": "ba5e" * 16, "evaluations": {"0": 0.25, "4": 0.5}}
ENGINE = {
    **{"groups_per_step": 8, "group_size": 4, "loss": "cispo", "advantage": "mean_centred"},
    **{"lora_rank": 12, "lora_alpha": 24, "learning_rate": 4e-5},
}


@pytest.fixture
def failed(running: Job, lease: Lease) -> Checkpoint:
    """A job that failed, and its checkpoint of step 4 with its files on disk."""
    running.spec = {**running.spec, "engine": ENGINE}
    running.save(update_fields=["spec"])
    row = Checkpoint.objects.get(run=lease.run_id, step=4)
    folder = run_folder(lease.run_id) / row.path
    folder.mkdir(parents=True, exist_ok=True)
    files = {
        **PEFT,
        "optimizer.safetensors": b"moments",
        "state.json": json.dumps({**STATE, "position": 32}).encode(),
    }
    for name, content in files.items():
        (folder / name).write_bytes(content)
    manifest = {"schema_version": 1, "step": 4, "files": as_listed(files)}
    (folder / "MANIFEST.json").write_text(json.dumps(manifest))
    row.manifest_sha256 = hashlib.sha256((folder / "MANIFEST.json").read_bytes()).hexdigest()
    row.save(update_fields=["manifest_sha256"])
    run_fail(lease, code="out_of_memory", text="Step 5 needed 81.2 GB.")
    return row


def checkpoint_address(row: Checkpoint) -> str:
    return f"/jobs/{row.run.job_id}/checkpoints/{row.step}/download/"


def test_a_failed_job_s_checkpoint_is_an_adapter_that_was_not_proved(
    owner: Client, failed: Checkpoint
) -> None:
    page = owner.get(f"/jobs/{failed.run.job_id}/checkpoints/").content.decode()
    assert checkpoint_address(failed) in page
    assert "Only the exported adapter was proved" in page
    answer = owner.get(checkpoint_address(failed))
    name = f"{failed.run.job_id}-step-4-not-proved.zip"
    assert answer["Content-Disposition"] == f'attachment; filename="{name}"'
    files = unzipped(answer)
    assert list(files) == ["MANIFEST.json", "README.md", *PEFT]
    assert {name: files[name] for name in PEFT} == PEFT


def test_the_manifest_in_a_checkpoints_zip_lists_what_is_in_the_zip(
    owner: Client, failed: Checkpoint, tmp_path: Path
) -> None:
    files = unzipped(owner.get(checkpoint_address(failed)))
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    manifest = json.loads(files.pop("MANIFEST.json"))
    assert (manifest["schema_version"], manifest["step"]) == (1, 4)
    assert {each["name"] for each in manifest["files"]} == files.keys()
    assert read_verified(tmp_path) == files


def test_a_checkpoints_card_says_what_it_is_and_how_to_load_it(
    owner: Client, failed: Checkpoint
) -> None:
    card = unzipped(owner.get(checkpoint_address(failed)))["README.md"].decode()
    for line in (
        f"# LoRA adapter of run {failed.run_id}, step 4",
        "with the tools: lookup_order.",
        "| mean validation reward before training (step 0) | 0.250 |",
        "| mean validation reward of this adapter | 0.500 |",
        "| training steps of the run so far | 4 |",
        "| rollouts a step | 8 tasks x 4 |",
        "| learning rate, seed | 4e-05, 42 |",
        f"| sha256 of the base model | {'ba5e' * 16} |",
        "This is a checkpoint that was not proved:",
        'base = AutoModelForCausalLM.from_pretrained("base-0.6b")',
        'model = PeftModel.from_pretrained(base, "path/to/this/folder")',
        "vllm serve base-0.6b --enable-lora --max-lora-rank 16 ",
    ):
        assert line in card
    assert "proof.json" not in card
    assert str(failed.run.job.base_model.folder) not in card


def test_a_checkpoint_can_be_had_when_its_dataset_is_gone(
    owner: Client, failed: Checkpoint
) -> None:
    Dataset.objects.all().delete()
    assert "README.md" in unzipped(owner.get(checkpoint_address(failed)))


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("adapter_model.safetensors", "The checkpoint of step 4 does not match its manifest"),
        ("state.json", "The checkpoint of step 4 does not match its manifest (state.json"),
        ("MANIFEST.json", "The manifest of the checkpoint of step 4 is not the one"),
    ],
)
def test_a_changed_checkpoint_is_not_offered(
    owner: Client, failed: Checkpoint, name: str, sentence: str
) -> None:
    (run_folder(failed.run_id) / failed.path / name).write_bytes(b"other")
    assert sentence in owner.get(checkpoint_address(failed), follow=True).content.decode()


def test_a_checkpoint_whose_files_are_gone_says_so(owner: Client, failed: Checkpoint) -> None:
    failed.path = "checkpoints/step-000099"
    failed.save(update_fields=["path"])
    page = owner.get(checkpoint_address(failed), follow=True).content.decode()
    assert "The files of the checkpoint of step 4 are gone from the file storage." in page


def test_a_foreign_or_absent_checkpoint_is_not_found(
    owner: Client, stranger: Client, failed: Checkpoint
) -> None:
    assert stranger.get(checkpoint_address(failed)).status_code == 404
    address = f"/jobs/{failed.run.job_id}/checkpoints"
    for step in (999, 2**70):
        assert owner.get(f"{address}/{step}/download/").status_code == 404


def test_who_took_the_adapter_is_kept_and_with_which_key(
    owner: Client, done: Job, alice: User, organisation: Organisation
) -> None:
    path = f"/jobs/{done.pk}/adapter.zip"
    _, plain = key_create(acting_user=alice, organisation=organisation, name="ci", days=30)
    owner.get(path)
    Client(headers={"Authorization": f"Bearer {plain}"}).get(path)
    told = {"name": done.name, "step": 4}
    taken = AuditEntry.objects.filter(action="adapter.download", actor=alice, target=done.pk)
    details = list(taken.order_by("pk").values_list("detail", flat=True))
    assert details == [told, {**told, "key": f"{plain[:11]}…"}]


def test_an_adapter_that_is_not_whole_was_taken_by_nobody(owner: Client, done: Job) -> None:
    (run_folder(done.runs.get().pk) / "adapter" / "README.md").write_bytes(b"other")
    owner.get(f"/jobs/{done.pk}/adapter.zip")
    assert not AuditEntry.objects.filter(action="adapter.download").exists()


def test_a_key_reads_the_files_of_a_job_and_its_refusals_are_json(
    stranger: Client, done: Job, alice: User, organisation: Organisation
) -> None:
    _, plain = key_create(acting_user=alice, organisation=organisation, name="ci", days=30)
    program = Client(headers={"Authorization": f"Bearer {plain}"})
    for name in ("results.csv", "report.json", "spec.json", "proof.json"):
        assert program.get(f"/jobs/{done.pk}/{name}").status_code == 200, name
        assert stranger.get(f"/jobs/{done.pk}/{name}").status_code == 404, name
    (run_folder(done.runs.get().pk) / "adapter" / "proof.json").write_bytes(b"other")
    refused = program.get(f"/jobs/{done.pk}/proof.json")
    assert refused.status_code == 409
    assert "does not match its manifest" in refused.json()["error"]["message"]
