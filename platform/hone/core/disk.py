"""A full disk, told apart from other faults of files."""

from __future__ import annotations

import errno

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})


def is_disk_full(error: BaseException) -> bool:
    """Whether the disk, or the quota on it, was full."""
    return isinstance(error, OSError) and error.errno in _FULL
