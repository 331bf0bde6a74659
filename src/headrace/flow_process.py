"""The process that carries out one run for a worker: fetch the code, load the flow, run it.

``python -m headrace.flow_process FOLDER`` is a fresh start; a warm one is a fork that calls :func:`main`. Either way
the supervisor that started it has begun the journal, and standard output and error are a file beside it.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from pathlib import Path
from typing import Any

from .engine import logs, planned, sampler
from .engine import recorder as recorders
from .engine.recorder import Recorder
from .errors import JobError, LoadError
from .journal.console import Console
from .journal.reader import read_header
from .journal.spool import Folder
from .model import marks
from .model.entries import Open
from .model.orders import Order
from .settings import load
from .sources.loading import load_flow
from .sources.source import fetch

_HEADER_S = 5.0
"""How long the supervisor may take to begin the journal."""


def main(folder: Folder) -> int:
    """Carry out the run whose order lies in ``folder``; return the process's exit code.

    The run's own end is in its journal; the code only says whether there was a run to carry out.
    """
    order, header = folder.order(), _header(folder)
    if order is None or header is None:
        # Nothing can be recorded: there is no journal to record it in.
        _say(f"headrace: {folder.path} holds no order of a worker with a journal; nothing is run.")
        return 2
    made = _recorder(folder, header)
    planned.use(order)
    sampler.start(made)
    try:
        flow = _load(order, folder)
    except BaseException as error:  # noqa: BLE001  # whatever user code raises while it is imported, SystemExit too
        tried = getattr(error, "tried", None) or _tried(order)
        planned.report_unloadable(order, made, error, tried)
    else:
        planned.run_planned(flow, order, made)
    sampler.stop()
    return 0


def _say(line: str) -> None:
    """Write a line where the run's output goes."""
    sys.stderr.write(line + "\n")
    sys.stderr.flush()


def _header(folder: Folder) -> Open | None:
    until = time.monotonic() + _HEADER_S
    while (header := _read(folder)) is None and time.monotonic() < until:
        time.sleep(0.01)
    return header


def _read(folder: Folder) -> Open | None:
    try:
        return read_header(folder.journal)
    except OSError:
        return None


def _recorder(folder: Folder, header: Open) -> Recorder:
    """Make the recorder of this process, which writes on in the journal that its supervisor began."""
    settings = load()
    console = os.environ.pop(marks.CONSOLE, "")
    settings = settings.replace(logging_console=bool(console) and settings.logging_console)
    made = Recorder(settings)
    made.take_over(folder, header)
    recorders.use(made)
    if console:
        with contextlib.suppress(OSError, ValueError):
            os.set_inheritable(int(console), False)
            logs.show_on(Console(int(console)))
    logs.set_up(settings)
    return made


def _load(order: Order, folder: Folder) -> Any:
    if order.refusal is not None:
        raise JobError(order.refusal)
    code = order.claim.deployment
    if code is None or not code.entrypoint:
        raise LoadError(
            "The run has no deployment with an entrypoint, so nothing says which flow it is a run of. Deploy the flow "
            "again, with its entrypoint."
        )
    place = fetch(code, order.job, folder.code, say=_say)
    # Pull steps say where they end; else a job may have its own place to work in.
    work = order.job.working_dir if not code.pull_steps else None
    os.chdir(Path(work).expanduser() if work else place)
    sys.argv = [code.entrypoint]
    return load_flow(code.entrypoint, place)


def _tried(order: Order) -> str | None:
    code = order.claim.deployment
    return code.entrypoint if code is not None else None


if __name__ == "__main__":
    sys.exit(main(Folder(Path(sys.argv[1]))))
