"""Start the companion: the supervisor process of a plain script."""

from __future__ import annotations

import contextlib
import fcntl
import os
import sys
from pathlib import Path
from typing import Any

from ..model import marks
from ..settings import Settings

_SHELL = "/bin/sh"


def start(folder: Path, settings: Settings) -> None:
    """Start the companion of the journal in ``folder`` and return at once (about 2 ms).

    It must not be a child of the script: the script's own ``os.wait()`` would meet it. So a shell starts it
    in the background and ends; the companion is then nobody's child. It gets its own session, no descriptor
    of the script, and the script's import path without the script's folder, whose files could shadow others.
    Where no process can be started the journal stays in the spool, and the next one on this host ships it.
    """
    if not sys.executable:
        return
    command = [sys.executable, "-W", "ignore", "-m", "headrace.companion", str(folder)]
    pidfd = _own_pidfd()
    environment = import_environment(settings)
    environment.pop(marks.JOURNAL, None)
    files: list[tuple[Any, ...]] = [
        (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
        (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0),
        (os.POSIX_SPAWN_OPEN, 2, os.devnull, os.O_WRONLY, 0),
    ]
    if pidfd is not None:
        files.append((os.POSIX_SPAWN_DUP2, pidfd, 3))
        command += ["--pidfd", "3"]
    if os.path.exists(_SHELL):  # noqa: PTH110  # a string test on the way of every script's first run
        command = [_SHELL, "-c", 'cd / && "$@" &', "sh", *command]
    else:
        command.append("--detach")  # containers without a shell: the companion forks itself away
    with contextlib.suppress(OSError):
        try:
            pid = os.posix_spawn(command[0], command, environment, file_actions=files, setsid=True)
        except (
            NotImplementedError
        ):  # a C library without POSIX_SPAWN_SETSID; the companion calls setsid itself
            pid = os.posix_spawn(command[0], command, environment, file_actions=files)
        with contextlib.suppress(ChildProcessError):  # SIGCHLD is ignored, or user code waited first
            os.waitpid(pid, 0)
    if pidfd is not None:
        os.close(pidfd)


def _own_pidfd() -> int | None:
    """Return a descriptor of this process, by which the companion learns its end even if that comes first."""
    try:
        found = os.pidfd_open(os.getpid())
        high = fcntl.fcntl(found, fcntl.F_DUPFD_CLOEXEC, 10)
    except (
        OSError,
        AttributeError,
    ):  # macOS, or no descriptor to be had: it looks for the process by its pid
        return None
    os.close(found)
    return high


def import_environment(settings: Settings) -> dict[str, str]:
    """Return an environment in which another interpreter finds what this one finds, and these settings."""
    environment = {**os.environ, **settings.environment()}
    script_folder = sys.path[0] if sys.path else ""
    environment["PYTHONPATH"] = os.pathsep.join(
        path
        for path in map(os.path.abspath, filter(None, sys.path))
        if path != script_folder  # may be no Path
    )
    for name in ("PYTHONINSPECT", "PYTHONSTARTUP", "PYTHONDEVMODE", "PYTHONWARNINGS"):
        environment.pop(name, None)
    return environment
