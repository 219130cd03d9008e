"""Exports without their libraries: what is said, and that a job never suffers."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from hone.core import environment
from jobs import doctor
from jobs.exports import base
from jobs.exports.registry import EXPORTERS
from jobs.models import Job, JobEvent, JobStep, Run
from jobs.services import bell
from jobs.services.control import job_cancel
from jobs.services.exports import job_export
from tests.jobs.conftest import MakeJob


@pytest.fixture
def no_library(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is installed here, no tracker's library is found."""
    found = importlib.import_module

    def missing(name: str) -> Any:
        if name.partition(".")[0] in EXPORTERS:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name.partition(".")[0])
        return found(name)

    monkeypatch.setattr(base.importlib, "import_module", missing)


@pytest.fixture
def job(make_job: MakeJob, settings: Any, tmp_path: Path) -> Job:
    settings.EXPORT_DIR = tmp_path / "exports"
    job = make_job()
    JobStep.objects.create(run=Run.objects.get(job=job), step=0, epoch=1, metrics={})
    return job


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("wandb", "wandb is not installed: pip install -c constraints.txt -e '.[wandb]'"),
        ("mlflow", "mlflow-skinny is not installed: pip install -c constraints.txt -e '.[mlflow]'"),
        ("trackio", "trackio is not installed: pip install -c constraints.txt -e '.[trackio]'"),
    ],
)
def test_a_missing_library_is_named_with_the_command_that_installs_it(
    job: Job, no_library: None, name: str, sentence: str
) -> None:
    with pytest.raises(CommandError) as caught:
        call_command("export_metrics", job.pk, "--to", name)
    assert str(caught.value) == sentence


def test_a_library_that_lacks_one_of_its_own_is_not_called_missing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken(name: str) -> Any:
        raise ModuleNotFoundError("No module named 'yaml'", name="yaml")

    monkeypatch.setattr(base.importlib, "import_module", broken)
    with pytest.raises(ModuleNotFoundError, match="yaml"):
        base.library("wandb", "wandb")


def test_without_a_tracker_the_command_says_how_to_name_one(job: Job, settings: Any) -> None:
    settings.EXPORTS = ()
    with pytest.raises(CommandError) as caught:
        call_command("export_metrics", job.pk)
    assert str(caught.value) == (
        "No tracker is turned on. Give --to wandb, --to mlflow, --to trackio, or set HONE_EXPORT."
    )


@pytest.mark.django_db
def test_an_absent_job_is_named() -> None:
    with pytest.raises(CommandError, match="^There is no job ftjob-1.$"):
        call_command("export_metrics", "ftjob-1", "--to", "wandb")


def test_an_export_that_fails_is_a_warning_with_the_command_s_own_sentence(
    job: Job, settings: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    settings.EXPORTS = ("wandb",)
    root = Path(__file__).parents[2]
    monkeypatch.setenv("PYTHONPATH", f"{root / 'platform'}:{root}")
    monkeypatch.setenv("DATABASE_URL", f"sqlite:///{tmp_path / 'another.sqlite3'}")
    monkeypatch.setenv("HONE_DATA_DIR", str(tmp_path))
    job_export(job.pk)
    event = JobEvent.objects.get(job=job)
    assert (event.level, event.code, event.text) == (
        "warn",
        "export_failed",
        "The metrics were not exported to wandb: The database has no tables yet. Run `make up` or "
        "`python manage.py migrate`. The job is not affected.",
    )
    job.refresh_from_db()
    assert job.status == "queued"


def test_a_process_that_dies_is_told_by_its_last_line(
    job: Job, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.EXPORTS = ("mlflow",)
    monkeypatch.setattr("jobs.services.exports.sys.executable", "/bin/false")
    job_export(job.pk)
    event = JobEvent.objects.get(job=job)
    assert (event.level, event.code, event.text) == (
        "warn",
        "export_failed",
        "The metrics were not exported to mlflow: it ended without a word. The job is not "
        "affected.",
    )


def test_an_interpreter_that_is_gone_is_told_with_the_way_out(
    job: Job, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.EXPORTS = ("mlflow",)
    monkeypatch.setattr("jobs.services.exports.sys.executable", "/no/such/python")
    job_export(job.pk)
    assert JobEvent.objects.get(job=job).text == (
        "The metrics were not exported to mlflow: FileNotFoundError. Run `manage.py "
        f"export_metrics {job.pk}` by hand. The job is not affected."
    )


@pytest.mark.parametrize("exports", [(), ("wandb",)])
def test_a_job_s_end_rings_once_after_commit_where_a_tracker_is_on(
    job: Job,
    settings: Any,
    exports: tuple[str, ...],
    monkeypatch: pytest.MonkeyPatch,
    django_capture_on_commit_callbacks: Any,
) -> None:
    settings.EXPORTS = exports
    rung: list[tuple[str, object]] = []
    monkeypatch.setattr(bell, "send", lambda task, argument: rung.append((task, argument)))
    with django_capture_on_commit_callbacks(execute=True):
        job_cancel(acting_user=job.created_by, job=job)
        assert rung == []
    assert rung == [("jobs.export_metrics", job.pk)] * len(exports)


def test_the_tracker_s_variables_are_set_for_a_write_only_and_never_over_the_operator_s(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import os

    monkeypatch.setenv("WANDB_MODE", "online")
    monkeypatch.delenv("WANDB_DIR", raising=False)
    with base.variables(WANDB_MODE="offline", WANDB_DIR="/x"):
        assert (os.environ["WANDB_MODE"], os.environ["WANDB_DIR"]) == ("online", "/x")
    assert "WANDB_DIR" not in os.environ
    assert os.environ["WANDB_MODE"] == "online"


@pytest.mark.parametrize(
    ("value", "found"),
    [("", ()), ("wandb", ("wandb",)), (" trackio , wandb,trackio", ("trackio", "wandb"))],
)
def test_trackers_are_words_between_commas(
    monkeypatch: pytest.MonkeyPatch, value: str, found: tuple[str, ...]
) -> None:
    monkeypatch.setenv("HONE_X", value)
    assert environment.chosen("HONE_X", ("wandb", "mlflow", "trackio")) == found


def test_a_tracker_that_is_not_known_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HONE_X", "wandb,neptune")
    with pytest.raises(environment.ImproperlyConfigured) as caught:
        environment.chosen("HONE_X", ("wandb", "mlflow"))
    assert str(caught.value) == (
        "HONE_X holds 'neptune'. Set it to any of wandb, mlflow, with commas between them, or "
        "unset it."
    )


def test_the_settings_know_every_exporter() -> None:
    from hone import settings as module

    assert (
        f'("HONE_EXPORT", {tuple(EXPORTERS)!r})'.replace("'", '"')
        in Path(str(module.__file__)).read_text()
    )


def test_the_doctor_has_a_line_for_each_tracker_that_is_on(
    settings: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    settings.EXPORT_DIR = tmp_path
    settings.EXPORTS = ("wandb", "mlflow")
    installed = {"wandb": "0.31.0"}
    monkeypatch.setattr(doctor, "version", lambda name: installed.get(name, ""))
    found = list(doctor._exports())
    assert [(each.state, each.what) for each in found] == [
        ("ok", f"wandb 0.31.0, in {tmp_path} unless its variables say more"),
        ("problem", "mlflow-skinny is not installed"),
    ]
    assert found[1].mend == (
        "pip install -c constraints.txt -e '.[mlflow]', or take mlflow out of HONE_EXPORT."
    )
    settings.EXPORTS = ()
    assert list(doctor._exports()) == []
