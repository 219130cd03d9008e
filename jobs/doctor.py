"""What works on this machine, and how to mend what does not: the findings of `manage.py doctor`."""

from __future__ import annotations

import platform
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from django.conf import settings
from django.core.files.base import ContentFile
from django.core.files.storage import storages
from django.db import DatabaseError, connection
from django.db.migrations.executor import MigrationExecutor
from kombu.exceptions import OperationalError

from graders.sandbox.libraries import INSTALL
from graders.sandbox.report import examine, library_words
from hone.celery import app
from hone.core.environment import without_password
from jobs.exports.base import install_words, version
from jobs.exports.registry import EXPORTERS

State = Literal["ok", "warning", "problem"]

LONGEST_REASON = 300
DEVICE_PROGRAM = """
import torch
if torch.cuda.is_available():
    free, total = torch.cuda.mem_get_info()
    print(f"{torch.cuda.get_device_name()}, {free / 2**30:.0f} of {total / 2**30:.0f} GiB free")
else:
    print(f"CPU, {torch.get_num_threads()} threads")
"""


@dataclass(frozen=True)
class Finding:
    """One line of the report; `mend` is empty where nothing is wrong."""

    topic: str
    state: State
    what: str
    mend: str = ""


def findings() -> list[Finding]:
    """All findings, in the order of the report. Imports no torch: a child process asks for it."""
    checks: list[Callable[[], Finding]] = [
        _python, _device, _database, _broker, _storage, _disk, _sandbox, _libraries,
    ]  # fmt: skip
    return [*(check() for check in checks), *_exports()]


def _python() -> Finding:
    what = f"Python {platform.python_version()} on {platform.system()} {platform.machine()}"
    return Finding("python", "ok", what)


def _device() -> Finding:
    ran = subprocess.run(
        [sys.executable, "-c", DEVICE_PROGRAM], capture_output=True, text=True, timeout=120
    )
    if ran.returncode:
        last = (ran.stderr.strip().splitlines() or ["no message"])[-1]
        return Finding("device", "problem", f"torch does not load: {last}", "Run `make install`.")
    what = ran.stdout.strip()
    if what.startswith("CPU"):
        mend = "The demo and tiny models train here; larger ones need an NVIDIA GPU and driver."
        return Finding("device", "warning", what, mend)
    return Finding("device", "ok", what)


def _database() -> Finding:
    name = connection.vendor
    try:
        executor = MigrationExecutor(connection)
        waiting = executor.migration_plan(executor.loader.graph.leaf_nodes())
    except DatabaseError as error:
        return Finding(
            "database", "problem", f"{name} does not answer: {error}", "Check DATABASE_URL."
        )
    if waiting:
        what = f"{name}, {len(waiting)} migrations not applied"
        return Finding("database", "problem", what, "Run `python manage.py migrate`.")
    return Finding("database", "ok", f"{name}, all migrations applied")


def _broker() -> Finding:
    kind = settings.BROKER_URL.split(":", 1)[0]
    try:
        with app.connection_for_write() as broker:
            broker.ensure_connection(max_retries=1, timeout=3)
    except (OSError, OperationalError) as error:
        mend = "Start it, or check BROKER_URL. Unset it to use the broker without a server."
        return Finding("broker", "problem", f"{kind} does not answer: {error}", mend)
    except (KeyError, ValueError, ImportError):
        what = f"BROKER_URL is {without_password(settings.BROKER_URL)!r}, which names no broker"
        mend = "Write redis://host:port/number, or unset it to use the broker without a server."
        return Finding("broker", "problem", what, mend)
    return Finding("broker", "ok", kind)


def _storage() -> Finding:
    try:
        storage = storages["default"]
        key = storage.save("doctor.txt", ContentFile(b"doctor"))
        with storage.open(key) as file:
            same = file.read() == b"doctor"
        storage.delete(key)
    except OSError as error:
        mend = f"Make {settings.MEDIA_ROOT} writable, or set HONE_DATA_DIR."
        return Finding("storage", "problem", f"files cannot be written: {error}", mend)
    except Exception as error:  # noqa: BLE001 - a storage is anybody's code
        what = f"it does not work: {type(error).__name__}: {str(error)[:LONGEST_REASON]}"
        mend = "Check HONE_STORAGE_BACKEND and HONE_STORAGE_OPTIONS."
        return Finding("storage", "problem", what, mend)
    kind = type(storage).__name__
    if not same:
        return Finding("storage", "problem", f"{kind} returned other bytes", "Check the storage.")
    return Finding("storage", "ok", kind)


def _disk() -> Finding:
    usage = shutil.disk_usage(settings.DATA_DIR)
    what = f"{usage.free / 1e9:.0f} of {usage.total / 1e9:.0f} GB free for {settings.DATA_DIR}"
    if usage.free < 0.05 * usage.total or usage.free < 1e9:
        mend = "Free some space: uploads and checkpoints are refused when the disk is full."
        return Finding("disk", "warning", what, mend)
    return Finding("disk", "ok", what)


def _sandbox() -> Finding:
    report = examine()
    if report.level == "none":
        mend = "Python graders are refused here; the other kinds work."
        return Finding("sandbox", "problem", str(report), mend)
    if report.level == "lockdown":
        mend = (
            "Install bubblewrap and allow user namespaces for namespaces of its own and temporary "
            "files."
        )
        return Finding("sandbox", "warning", str(report), mend)
    return Finding("sandbox", "ok", str(report))


def _libraries() -> Finding:
    there, missing = library_words()
    if missing:
        mend = f"Graders that import one fail. `{INSTALL}` installs them."
        return Finding("libraries", "warning", f"{there}; not installed: {missing}", mend)
    return Finding("libraries", "ok", there)


def _exports() -> Iterator[Finding]:
    """One line for each tracker that is turned on."""
    for name in settings.EXPORTS:
        distribution = EXPORTERS[name].distribution
        found = version(distribution)
        if found:
            what = f"{distribution} {found}, in {settings.EXPORT_DIR} unless its variables say more"
            yield Finding("export", "ok", what)
        else:
            mend = f"{install_words(distribution)}, or take {name} out of HONE_EXPORT."
            yield Finding("export", "problem", f"{distribution} is not installed", mend)
