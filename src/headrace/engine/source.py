"""Where a function comes from: keys and versions that stay the same while its code does."""

from __future__ import annotations

import functools
import inspect
import zlib
from collections.abc import Callable
from typing import Any


def version_of(fn: Callable[..., Any]) -> str | None:
    """Return a short hash of the file that defines a function, or ``None`` when there is none."""
    code = getattr(inspect.unwrap(fn), "__code__", None)
    return _file_hash(code.co_filename) if code is not None else None


@functools.lru_cache(maxsize=256)
def _file_hash(path: str) -> str | None:
    import hashlib  # 3 ms that importing headrace need not take

    try:
        with open(path, "rb") as file:  # noqa: PTH123  # pathlib is 3 ms that importing headrace need not take
            return hashlib.md5(file.read(), usedforsecurity=False).hexdigest()
    except OSError:
        return None


def task_key(fn: Callable[..., Any], name: str) -> str:
    """Return a task's key: its qualified name and a hash of its code, stable over processes."""
    qualname = getattr(fn, "__qualname__", type(fn).__qualname__).replace("<locals>.", "")
    code = getattr(inspect.unwrap(fn), "__code__", None)
    content = code.co_code if code is not None else qualname.encode()
    return f"{qualname}-{zlib.crc32(name.encode() + content):08x}"
