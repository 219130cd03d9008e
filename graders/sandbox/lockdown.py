"""What a grading's process gives up before it runs anyone's code: files, network, processes."""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import struct
from collections.abc import Sequence

_PR_SET_PDEATHSIG = 1
_PR_SET_DUMPABLE = 4
_PR_SET_SECCOMP = 22
_PR_SET_NO_NEW_PRIVS = 38
_SECCOMP_MODE_FILTER = 2

_LANDLOCK_CREATE_RULESET, _LANDLOCK_ADD_RULE, _LANDLOCK_RESTRICT_SELF = 444, 445, 446
_LANDLOCK_VERSION = 1
_LANDLOCK_PATH_BENEATH = 1
_WRITE_FILE, _READ_FILE, _READ_DIR, _REMOVE_DIR, _REMOVE_FILE = (1 << n for n in range(1, 6))
_MAKE_DIR, _MAKE_FILE, _REFER, _TRUNCATE = 1 << 7, 1 << 8, 1 << 13, 1 << 14
_PLAIN_FILES = (
    _WRITE_FILE | _READ_FILE | _READ_DIR | _REMOVE_DIR | _REMOVE_FILE | _MAKE_DIR | _MAKE_FILE
)
"""No links, sockets, pipes or devices."""
_FILE_RIGHTS_BY_ABI = {1: 13, 2: 14, 3: 15, 4: 15}
_NOBODY = 65534

_libc = ctypes.CDLL(None, use_errno=True)


class LockdownFailed(RuntimeError):
    """A restriction could not be applied, so nothing may run."""


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("steps", ctypes.c_char_p))


def landlock_abi() -> int:
    """The version of landlock that the kernel offers; 0 for none."""
    found = _libc.syscall(_LANDLOCK_CREATE_RULESET, None, ctypes.c_size_t(0), _LANDLOCK_VERSION)
    return max(0, int(found))


def landlock_ruleset(readable: Sequence[str], writable: Sequence[str] = ()) -> int | None:
    """A ruleset that leaves reading below `readable`, plain files below `writable`, and no more.

    None without landlock.
    """
    abi = landlock_abi()
    if abi == 0:
        return None
    fields = [(1 << _FILE_RIGHTS_BY_ABI.get(abi, 16)) - 1]
    if abi >= 4:
        fields.append(0b11)
    if abi >= 6:
        fields.append(0b11)
    attributes = struct.pack(f"<{len(fields)}Q", *fields)
    ruleset = int(_libc.syscall(_LANDLOCK_CREATE_RULESET, attributes, len(attributes), 0))
    _check(ruleset, "landlock_create_ruleset")
    for path in readable:
        _allow(ruleset, path, _READ_FILE | (_READ_DIR if os.path.isdir(path) else 0))
    files = _PLAIN_FILES | (_REFER if abi >= 2 else 0) | (_TRUNCATE if abi >= 3 else 0)
    for path in writable:
        _allow(ruleset, path, files)
    return ruleset


def _allow(ruleset: int, path: str, rights: int) -> None:
    try:
        handle = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return
    rule = struct.pack("<Qi", rights, handle)
    added = _libc.syscall(_LANDLOCK_ADD_RULE, ruleset, _LANDLOCK_PATH_BENEATH, rule, 0)
    os.close(handle)
    _check(int(added), f"landlock_add_rule for {path}")


def restrict(ruleset: int | None, *, memory_bytes: int, file_bytes: int, cpu_s: int) -> None:
    """All but the system-call filter, which comes last: nobody's rights, limits, landlock."""
    if os.geteuid() == 0:
        os.setgroups([])
        os.setresgid(_NOBODY, _NOBODY, _NOBODY)
        os.setresuid(_NOBODY, _NOBODY, _NOBODY)
    # A change of user clears the death signal and the dumpable flag, so these follow it.
    _check(_libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0), "PR_SET_PDEATHSIG")
    _check(_libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0), "PR_SET_DUMPABLE")
    _check(_libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "PR_SET_NO_NEW_PRIVS")
    for limit, value in (
        (resource.RLIMIT_AS, memory_bytes),
        (resource.RLIMIT_FSIZE, file_bytes),
        (resource.RLIMIT_NOFILE, 64),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NPROC, 0),
        (resource.RLIMIT_MEMLOCK, 0),
        (resource.RLIMIT_MSGQUEUE, 0),
    ):
        resource.setrlimit(limit, (value, value))
    resource.setrlimit(resource.RLIMIT_CPU, (cpu_s, cpu_s + 1))
    if ruleset is not None:
        _check(_libc.syscall(_LANDLOCK_RESTRICT_SELF, ruleset, 0), "landlock_restrict_self")


def filter_calls(program: bytes) -> None:
    """Load the seccomp filter; from here on only the allow list of system calls works."""
    loaded = _Program(len(program) // 8, program)
    code = _libc.prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.byref(loaded), 0, 0)
    _check(code, "PR_SET_SECCOMP")


def _check(code: int, what: str) -> None:
    if code < 0:
        raise LockdownFailed(f"{what}: {os.strerror(ctypes.get_errno())}")
