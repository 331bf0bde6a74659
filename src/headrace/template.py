"""The process of which every warm run is a fork: it has imported what runs need, and nothing else.

``python -m headrace.template FD`` is started by a worker. It has one thread, no event loop and one socket, on which
the worker names the folder of each run that is to start. For each it forks a supervisor, which forks the run.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import os
import signal
import socket
import sys
from pathlib import Path

from . import flow_process
from .engine import async_driver, driver  # noqa: F401  # what every run needs: shared by all of them
from .engine.runners import threads  # noqa: F401
from .journal.console import Console
from .journal.spool import Folder, take_lock
from .journal.writer import is_full
from .model.orders import Order, Started, encode_started
from .ports import RoamingPort, preload
from .settings import load
from .supervisor import parent
from .supervisor.log import Log
from .supervisor.parent import Child

LARGEST = 4096
"""Bytes of one message: the path of a folder."""

_LOOK_S = 5.0
"""How long those who look for journals without a supervisor may be in the way of a new run's own on a busy machine."""


def main(arguments: list[str] | None = None) -> None:
    """Serve requests on the socket whose descriptor is the first argument, until the worker is gone."""
    arguments = sys.argv[1:] if arguments is None else arguments
    control = socket.socket(fileno=int(arguments[0]))
    os.set_inheritable(control.fileno(), False)
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGQUIT):
        signal.signal(number, signal.SIG_IGN)  # the worker decides when its template ends
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # supervisors end by themselves, and nobody waits for them
    _import(arguments[1:])
    preload()
    gc.collect()
    gc.freeze()  # what is loaded stays: the collector of a fork need not touch it
    with contextlib.suppress(OSError):  # the worker is gone already
        control.send(encode_started(Started("", os.getpid())))
        _serve(control)


def _import(modules: list[str]) -> None:
    for name in modules:
        try:
            importlib.import_module(name)
        except Exception as error:  # noqa: BLE001  # a run that needs it tells what is wrong with it
            sys.stderr.write(f"headrace: preload of {name} failed: {type(error).__name__}: {error}\n")


def _serve(control: socket.socket) -> None:
    while True:
        try:
            request = control.recv(LARGEST)
        except OSError:
            return
        if not request:
            return
        folder = Folder(Path(os.fsdecode(request)))
        try:
            pid = os.fork()
        except OSError as error:  # no memory, or too many processes: told, and the next may find room
            control.send(encode_started(Started(folder.id, error=f"{error.strerror}")))
            continue
        if pid == 0:
            _supervise(folder, control)


def _supervise(folder: Folder, control: socket.socket) -> None:
    """In the fork: be the supervisor of one run, to the end of this process."""
    code = 1
    try:
        os.setsid()
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        for number in (signal.SIGTERM, signal.SIGPIPE, signal.SIGUSR1):
            signal.signal(number, signal.SIG_IGN)  # it ends when its run has
        order, lock = folder.order(), take_lock(folder, _LOOK_S)
        if order is None or lock is None:
            what = "holds no order" if order is None else f"has had another supervisor for {_LOOK_S:g} s"
            control.send(encode_started(Started(folder.id, error=f"its folder {what}")))
            return
        folder.adopt()
        child = _start(folder, order)
        control.send(encode_started(Started(folder.id, os.getpid(), child.pid)))
        control.close()
        settings = load()
        port = RoamingPort(settings)
        echo = _Echo(order)
        parent.stand_over(folder, lock, order, port, settings, Log(folder), echo)
        folder.drop_code()
        code = 0
    except BaseException as error:  # noqa: BLE001  # the last edge of this process
        with contextlib.suppress(OSError):
            Log(folder)(
                f"ended by {type(error).__name__}: {error}"
            )  # first: the worker may delete the folder
        with contextlib.suppress(OSError):
            if control.fileno() != -1:  # the worker has not been told: it waits
                control.send(encode_started(_not_started(folder, error)))
    finally:
        os._exit(code)


def _start(folder: Folder, order: Order) -> Child:
    console = 2 if order.job.stream_output else None
    return parent.start(folder, order, flow_process.main, os.environ, console)


def _not_started(folder: Folder, error: BaseException) -> Started:
    text = f"{type(error).__name__}: {error}"[:1000]
    return Started(folder.id, error=text, later=isinstance(error, OSError) and is_full(error))


class _Echo:
    """Show what a run prints on the worker's own standard error, each line with the run's name."""

    def __init__(self, order: Order) -> None:
        self._name = order.claim.run.name.encode()
        self._console = Console(2)

    def __call__(self, line: bytes) -> None:
        self._console.write_bytes(self._name + b" | " + line)


if __name__ == "__main__":
    main()
