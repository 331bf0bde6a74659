"""Give the blocks of a stretch of a file back to the file system, while others go on appending to it."""

from __future__ import annotations

import contextlib
import ctypes

BLOCK = 4096
"""What file systems count in; only whole blocks can be given back."""

_KEEP_SIZE_PUNCH_HOLE = 0x01 | 0x02


def punch(fd: int, offset: int, length: int) -> bool:
    """Give blocks back, the file keeps its length; return ``False`` where the file system cannot."""
    with contextlib.suppress(OSError, AttributeError):
        libc = ctypes.CDLL(None, use_errno=True)
        call = libc.fallocate64 if hasattr(libc, "fallocate64") else libc.fallocate
        call.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64]
        return bool(call(fd, _KEEP_SIZE_PUNCH_HOLE, offset, length) == 0)
    return False
