"""The doctor's findings for a page: made by a process of its own, kept in a file with their time.

A probe may take minutes (a broker that does not answer, a library that loads), so none of them
runs while a page waits.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime
from pathlib import Path

import msgspec
from django.conf import settings

from jobs.doctor import Finding

LONGEST_S = 180
UNANSWERED = f"The probes did not end within {LONGEST_S} seconds. Run `manage.py doctor` there."


class Look(msgspec.Struct, frozen=True):
    """What was found, when and on which machine; `failed` where the probes did not end."""

    at: datetime
    host: str
    findings: list[Finding]
    failed: str = ""


def look_kept() -> Look | None:
    """The last look, or None where nobody looked yet or its file cannot be read."""
    try:
        return msgspec.json.decode(_file().read_bytes(), type=Look)
    except (OSError, msgspec.MsgspecError):
        return None


def look_keep(file: Path, findings: list[Finding], failed: str = "") -> None:
    """Replace the last look by this one, whole or not at all."""
    look = Look(datetime.now(UTC), socket.gethostname(), findings, failed)
    fresh = file.with_suffix(f".{os.getpid()}")
    fresh.write_bytes(msgspec.json.encode(look))
    fresh.replace(file)


def looking_since() -> datetime | None:
    """When the look began that is still going on."""
    try:
        began = _mark().stat().st_mtime
    except OSError:
        return None
    return datetime.fromtimestamp(began, UTC) if time.time() - began < 2 * LONGEST_S else None


def look_start() -> bool:
    """Begin to look, unless somebody looks already."""
    if looking_since() is not None:
        return False
    _mark().unlink(missing_ok=True)
    try:
        os.close(os.open(_mark(), os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    except FileExistsError:
        return False
    threading.Thread(target=_look, args=(_file(), _mark()), daemon=True).start()
    return True


def _look(file: Path, mark: Path) -> None:
    command = [sys.executable, "-m", "django", "doctor", "--keep-in", str(file)]
    paths = os.pathsep.join(filter(None, sys.path))
    around = {**os.environ, "DJANGO_SETTINGS_MODULE": "hone.settings", "PYTHONPATH": paths}
    try:
        subprocess.run(command, env=around, capture_output=True, timeout=LONGEST_S, check=False)
    except subprocess.TimeoutExpired:
        look_keep(file, [], UNANSWERED)
    finally:
        mark.unlink(missing_ok=True)


def _file() -> Path:
    return Path(settings.DATA_DIR) / "doctor.json"


def _mark() -> Path:
    return Path(settings.DATA_DIR) / "doctor.looking"
