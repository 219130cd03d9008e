"""The seccomp filter: an allow list as a classic BPF program, made here without libseccomp."""

from __future__ import annotations

import errno
import os
import struct

from graders.sandbox import syscalls

RET_ALLOW = 0x7FFF0000
RET_KILL_PROCESS = 0x80000000
RET_ERRNO = 0x00050000

_LOAD = 0x20
_RETURN = 0x06
_JUMP_EQUAL = 0x15
_JUMP_AT_LEAST = 0x35
_JUMP_ANY_BIT = 0x45
_NUMBER_AT, _ARCH_AT, _ARGUMENTS_AT = 0, 4, 16
_X32_BIT = 0x40000000

_OPEN_FLAGS = os.O_RDONLY | os.O_CLOEXEC | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_NONBLOCK
_WRITE_FLAGS = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_TRUNC | os.O_APPEND
_FCNTL_COMMANDS = (1, 2, 3, 1030)
"""F_GETFD, F_SETFD, F_GETFL, F_DUPFD_CLOEXEC."""
_LOCK_COMMANDS = (5, 6, 7)
"""F_GETLK, F_SETLK, F_SETLKW: databases lock their files."""
_IOCTL_REQUESTS = (0x5401, 0x5451)
"""TCGETS (isatty) and FIOCLEX; TIOCSTI and the rest are refused."""


class UnknownArchitecture(RuntimeError):
    """There is no table of system calls for this processor."""


def program(machine: str, *, writing: bool = False) -> bytes:
    """The filter for `machine` (as `os.uname().machine` says it), as an array of sock_filter.

    `writing` adds what plain files need; where they may be is for the mounts and landlock to say.
    """
    if machine not in syscalls.ARCHITECTURES:
        known = ", ".join(syscalls.ARCHITECTURES)
        raise UnknownArchitecture(f"No filter is known for {machine!r}; there are {known}.")
    column = list(syscalls.ARCHITECTURES).index(machine)
    return b"".join(
        [
            _step(_LOAD, _ARCH_AT),
            _step(_JUMP_EQUAL, syscalls.ARCHITECTURES[machine], 1, 0),
            _step(_RETURN, RET_KILL_PROCESS),
            _step(_LOAD, _NUMBER_AT),
            _step(_JUMP_AT_LEAST, _X32_BIT, 0, 1),
            _step(_RETURN, RET_KILL_PROCESS),
            *_fixed(syscalls.DEADLY, column, RET_KILL_PROCESS),
            *_fixed({"clone3": syscalls.CLONE3}, column, RET_ERRNO | errno.ENOSYS),
            *_fixed(syscalls.ALLOWED, column, RET_ALLOW),
            *(_fixed(syscalls.WRITING, column, RET_ALLOW) if writing else []),
            *_open_with(syscalls.OPENAT[column], _OPEN_FLAGS | (_WRITE_FLAGS if writing else 0)),
            *_one_of(syscalls.FCNTL[column], _FCNTL_COMMANDS + (_LOCK_COMMANDS if writing else ())),
            *_one_of(syscalls.IOCTL[column], _IOCTL_REQUESTS),
            _step(_RETURN, RET_ERRNO | errno.EPERM),
        ]
    )


def _step(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("<HBBI", code, if_true, if_false, value)


def _fixed(
    table: dict[str, tuple[int | None, int | None]] | dict[str, tuple[int, int]],
    column: int,
    verdict: int,
) -> list[bytes]:
    steps: list[bytes] = []
    for numbers in table.values():
        number = numbers[column]
        if number is not None:
            steps += [_step(_JUMP_EQUAL, number, 0, 1), _step(_RETURN, verdict)]
    return steps


# The kernel reads these arguments as 32-bit numbers, so their low words decide alone.
def _open_with(number: int, flags: int) -> list[bytes]:
    return [
        _step(_JUMP_EQUAL, number, 0, 4),
        _step(_LOAD, _ARGUMENTS_AT + 8 * 2),
        _step(_JUMP_ANY_BIT, ~flags & 0xFFFFFFFF, 1, 0),
        _step(_RETURN, RET_ALLOW),
        _step(_RETURN, RET_ERRNO | errno.EPERM),
    ]


def _one_of(number: int, values: tuple[int, ...]) -> list[bytes]:
    checks: list[bytes] = []
    for value in values:
        checks += [_step(_JUMP_EQUAL, value, 0, 1), _step(_RETURN, RET_ALLOW)]
    return [
        _step(_JUMP_EQUAL, number, 0, len(checks) + 2),
        _step(_LOAD, _ARGUMENTS_AT + 8 * 1),
        *checks,
        _step(_RETURN, RET_ERRNO | errno.EPERM),
    ]
