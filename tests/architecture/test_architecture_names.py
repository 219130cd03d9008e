"""The folder named platform shadows nothing, and no name of ours shadows a library."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PRINT_PLATFORM = "import platform; print(platform.__file__); platform.system()"
OURS = {"hone", "jobs", "graders"}


def test_the_source_root_is_never_a_package() -> None:
    assert not (ROOT / "platform" / "__init__.py").exists()


def _platform_file(*command: str, folder: Path) -> str:
    ran = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.strip().splitlines()[-1]


@pytest.mark.parametrize("folder", [ROOT, ROOT / "platform", ROOT / "jobs"])
def test_import_platform_is_the_standard_librarys(folder: Path) -> None:
    found = Path(_platform_file(sys.executable, "-c", PRINT_PLATFORM, folder=folder))
    assert found.name == "platform.py"
    assert ROOT not in found.parents or ".venv" in found.parts


def test_import_platform_is_the_standard_librarys_under_pytest() -> None:
    import platform

    assert platform.__file__ is not None
    assert Path(platform.__file__).name == "platform.py"


@pytest.mark.parametrize("module", ["hone.celery", "hone.wsgi"])
def test_import_platform_is_the_standard_librarys_in_servers(module: str) -> None:
    code = f"import {module}; {PRINT_PLATFORM}"
    found = Path(_platform_file(sys.executable, "-c", code, folder=ROOT))
    assert found.name == "platform.py"


@pytest.mark.parametrize(
    "command",
    [
        ["celery", "-A", "hone", "report"],
        ["-m", "celery", "-A", "hone", "report"],
        ["gunicorn", "--check-config", "hone.wsgi"],
        ["-m", "gunicorn", "--check-config", "hone.wsgi"],
    ],
)
def test_celery_and_the_web_server_load_the_application_from_the_root(command: list[str]) -> None:
    """As a console script and as a module: only the latter has the root first on its path."""
    if command[0] == "-m":
        started = [sys.executable, *command]
    else:
        started = [str(Path(sys.executable).parent / command[0]), *command[1:]]
    ran = subprocess.run(started, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert ran.returncode == 0, ran.stderr


def test_there_is_one_import_name_in_the_source_root() -> None:
    names = {path.name for path in (ROOT / "platform").iterdir() if path.name != "__pycache__"}
    assert names == {"hone"}


def test_no_name_of_ours_shadows_a_library() -> None:
    ours = OURS | {"tests", "benchmarks"}
    assert not ours & set(sys.stdlib_module_names)
    installed = {
        name
        for name, distributions in packages_distributions().items()
        if set(distributions) - {"hone"}
    }
    assert not OURS & installed


def test_the_settings_folder_names_are_the_designs() -> None:
    for name in ("manage.py", "platform", "jobs", "graders", "templates", "static", "tests"):
        assert (ROOT / name).exists(), f"{name} is missing"
