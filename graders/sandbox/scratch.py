"""A grading's own temporary files: a fresh tmpfs on /tmp in a mount namespace of its own.

It is made after the fork, is limited in bytes and files, and is gone with the grading's process:
there is nothing to clear away, and nobody outside ever sees a path in it. Standard library only.
"""

from __future__ import annotations

import ctypes
import os

PLACE = "/tmp"  # noqa: S108 - inside the sandbox, empty and made anew for each grading
FILES = 4096

_CLONE_NEWNS = 0x20000
_MS_NOSUID, _MS_NODEV, _MS_NOEXEC = 2, 4, 8
_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL = 47, 4
_CAPABILITY_VERSION = 0x20080522

_libc = ctypes.CDLL(None, use_errno=True)


def mount(size: int) -> None:
    """Put an empty file system of `size` bytes on /tmp that this process alone sees."""
    _check(_libc.unshare(_CLONE_NEWNS))
    flags = _MS_NOSUID | _MS_NODEV | _MS_NOEXEC
    options = f"size={size},nr_inodes={FILES},mode=700".encode()
    _check(_libc.mount(b"tmpfs", PLACE.encode(), b"tmpfs", flags, options))


def give_up_capabilities() -> None:
    """Nothing of the right to mount is left, whatever this process had."""
    _libc.prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION, 0)
    _check(_libc.capset(header, (ctypes.c_uint32 * 6)()))


def works() -> bool:
    """Whether a process here may mount: this one gets a place of its own, as libraries want one."""
    try:
        mount(1 << 24)
    except OSError:
        return False
    return True


def _check(code: int) -> None:
    if code < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
