"""Start a run process as its parent: begin its journal, let it go, and stand over it to its end."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import shlex
import signal
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import msgspec

from ..client.port import JournalPort
from ..journal import cgroup
from ..journal.spool import Folder, Lock, boot_id, host_name, start_ticks
from ..journal.writer import JournalWriter
from ..model import entries, marks
from ..model.clock import AnchoredClock
from ..model.jobs import environment
from ..model.orders import Order
from ..model.release import __version__
from ..settings import Settings
from .loop import Supervisor, finish
from .notes import Notes

_PR_SET_CHILD_SUBREAPER = 36

Run = Callable[[Folder], int]
"""What a warm run process does with its folder; returns its exit code."""


class Child(NamedTuple):
    """A run process that waits for its journal to be begun."""

    pid: int
    go: int
    """A descriptor: a byte written there lets it go."""


def start(folder: Folder, order: Order, run: Run, base: Mapping[str, str], console: int | None) -> Child:
    """Start the process of a run, and let it go once its journal is begun; this process must have one thread.

    ``base`` is the environment to which the job adds; ``console`` a descriptor on which the worker shows logs.

    Raises:
        OSError: no process can be made, or its journal not be begun; nothing of the run was carried out then.
    """
    _become_subreaper()
    output = os.open(folder.output, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    child = _fork(folder, order, run, base, console, output)
    os.close(output)
    try:
        _begin_journal(folder, order, child.pid)
        os.write(child.go, b"!")
    finally:
        os.close(child.go)  # unless it was let go, the child ends here
    return child


def stand_over(
    folder: Folder,
    lock: Lock,
    order: Order,
    port: JournalPort,
    settings: Settings,
    log: Callable[[str], None],
    echo: Callable[[bytes], None] | None,
) -> bool:
    """Supervise the child that was started, to its end; return whether the server has its journal whole.

    A SIGUSR1 is the worker's word that the run is to end, as by a SIGTERM from outside.
    """
    try:
        supervisor = Supervisor(folder, port, settings, log, child=True, order=order, echo=echo)
        signal.signal(signal.SIGUSR1, lambda *_: supervisor.stop())
        return finish(supervisor, folder, settings)
    finally:
        lock.release()


def _fork(
    folder: Folder, order: Order, run: Run, base: Mapping[str, str], console: int | None, output: int
) -> Child:
    waits, go = os.pipe()
    pid = os.fork()
    if pid:
        os.close(waits)
        return Child(pid, go)
    code = 1
    try:
        os.close(go)
        kept = _stand_alone(waits, output, console)
        if os.read(0, 1) != b"!":  # the supervisor died before it could begin the journal
            os._exit(1)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        code = _become(folder, order, run, environment(order.job, base), kept)
    except BaseException as error:  # noqa: BLE001  # the last edge of this process
        _report_unstartable(folder, order, error)
    finally:
        _leave(code)
    raise AssertionError("a process does not go on after its end")


def _stand_alone(waits: int, output: int, console: int | None) -> int | None:
    """Hold nothing but what the run is to have: its own session, its output, and where its logs are shown."""
    os.setsid()
    for number in (
        signal.SIGINT,
        signal.SIGTERM,
        signal.SIGHUP,
        signal.SIGQUIT,
        signal.SIGCHLD,
        signal.SIGUSR1,
    ):
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.pthread_sigmask(signal.SIG_SETMASK, set())
    shown = os.dup(console) if console is not None else None  # it may be one of those that are replaced now
    os.dup2(waits, 0)
    os.dup2(output, 1)
    os.dup2(output, 2)
    kept = None
    if shown is not None:
        os.dup2(shown, 3)
        kept = 3
    os.closerange(4 if kept else 3, _highest_descriptor() + 1)
    return kept


def _highest_descriptor() -> int:
    try:
        return max(int(entry.name) for entry in os.scandir("/proc/self/fd"))
    except OSError:
        return os.sysconf("SC_OPEN_MAX") - 1


def _become(folder: Folder, order: Order, run: Run, environ: dict[str, str], console: int | None) -> int:
    if console is not None:
        environ[marks.CONSOLE] = str(console)
    environ[marks.FOLDER] = str(folder.path)
    job = order.job
    if job.command is not None or job.start == "fresh":
        command = shlex.split(job.command) if job.command else [job.python or sys.executable, "-m"]
        if job.command is None:
            command += ["headrace.flow_process", str(folder.path)]
        if job.working_dir:
            os.chdir(Path(job.working_dir).expanduser())
        if console is not None:
            os.set_inheritable(console, True)
        os.execvpe(command[0], command, {"PYTHONUNBUFFERED": "1", **environ})
    os.environ.clear()
    os.environ.update(environ)
    _renew()
    return run(folder)


def _renew() -> None:
    """Make what a fork shares with its brothers its own: streams, and random numbers of libraries that have some."""
    sys.stdin = open(0, closefd=False)  # noqa: SIM115
    sys.stdout = open(1, "w", buffering=1, closefd=False, encoding="utf-8", errors="backslashreplace")  # noqa: SIM115
    sys.stderr = open(2, "w", buffering=1, closefd=False, encoding="utf-8", errors="backslashreplace")  # noqa: SIM115
    sys.__stdin__, sys.__stdout__, sys.__stderr__ = sys.stdin, sys.stdout, sys.stderr  # type: ignore[misc]
    numpy = sys.modules.get("numpy")
    if numpy is not None:
        numpy.random.seed()


def _leave(code: int) -> None:
    """End a warm process as an interpreter ends: threads that are no daemons first, then what was registered."""
    import atexit
    import threading

    try:
        threading._shutdown()  # type: ignore[attr-defined]  # what the interpreter calls; nothing public does
        atexit._run_exitfuncs()
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError):
                stream.flush()
    finally:
        os._exit(code)


def _report_unstartable(folder: Folder, order: Order, error: BaseException) -> None:
    """Write that the run could not even be started: an interpreter, a command or a folder that is not there."""
    anchor = AnchoredClock()
    what = f"{type(error).__name__}: {error}"
    message = (
        f"The run's process could not be started: {what}. Look at `command`, `python` and `working_dir` of its pool "
        "and deployment."
    )
    found = {"exception": {"type": type(error).__name__, "message": str(error)}}
    run = order.claim.run.id
    writer = JournalWriter(folder.journal)
    record = entries.State(run, anchor.now_us(), "FAILED", "LoadError", message, {"evidence": found})
    writer.append(entries.encode(record) + b"\n", keep=True)
    writer.close()


def _begin_journal(folder: Folder, order: Order, pid: int) -> None:
    clock, claim = AnchoredClock(), order.claim
    now = clock.now_us()
    header = entries.Open(
        journal=claim.journal,
        t=now,
        anchor=clock.anchor,
        pid=pid,
        started=start_ticks(pid) or 0,
        boot=boot_id(),
        host=host_name(),
        attempt=claim.attempt,
        kind="worker",
        worker=order.worker,
        python=".".join(map(str, sys.version_info[:3])),
        headrace=__version__,
        oom_kills=cgroup.oom_kills(cgroup.oom_counter()),
        cwd=order.job.working_dir,
    )
    run = claim.run
    made = entries.FlowRun(
        run.id,
        now,
        run.flow_name,
        run.name,
        parameters=msgspec.Raw(entries.encode(run.parameters)),
        tags=run.tags or None,
        planned=True,
    )
    if not Notes(folder, clock).append(header, made, entries.Adopted(now, os.getpid())):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder.path))


def _become_subreaper() -> None:
    """Have the orphans of our child left to us, so that none of them is lost from sight. Linux only."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
