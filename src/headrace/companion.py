"""The process beside a plain script: a supervisor, put together with whatever server there is.

``python -m headrace.companion --recover`` ships what was left behind; ``python -m headrace.companion FOLDER`` is started by the engine at a script's first run and ends when the
script has ended and its journal is shipped.
"""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import sys
from pathlib import Path

from .journal.spool import Folder, Spool, take_lock
from .ports import RoamingPort
from .settings import load

_LOOK_S = 0.5
"""How long somebody who only looks whether a journal has a supervisor may hold its lock on a busy machine."""


def main(arguments: list[str] | None = None) -> None:
    """Supervise the journal in the folder that the first argument names."""
    gc.set_threshold(50_000, 20, 50)  # what is loaded stays, and records are freed by their counts
    arguments = sys.argv[1:] if arguments is None else arguments
    if arguments == ["--recover"]:
        _recover()
        return
    pidfd = int(arguments[arguments.index("--pidfd") + 1]) if "--pidfd" in arguments else None
    _stand_apart(detach="--detach" in arguments, keep=pidfd)
    folder = Folder(Path(arguments[0]))
    lock = take_lock(folder, _LOOK_S)
    if lock is None:
        return  # another companion has it: it was started twice
    from .supervisor.log import Log
    from .supervisor.loop import supervise  # after the lock: the loser of a race should cost little
    from .supervisor.recover import recover

    settings = load()
    log = Log(folder)
    port = RoamingPort(settings)
    try:
        if supervise(folder, lock, port, settings, log, pidfd=pidfd):
            recover(settings, port, settings.ship_patience)
            Spool(settings.home_path).prune(settings.journals_keep)
    except Exception as error:
        log(f"ended by {type(error).__name__}: {error}")
        raise


def _recover() -> None:
    """Ship what was left behind on this host: asked for by a worker, which is no supervisor itself."""
    from .supervisor.recover import recover  # here: as above

    settings = load()
    port = RoamingPort(settings)
    try:
        recover(settings, port, settings.ship_patience)
        Spool(settings.home_path).prune(settings.journals_keep)
    finally:
        port.close()


def _stand_apart(*, detach: bool, keep: int | None) -> None:
    """Hold nothing of the script: no descriptor but ``keep``, no terminal, no parent, no signal of its group."""
    if detach and os.fork():
        os._exit(0)
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGPIPE, signal.SIGQUIT, signal.SIGTSTP):
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_SETMASK, set())
    with contextlib.suppress(OSError):
        os.setsid()
    highest = _highest_descriptor() + 1
    if keep is not None:
        os.set_inheritable(keep, False)
        os.closerange(3, keep)
        os.closerange(keep + 1, max(highest, keep + 1))
    else:
        os.closerange(3, max(highest, 3))
    os.chdir("/")


def _highest_descriptor() -> int:
    try:
        return max(int(entry.name) for entry in Path("/proc/self/fd").iterdir())
    except OSError:
        return os.sysconf("SC_OPEN_MAX") - 1


if __name__ == "__main__":
    main()
