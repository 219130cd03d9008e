"""What this machine offers to keep graders' Python out of reach."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from typing import Literal

from graders.sandbox.lockdown import landlock_abi
from graders.sandbox.syscalls import ARCHITECTURES

Level = Literal["bubblewrap", "lockdown", "none"]


@dataclass(frozen=True)
class Isolation:
    """`level`: `bubblewrap` and lockdown, `lockdown` alone, or `none`; `reason` says why."""

    level: Level
    reason: str


class SandboxUnavailable(RuntimeError):
    """Python graders cannot run here safely; the message says why and what helps."""


@functools.cache
def probe() -> Isolation:
    """The strongest isolation that works here; looked up once a process."""
    if sys.platform != "linux":
        return Isolation("none", f"{sys.platform} has neither landlock nor seccomp. Use Linux.")
    machine = os.uname().machine
    if machine not in ARCHITECTURES:
        known = " and ".join(ARCHITECTURES)
        return Isolation("none", f"No system-call filter is known for {machine}, only for {known}.")
    if not _has_seccomp():
        return Isolation("none", "The kernel has no seccomp filters (CONFIG_SECCOMP_FILTER).")
    wrapper, abi = bubblewrap(), landlock_abi()
    landlock = f"landlock {abi}" if abi else "no landlock"
    if wrapper is not None:
        return Isolation("bubblewrap", f"own namespaces, {landlock}, seccomp, limits")
    if not abi:
        return Isolation(
            "none",
            "The kernel has no landlock and `bwrap --unshare-all true` does not work. Install "
            "bubblewrap, or use a kernel of 5.13 or later with landlock.",
        )
    return Isolation("lockdown", f"{landlock}, seccomp, limits; bubblewrap does not work here")


@functools.cache
def bubblewrap() -> str | None:
    """The path of a bubblewrap that may make namespaces here."""
    found = shutil.which("bwrap")
    if found is None:
        return None
    command = [found, "--unshare-all", "--unshare-user", "--cap-add", "CAP_SYS_ADMIN"]
    command += ["--ro-bind", "/", "/", "true"]
    try:
        done = subprocess.run(command, capture_output=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return found if done.returncode == 0 else None


def _has_seccomp() -> bool:
    try:
        with open("/proc/sys/kernel/seccomp/actions_avail", encoding="ascii") as file:
            return "kill_process" in file.read()
    except OSError:
        return False
