"""The folder named platform shadows nothing, and no name of ours shadows a library."""

from __future__ import annotations

import os
import platform
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Sequence
from contextlib import suppress
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = [ROOT, ROOT / "platform"]
SAY = "print('platform is', platform.__file__, platform.system(), file=sys.__stdout__, flush=True)"
THE_STANDARD_LIBRARYS = f"platform is {platform.__file__} {platform.system()}"
MADE_BY_TOOLS = {"var", "node_modules", "build", "dist", "staticfiles"}
IN_A_WORKER = f"""
import os, platform, signal, sys
from celery.signals import worker_ready

@worker_ready.connect
def say(**kwargs):
    {SAY}
    os.kill(os.getpid(), signal.SIGTERM)
"""
IN_A_WEB_WORKER = f"""
import platform, sys

def post_worker_init(worker):
    {SAY}
"""


def run(
    command: Sequence[str], folder: Path, **more: str | Path
) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, **{key: str(value) for key, value in more.items()}}
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=120
    )


def started(name: str) -> list[list[str]]:
    """The two ways to start a program: only as a module is the folder first on its path."""
    return [[str(Path(sys.executable).parent / name)], [sys.executable, "-m", name]]


def importable(folder: Path) -> set[str]:
    """Every name that `import` could take from the folder."""
    return {
        path.stem
        for path in folder.iterdir()
        if path.stem.isidentifier() and (path.is_dir() or path.suffix == ".py")
    } - {"__pycache__"}


def test_the_source_root_is_never_a_package() -> None:
    assert not (ROOT / "platform" / "__init__.py").exists()


def test_there_is_one_import_name_in_the_source_root() -> None:
    assert importable(ROOT / "platform") == {"hone"}


def test_no_name_of_ours_is_one_of_the_standard_library_but_platform() -> None:
    ours = importable(ROOT) | importable(ROOT / "platform")
    assert ours >= {"hone", "jobs", "graders", "tests", "templates", "manage"}
    assert ours & set(sys.stdlib_module_names) == {"platform"}


def test_no_name_of_ours_is_one_of_an_installed_distribution() -> None:
    ours = (importable(ROOT) - MADE_BY_TOOLS) | importable(ROOT / "platform")
    taken = {
        name: others
        for name, distributions in packages_distributions().items()
        if name in ours and (others := set(distributions) - {"hone"})
    }
    assert taken == {}
    assert {"torch", "numpy", "django"} <= packages_distributions().keys()


def test_import_platform_is_the_standard_librarys_under_pytest() -> None:
    assert Path(os.__file__).parent == Path(str(platform.__file__)).parent


@pytest.mark.parametrize("folder", [*FOLDERS, ROOT / "jobs"])
def test_import_platform_is_the_standard_librarys(folder: Path) -> None:
    ran = run([sys.executable, "-c", f"import platform, sys; {SAY}"], folder)
    assert ran.stdout.strip() == THE_STANDARD_LIBRARYS, ran.stderr


@pytest.mark.slow
@pytest.mark.parametrize("folder", FOLDERS)
@pytest.mark.parametrize("program", started("pytest"))
def test_import_platform_is_the_standard_librarys_in_a_pytest_process(
    folder: Path, program: list[str]
) -> None:
    test = f"{__file__}::test_import_platform_is_the_standard_librarys_under_pytest"
    ran = run([*program, "-q", test], folder)
    assert "1 passed" in ran.stdout, ran.stdout + ran.stderr


@pytest.mark.slow
@pytest.mark.parametrize("folder", FOLDERS)
@pytest.mark.parametrize("program", started("celery"))
def test_import_platform_is_the_standard_librarys_in_a_celery_worker(
    folder: Path, program: list[str], tmp_path: Path
) -> None:
    (tmp_path / "said_when_ready.py").write_text(IN_A_WORKER)
    words = ["-A", "hone", "worker", "--pool", "solo", "--loglevel", "INFO"]
    environment = {"BROKER_URL": "", "HONE_DATA_DIR": tmp_path, "PYTHONPATH": tmp_path}
    ran = run([*program, *words, "--include", "said_when_ready"], folder, **environment)
    assert THE_STANDARD_LIBRARYS in ran.stdout.splitlines(), ran.stderr
    assert "jobs.train" in ran.stdout


def answer(port: int, served: subprocess.Popen[str]) -> bytes:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and served.poll() is None:
        with (
            suppress(OSError),
            urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=10) as page,
        ):
            return bytes(page.read())
        time.sleep(0.1)
    return b"nothing"


@pytest.mark.slow
@pytest.mark.parametrize("folder", FOLDERS)
@pytest.mark.parametrize("program", started("gunicorn"))
def test_import_platform_is_the_standard_librarys_in_a_web_server(
    folder: Path, program: list[str], tmp_path: Path
) -> None:
    (tmp_path / "says_when_ready.py").write_text(IN_A_WEB_WORKER)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    words = ["hone.wsgi", "--bind", f"127.0.0.1:{port}", "--no-control-socket"]
    served = subprocess.Popen(
        [*program, *words, "--config", str(tmp_path / "says_when_ready.py")],
        cwd=folder,
        env={**os.environ, "HONE_DATA_DIR": str(tmp_path), "DATABASE_URL": ""},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    got = answer(port, served)
    served.send_signal(signal.SIGTERM)
    said, _ = served.communicate(timeout=60)
    assert got == b"ok\n", said
    assert THE_STANDARD_LIBRARYS in said.splitlines()


def test_the_settings_folder_names_are_the_designs() -> None:
    for name in ("manage.py", "platform", "jobs", "graders", "templates", "static", "tests"):
        assert (ROOT / name).exists(), f"{name} is missing"
