"""Take up journals that were left behind on this host: by a reboot, or with their supervisor killed."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable

from ..client.port import JournalPort
from ..journal.reader import read_header
from ..journal.spool import Folder, Lock, Spool, host_name, is_alive
from ..model.entries import Open
from ..settings import Settings
from .loop import supervise

_STARTING_S = 10.0
"""How long a companion may take, on a busy machine, from its start until it holds its journal's lock."""


_SILENCE_ELSEWHERE_S = 600.0
"""How long a journal of another host must be silent before it counts as left behind."""


def left_behind(settings: Settings) -> list[tuple[Folder, Lock]]:
    """Return journals whose process has ended and that nobody supervises, with their locks taken.

    A journal without a readable header tells nothing and is put aside once it is a minute old.
    """
    spool = Spool(settings.home_path)
    now = time.time()
    found: list[tuple[Folder, Lock]] = []
    for folder, lock in spool.left_behind():
        header = read_header(folder.journal)
        if header is None:
            _put_aside(spool, folder)
            lock.release()
        elif (
            is_alive(header)
            or folder.awaits_supervisor(_STARTING_S, now)
            or _is_elsewhere(folder, header, now)
        ):
            lock.release()  # its own process looks after its supervisor
        else:
            found.append((folder, lock))
    return found


def _is_elsewhere(folder: Folder, header: Open, now: float) -> bool:
    """Say whether another host, or container, that shares the home folder may still write this journal.

    Its processes cannot be seen from here, so only a long silence tells that it is gone.
    """
    return header.host != host_name() and now - folder.journal.stat().st_mtime < _SILENCE_ELSEWHERE_S


def recover(settings: Settings, port: JournalPort, budget_s: float) -> int:
    """Judge and ship journals left behind, for up to ``budget_s`` seconds; return how many were shipped whole.

    What does not fit in the budget stays for the next one who comes.
    """
    until = time.monotonic() + budget_s
    shipped = 0
    waiting = left_behind(settings)
    for folder, lock in waiting:
        left = until - time.monotonic()
        if left <= 0:
            lock.release()
            continue
        with contextlib.suppress(OSError, ValueError):
            shipped += supervise(
                folder, lock, port, settings.replace(ship_patience=left, grace_seconds=0.0), _silent
            )
    return shipped


def _silent(_: str) -> None:
    return None


def _put_aside(spool: Spool, folder: Folder, now: Callable[[], float] = time.time) -> None:
    with contextlib.suppress(OSError):
        if folder.never_began(now()):
            spool.retire(folder)
