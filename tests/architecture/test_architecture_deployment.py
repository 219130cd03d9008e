"""The compose file and the Dockerfile describe a system that can start; no engine runs here."""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from django.core.management import get_commands

ROOT = Path(__file__).resolve().parents[2]
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OPERATOR = (ROOT / "docs" / "operator.md").read_text()
SETTINGS = (ROOT / "platform" / "hone" / "settings.py").read_text()


def test_the_services_are_those_of_the_design_and_one_that_trains_without_a_gpu() -> None:
    of_the_design = {"web", "worker", "worker-gpu", "sweeper", "migrate", "postgres", "redis"}
    assert set(SERVICES) == of_the_design | {"worker-train"}
    assert (ROOT / "docs/adr/0007-a-worker-for-training-without-a-gpu.md").exists()


def _queues(name: str) -> str:
    command = SERVICES[name]["command"]
    return str(command[command.index("-Q") + 1])


def test_training_keeps_no_other_work_waiting() -> None:
    assert _queues("worker") == "default"
    assert _queues("worker-train") == _queues("worker-gpu") == "train"
    assert SERVICES["worker-train"]["profiles"] == ["cpu"]
    assert SERVICES["worker-gpu"]["profiles"] == ["gpu"]
    assert "profiles" not in SERVICES["worker"]


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_every_image_is_pinned_by_a_version_tag(name: str) -> None:
    assert re.fullmatch(r"[a-z]+:\d+\.\d+[\w.-]*", SERVICES[name]["image"])


@pytest.mark.parametrize("name", sorted(set(SERVICES) - {"migrate"}))
def test_every_lasting_service_has_a_health_check(name: str) -> None:
    check = SERVICES[name]["healthcheck"]
    assert check["test"][0] in {"CMD", "CMD-SHELL"}
    assert check["retries"] >= 3


@pytest.mark.parametrize("name", ["web", "worker", "worker-train", "worker-gpu", "sweeper"])
def test_services_wait_for_the_migrations(name: str) -> None:
    waits = SERVICES[name]["depends_on"]
    assert waits["migrate"] == {"condition": "service_completed_successfully"}


@pytest.mark.parametrize(
    "name", ["web", "worker", "worker-train", "worker-gpu", "sweeper", "migrate"]
)
def test_every_command_exists(name: str) -> None:
    command = SERVICES[name]["command"]
    if command[:2] == ["python", "manage.py"]:
        assert command[2] in get_commands()
    else:
        assert shutil.which(command[0], path=str(Path(sys.executable).parent))


def test_every_variable_of_the_compose_file_is_documented() -> None:
    named = set(re.findall(r"\$\{([A-Z_]+)", (ROOT / "docker-compose.yml").read_text()))
    set_directly = set(SERVICES["web"]["environment"])
    assert {name for name in named | set_directly if f"`{name}`" not in OPERATOR} == set()


def test_every_variable_of_the_settings_is_documented() -> None:
    read = set(re.findall(r"\(\s*\"(HONE_[A-Z_]+|[A-Z]+_(?:URL|KEYS))\"", SETTINGS))
    assert {"HONE_DATA_DIR", "DATABASE_URL", "BROKER_URL", "SECRETS_KEYS"} < read
    assert {name for name in read if f"`{name}`" not in OPERATOR} == set()


def test_the_image_is_pinned_and_runs_as_a_user_of_its_own() -> None:
    lines = (ROOT / "Dockerfile").read_text().splitlines()
    assert re.fullmatch(
        r"FROM python:3\.11\.\d+-slim-bookworm", next(x for x in lines if "FROM" in x)
    )
    assert "USER hone" in lines
    copied = {
        line.split()[-2] for line in lines if line.startswith("COPY") and "pyproject" not in line
    }
    assert all((ROOT / name).exists() for name in copied)


def test_torch_is_installed_by_its_exact_pin_first() -> None:
    for name in ("Dockerfile", "Makefile"):
        text = (ROOT / name).read_text()
        assert text.index(
            "install --no-cache-dir torch==2.13.0"
            if name == "Dockerfile"
            else "install -q torch==2.13.0"
        ) < text.index("constraints.txt -e")
