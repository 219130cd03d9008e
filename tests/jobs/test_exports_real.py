"""The real libraries write, and their own readers read the same numbers back."""

from __future__ import annotations

import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from jobs.exports.base import version
from jobs.exports.flatten import flattened
from jobs.models import Job, JobStep, Run
from tests.jobs.conftest import MakeJob

pytestmark = [pytest.mark.slow, pytest.mark.django_db(transaction=True)]

METRICS = [
    {"validation": {"reward_mean": 1 / 3, "n": 16}},
    {"train": {"reward_mean": 0.1, "loss": -3.1e-7, "tools": {"(unknown)": {"calls": 2}}}},
    {"train": {"reward_mean": None}, "learning": {"updated": True, "entropy": 1.25}},
]
WANTED = [flattened(metrics) for metrics in METRICS]


def needs(distribution: str) -> pytest.MarkDecorator:
    extra = distribution.removesuffix("-skinny")
    return pytest.mark.skipif(
        not version(distribution), reason=f"needs the extra: pip install -e '.[{extra}]'"
    )


@pytest.fixture
def exported(
    make_job: MakeJob,
    process_environment: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> Any:
    """Runs the command in a process of its own, twice, and returns the folder of the exports."""
    job = make_job()
    run = Run.objects.get(job=job)
    for step, metrics in enumerate(METRICS):
        JobStep.objects.create(run=run, step=step, epoch=1, metrics=metrics)
    for name, value in process_environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("HONE_DATA_DIR", str(tmp_path))
    for name in ("WANDB_MODE", "WANDB_DIR", "MLFLOW_TRACKING_URI", "TRACKIO_DIR"):
        monkeypatch.delenv(name, raising=False)

    def export(name: str) -> tuple[Job, Path]:
        for _ in range(2):
            command = [sys.executable, "-m", "django", "export_metrics", job.pk, "--to", name]
            ran = subprocess.run(command, capture_output=True, text=True, timeout=300)
            assert ran.returncode == 0, ran.stderr
        return job, tmp_path / "exports"

    return export


@needs("wandb")
def test_wandb_reads_back_what_it_wrote(exported: Any) -> None:
    from wandb.proto import wandb_internal_pb2 as proto

    job, folder = exported("wandb")
    file = max(folder.glob(f"wandb/wandb/offline-run-*-{job.pk}/run-{job.pk}.wandb"))
    found: list[dict[str, float]] = []
    config: dict[str, str] = {}
    for data in _records(file.read_bytes()):
        record = proto.Record()
        record.ParseFromString(data)
        if record.HasField("history"):
            items = {
                item.key or "/".join(item.nested_key): float(item.value_json)
                for item in record.history.item
            }
            step = int(items.pop("_step"))
            assert step == len(found)
            found.append({name: v for name, v in items.items() if not name.startswith("_")})
        if record.HasField("run"):
            config |= {item.key: item.value_json for item in record.run.config.update}
            assert (record.run.run_id, record.run.display_name) == (job.pk, job.name)
    assert found == WANTED
    assert config["base_model"] == '"tiny"'


def _records(data: bytes) -> Iterator[bytes]:
    """Its log of records: blocks of 32 KiB, each piece with checksum, length and kind."""
    assert data[:4] == b":W&B"
    at, whole = 7, b""
    while at + 7 <= len(data):
        left = 32768 - at % 32768
        if left < 7:
            at += left
            continue
        _, length, kind = struct.unpack("<IHB", data[at : at + 7])
        piece = data[at + 7 : at + 7 + length]
        at += 7 + length
        whole = piece if kind in {1, 2} else whole + piece
        if kind in {1, 4}:
            yield whole


@needs("mlflow-skinny")
def test_mlflow_reads_back_what_it_wrote(exported: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    job, folder = exported("mlflow")
    from mlflow.tracking import MlflowClient

    client = MlflowClient(tracking_uri=(folder / "mlflow").as_uri())
    experiment = client.get_experiment_by_name("hone")
    runs = client.search_runs([experiment.experiment_id])
    assert [run.info.run_name for run in runs] == [job.name]
    assert runs[0].data.tags["hone.job"] == job.pk
    assert runs[0].data.params["base_model"] == "tiny"
    found: list[dict[str, float]] = [{}, {}, {}]
    for name in runs[0].data.metrics:
        for metric in client.get_metric_history(runs[0].info.run_id, name):
            found[metric.step][name] = metric.value
    assert found == WANTED


@needs("trackio")
def test_trackio_reads_back_what_it_wrote(
    exported: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "exports" / "trackio"))
    job, _ = exported("trackio")
    program = (
        "import json, sys, trackio; runs = list(trackio.Api().runs('hone'));"
        "logs = trackio.SQLiteStorage.get_logs('hone', runs[0].name);"
        "print(json.dumps([[run.name for run in runs], logs, runs[0].config], default=str))"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=120
    )
    assert ran.returncode == 0, ran.stderr
    import json

    names, logs, config = json.loads(ran.stdout.splitlines()[-1])
    assert names == [job.pk]
    found = [
        {name: value for name, value in log.items() if name not in {"timestamp", "step"}}
        for log in logs
    ]
    assert [log["step"] for log in logs] == [0, 1, 2]
    assert found == WANTED
    assert config["base_model"] == "tiny"
