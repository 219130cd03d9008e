"""The operator's list of base models: what may be added, and what a failed download says."""

from __future__ import annotations

import errno
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from datetime import timedelta
from itertools import accumulate
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx2
import pytest
from django.core.management import CommandError, call_command
from django.db.models.functions import Now
from huggingface_hub.errors import (
    GatedRepoError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from hone.accounts.models import AuditEntry
from hone.core.errors import UserError
from jobs.models import BaseModel
from jobs.selectors.access import base_models_ready
from jobs.services import download
from jobs.services.models_list import base_model_add, base_model_fail, base_model_retry
from jobs.services.sweep import sweep

pytestmark = pytest.mark.django_db(transaction=True)


def write_model(folder: Path, **config: object) -> Path:
    folder.mkdir()
    whole = {"architectures": ["Qwen3ForCausalLM"], "max_position_embeddings": 512, **config}
    (folder / "config.json").write_text(json.dumps(whole))
    (folder / "tokenizer.json").write_text("{}")
    write_weights(folder / "model.safetensors")
    return folder


def write_weights(path: Path) -> None:
    """Twelve numbers."""
    header = json.dumps({"w": {"dtype": "F32", "shape": [3, 4], "data_offsets": [0, 48]}}).encode()
    path.write_bytes(len(header).to_bytes(8, "little") + header + bytes(48))


def test_a_local_folder_is_ready_with_its_size_and_context(tmp_path: Path) -> None:
    model = base_model_add(name="tiny", source=str(write_model(tmp_path / "m")))
    assert (model.status, model.parameters, model.context_length) == ("ready", 12, 512)
    assert model.architecture == "Qwen3ForCausalLM"


def test_a_model_that_brings_code_is_refused(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "m", auto_map={"AutoModel": "model.py"})
    with pytest.raises(UserError, match="brings code of its own"):
        base_model_add(name="tiny", source=str(folder))


def test_a_model_without_safetensors_is_refused(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "m")
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(UserError, match="has no .safetensors files"):
        base_model_add(name="tiny", source=str(folder))


def test_a_file_that_is_no_safetensors_is_refused(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "m")
    (folder / "model.safetensors").write_bytes((9).to_bytes(8, "little") + b"not json!")
    with pytest.raises(UserError, match="is no safetensors file"):
        base_model_add(name="tiny", source=str(folder))


SHARDS = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")


@pytest.fixture
def sharded(tmp_path: Path) -> Path:
    """Two shards with their index, and the same numbers once more as consolidated.safetensors."""
    folder = write_model(tmp_path / "sharded")
    (folder / "model.safetensors").rename(folder / "consolidated.safetensors")
    for name in SHARDS:
        write_weights(folder / name)
    index = {"weight_map": dict(zip("ab", SHARDS, strict=True))}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return folder


def test_weights_that_lie_beside_their_shards_once_more_count_once(sharded: Path) -> None:
    assert base_model_add(name="tiny", source=str(sharded)).parameters == 24
    (sharded / "model.safetensors.index.json").unlink()
    assert base_model_add(name="other", source=str(sharded)).parameters == 24


def test_a_model_that_lacks_a_shard_is_refused_with_its_name(sharded: Path) -> None:
    (sharded / SHARDS[1]).unlink()
    with pytest.raises(UserError, match=f"lacks {SHARDS[1]}, which model.safetensors.index.json"):
        base_model_add(name="tiny", source=str(sharded))


def test_what_is_neither_a_folder_nor_a_hub_id_is_refused() -> None:
    with pytest.raises(UserError, match="neither a folder on this machine nor a hub id"):
        base_model_add(name="tiny", source="/no/such/folder")


def test_a_hub_id_waits_for_its_download() -> None:
    model = base_model_add(name="tiny", source="acme/tiny")
    assert (model.status, model.is_hub) == ("downloading", True)


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is reached: what the hub's client raises where its offline mode is on."""

    class NoHub:
        def model_info(self, *args: object, **options: object) -> None:
            raise OfflineModeIsEnabled("offline mode is enabled")

    monkeypatch.setattr(download, "HfApi", NoHub)


def test_a_hub_that_is_not_reached_is_a_clear_message_and_may_be_tried_again(offline) -> None:
    model = base_model_add(name="tiny", source="acme/tiny")
    download.base_model_download(model.pk)
    model.refresh_from_db()
    assert model.status == "failed"
    assert model.message.startswith("The hub was not reached for acme/tiny")
    base_model_retry(model=model)
    model.refresh_from_db()
    assert model.status == "downloading"


@pytest.fixture(params=["ConnectError", "RemoteProtocolError"])
def dead_hub(request: pytest.FixtureRequest) -> Iterator[tuple[str, str]]:
    """A closed port, or one whose server hangs up on whoever asks; and what the client calls it."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"http://127.0.0.1:{server.getsockname()[1]}"
        if request.param == "ConnectError":
            server.close()
            yield address, request.param
            return
        answering = threading.Thread(target=hang_up, args=(server,))
        answering.start()
        yield address, request.param
        server.shutdown(socket.SHUT_RDWR)
        answering.join()


def hang_up(server: socket.socket) -> None:
    with suppress(OSError):
        while True:
            caller, _ = server.accept()
            caller.recv(65536)
            caller.close()


@pytest.mark.slow
def test_a_hub_behind_a_dead_port_fails_the_download_with_what_to_do(
    dead_hub: tuple[str, str], process_environment: dict[str, str]
) -> None:
    address, name = dead_hub
    ran = subprocess.run(
        [sys.executable, "manage.py", "add_base_model", "tiny", "acme/tiny", "--wait"],
        cwd=Path(__file__).parents[2],
        env=os.environ | process_environment | {"HF_ENDPOINT": address, "HF_HUB_OFFLINE": "0"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    model = BaseModel.objects.get()
    assert (ran.returncode, model.status) == (1, "failed"), ran.stderr
    assert model.message.startswith(f"The hub was not reached for acme/tiny ({name}: ")
    assert "Check the network of the workers and try again" in model.message
    assert ran.stderr.splitlines()[-1] == f"CommandError: {model.message}"


def test_a_second_doorbell_of_a_failed_download_does_nothing(offline) -> None:
    model = base_model_add(name="tiny", source="acme/tiny")
    base_model_fail(model.pk, "It is gated.")
    download.base_model_download(model.pk)
    assert BaseModel.objects.get().message == "It is gated."


def answer(status: int) -> httpx2.Response:
    return httpx2.Response(status, request=httpx2.Request("GET", "https://hub.example.org"))


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (
            GatedRepoError("no", response=answer(403)),
            "acme/tiny is gated: its owner must grant access. Accept the terms on its page, then "
            "set HF_TOKEN for the workers and try again.",
        ),
        (
            RepositoryNotFoundError("no", response=answer(404)),
            "The hub has no acme/tiny, or it is private. Check the id, or set HF_TOKEN.",
        ),
        (
            RevisionNotFoundError("no", response=answer(404)),
            "acme/tiny has no revision 'v9'. Leave it out to use the newest.",
        ),
        (
            OfflineModeIsEnabled("offline"),
            "The hub was not reached for acme/tiny (OfflineModeIsEnabled: offline). Check the "
            "network of the workers and try again, or copy the model to this machine and add its "
            "folder.",
        ),
        (
            RuntimeError("xet said no\nand more"),
            "acme/tiny was not fetched (RuntimeError: xet said no). Try again; the log of the "
            "worker says more, and a folder on this machine can be added instead.",
        ),
        (
            OSError(errno.ENOSPC, "No space left on device"),
            "The disk is full, so acme/tiny was not fetched whole. Free some space in the data "
            "folder of the workers and try again; what is there already is kept.",
        ),
        (
            OSError(errno.EDQUOT, "Disk quota exceeded"),
            "The disk is full, so acme/tiny was not fetched whole. Free some space in the data "
            "folder of the workers and try again; what is there already is kept.",
        ),
    ],
)
def test_each_failure_of_the_hub_has_its_sentence(error: Exception, sentence: str) -> None:
    assert download.hub_failure("acme/tiny", "v9", error) == sentence


def stands_still(model: BaseModel, seconds: float) -> None:
    BaseModel.objects.filter(pk=model.pk).update(progress_at=Now() - timedelta(seconds=seconds))


def test_the_sweeper_rings_once_for_a_download_that_stands_still() -> None:
    model = base_model_add(name="tiny", source="acme/tiny")
    stands_still(model, 50)
    assert sweep().downloads == 0
    stands_still(model, 70)
    assert [sweep().downloads for _ in range(2)] == [1, 0]
    stands_still(model, 70)
    base_model_fail(model.pk, "It is gated.")
    assert sweep().downloads == 0


class Hub:
    """A hub with one model of four files, which arrive in two halves."""

    def __init__(self, folder: Path) -> None:
        self.files = {path.name: path.read_bytes() for path in folder.iterdir()}
        self.shown: list[int] = []
        self.targets: set[str] = set()

    def model_info(self, source: str, **options: object) -> SimpleNamespace:
        sizes = [
            SimpleNamespace(rfilename=name, size=len(content))
            for name, content in sorted(self.files.items())
        ]
        return SimpleNamespace(siblings=sizes)

    def fetch(self, source: str, name: str, *, local_dir: str, tqdm_class: Any, **_: Any) -> None:
        content, half = self.files[name], len(self.files[name]) // 2
        bar = tqdm_class(total=len(content), initial=half, desc=name)
        bar.update(len(content) - half)
        self.shown.append(BaseModel.objects.get().bytes_done)
        self.targets.add(Path(local_dir).name)
        Path(local_dir).mkdir(parents=True, exist_ok=True)
        (Path(local_dir) / name).write_bytes(content)


def test_of_a_hub_s_files_the_consolidated_weights_are_not_fetched(
    hub: Hub, sharded: Path, tmp_path: Path
) -> None:
    hub.files = {path.name: path.read_bytes() for path in sharded.iterdir()}
    model = base_model_add(name="tiny", source="acme/tiny")
    download.base_model_download(model.pk)
    model.refresh_from_db()
    assert (model.status, model.parameters) == ("ready", 24)
    assert not (Path(model.folder) / "consolidated.safetensors").exists()


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, settings: Any) -> Hub:
    settings.DATA_DIR = tmp_path / "data"
    here = Hub(write_model(tmp_path / "m"))
    monkeypatch.setattr(download, "HfApi", lambda: here)
    monkeypatch.setattr(download, "hf_hub_download", here.fetch)
    monkeypatch.setattr(download, "SHOW_S", 0.0)
    return here


def test_bytes_are_shown_while_a_file_arrives_and_a_revision_has_its_folder(hub: Hub) -> None:
    model = base_model_add(name="tiny", source="acme/tiny", revision="refs/pr/1")
    download.base_model_download(model.pk)
    model.refresh_from_db()
    sizes = [len(content) for _, content in sorted(hub.files.items())]
    assert hub.shown == list(accumulate(sizes))
    assert (model.status, model.message, model.parameters) == ("ready", "", 12)
    assert hub.targets == {"acme--tiny@refs%2Fpr%2F1"}
    assert model.bytes_total == sum(sizes)


def test_the_command_tries_a_failed_download_again(capsys) -> None:
    model = base_model_add(name="tiny", source="acme/tiny")
    base_model_fail(model.pk, "It is gated.")
    call_command("add_base_model", "tiny", "acme/tiny")
    assert capsys.readouterr().out == (
        "tiny: a worker downloads acme/tiny. Trying again: waiting for a worker.\n"
    )
    assert BaseModel.objects.get().status == "downloading"
    with pytest.raises(CommandError, match="A base model is called 'tiny' already"):
        call_command("add_base_model", "tiny", "acme/tiny")


def test_a_failed_name_with_another_source_is_refused() -> None:
    base_model_fail(base_model_add(name="tiny", source="acme/tiny").pk, "It is gated.")
    with pytest.raises(UserError, match="already. Use another name"):
        base_model_add(name="tiny", source="acme/other")


def test_a_model_is_kept_from_new_jobs_and_offered_again(tmp_path: Path, capsys) -> None:
    base_model_add(name="tiny", source=str(write_model(tmp_path / "m")))
    call_command("add_base_model", "tiny", "--disable")
    assert [model.name for model in base_models_ready()] == []
    call_command("add_base_model", "tiny", "--enable")
    assert [model.name for model in base_models_ready()] == ["tiny"]
    assert capsys.readouterr().out == ("tiny: kept from new jobs.\ntiny: offered to new jobs.\n")
    with pytest.raises(CommandError, match="No base model is called 'small'"):
        call_command("add_base_model", "small", "--disable")


def test_an_admin_tries_again_from_the_page_and_others_may_not(alice, bob, client) -> None:
    model = base_model_add(name="tiny", source="acme/tiny")
    base_model_fail(model.pk, "It is gated.")
    address, form = "/models/retry/", {"model": model.pk}
    client.force_login(bob)
    assert client.post(address, form).status_code == 403
    assert "Try again" not in client.get("/models/").content.decode()
    client.force_login(alice)
    assert address in client.get("/models/").content.decode()
    for odd in ("", "x", "-1", "9" * 30, str(model.pk + 1)):
        assert client.post(address, {"model": odd}).status_code == 404
    assert client.post(address, form).status_code == 302
    assert BaseModel.objects.get().status == "downloading"
    assert AuditEntry.objects.filter(action="base_model.retry", target="tiny").count() == 1
    assert client.post(address, form, follow=True).status_code == 200
    assert AuditEntry.objects.count() == 1


def test_the_command_says_what_was_added(tmp_path: Path, capsys) -> None:
    folder = write_model(tmp_path / "m")
    call_command("add_base_model", "tiny", str(folder))
    assert capsys.readouterr().out.startswith("tiny: ready, Qwen3ForCausalLM, 0.0 M parameters")


def test_the_command_refuses_with_the_sentence() -> None:
    with pytest.raises(CommandError, match="neither a folder"):
        call_command("add_base_model", "tiny", "nowhere at all")
