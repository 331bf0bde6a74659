"""The verdict on a run whose process ended without reporting its end: one pure function."""

from __future__ import annotations

import signal as _signal
from typing import NamedTuple

import msgspec

from .sizes import size_text


class Ending(msgspec.Struct, omit_defaults=True):
    """How a process ended, as far as its supervisor could see."""

    code: int | None = None
    """Its exit code; ``None`` when a signal ended it or the kernel did not tell."""
    signal: int | None = None
    """The signal that ended it."""


class Evidence(msgspec.Struct, omit_defaults=True):
    """What was gathered around a process's end; every field may be missing."""

    exit_code: int | None = None
    signal: str | None = None
    certainty: str = "unknown"
    """``certain``, ``likely`` or ``unknown``: how sure the first sentence of the verdict is."""
    oom_killed: bool | None = None
    """Whether the kernel's out-of-memory killer acted in the process's cgroup while it lived."""
    peak_memory_bytes: int | None = None
    cpu_seconds: float | None = None
    memory_limit_bytes: int | None = None
    """The memory limit that its processes passed."""
    memory_bytes: int | None = None
    """What its processes held together when they passed it."""
    memory_process: str | None = None
    """Which of them held the most: pid, amount and command."""
    cgroup_oom_kills: int | None = None
    """How often the OOM killer acted in its control group while it lived, whoever the victims were."""
    cgroup_peak_bytes: int | None = None
    """The most that its control group held, if that was while it lived; other processes may be in the group."""
    cgroup_limit_bytes: int | None = None
    """What its control group may hold."""
    stack: str | None = None
    """The Python stacks at the fault, as faulthandler wrote them."""
    sampled_stack: str | None = None
    """Where its threads stood when its own sampler last looked (once a second)."""
    sample_age_seconds: float | None = None
    """How long before the end that was."""
    last_output: list[str] | None = None
    """The last lines of the run's log, or of what it printed, oldest first."""
    open_tasks: list[str] | None = None
    """Names of task runs that had not ended."""
    host: str | None = None
    pid: int | None = None
    died: str | None = None
    """When, ISO 8601."""
    last_sign_of_life: str | None = None
    """The time of the last record that the process itself wrote, ISO 8601."""
    killed_by: str | None = None
    """``headrace`` when the supervisor itself ended the process, with the reason in the message."""
    timeout_seconds: float | None = None
    timeout_of: str | None = None
    """Whose timeout that was: ``flow`` (``timeout_seconds``) or ``job`` (the pool's or deployment's ``timeout``)."""
    asked_by: str | None = None
    asked_at: str | None = None


class Asked(NamedTuple):
    """A cancel that had been passed on to the process."""

    who: str | None
    at: str
    killed: bool
    """Whether the supervisor killed the process after its grace time."""


class Excess(NamedTuple):
    """A memory limit that was passed, and by whom."""

    limit_bytes: int
    total_bytes: int
    """What all processes of the run held together."""
    pid: int
    """The process that held the most of it."""
    command: str
    """Its command line; empty when it could not be read."""
    held_bytes: int
    """What that process held."""

    def process(self) -> str:
        """Return the process for people: ``pid 812 with 1.1 GB (python etl.py)``."""
        command = f" ({self.command})" if self.command else ""
        return f"pid {self.pid} with {size_text(self.held_bytes)}{command}"


class Verdict(NamedTuple):
    """The state of every run that was open when its process ended."""

    type: str
    name: str
    message: str
    certainty: str


FAULTS = {_signal.SIGSEGV, _signal.SIGABRT, _signal.SIGBUS, _signal.SIGFPE, _signal.SIGILL}


_FAULT_TEXTS = {
    "Segmentation fault": _signal.SIGSEGV,
    "Aborted": _signal.SIGABRT,
    "Bus error": _signal.SIGBUS,
    "Floating point exception": _signal.SIGFPE,
    "Floating-point exception": _signal.SIGFPE,
    "Illegal instruction": _signal.SIGILL,
}


def fault_in(stacks: str | None, ending: Ending) -> Ending:
    """Return the ending, with the signal that faulthandler named where the kernel told nothing."""
    if ending != Ending() or not stacks:
        return ending
    first = stacks.split("\n", 1)[0].removeprefix("Fatal Python error: ").strip()
    return Ending(signal=_FAULT_TEXTS[first]) if first in _FAULT_TEXTS else ending


def judge(
    ending: Ending,
    *,
    asked: Asked | None = None,
    timed_out: float | None = None,
    job_timed_out: float | None = None,
    memory: Excess | None = None,
    oom_killed: bool | None = None,
    has_stack: bool = False,
    recovered: bool = False,
) -> Verdict:
    """Say in which state an open run ended, given how its process did.

    ``timed_out`` is the flow's limit in seconds when the supervisor killed the process for passing it, and
    ``job_timed_out`` the job's; ``memory`` what passed the memory limit when it killed the process for that;
    ``oom_killed`` whether the kernel's OOM killer acted (``None``: it could not be seen);
    ``has_stack`` whether faulthandler left a stack; ``recovered`` whether the process was gone before anybody
    watched it (its host restarted, or run and supervisor were killed together).
    """
    if asked is not None:
        return _cancelled(asked)
    if memory is not None:
        return _out_of_memory(memory)
    if timed_out is not None or job_timed_out is not None:
        return _timed_out(timed_out, job_timed_out)
    if recovered and ending == Ending():
        return Verdict(
            "CRASHED",
            "Lost",
            "Its process was gone when this journal was taken up; most likely the host restarted, or the run was "
            "killed together with its supervisor.",
            "likely",
        )
    if ending.signal is not None:
        return _signalled(ending.signal, oom_killed, has_stack)
    if ending.code is not None:
        return Verdict(
            "CRASHED",
            "Crashed",
            f"The process ended without reporting: exit code {ending.code}, and the run had not ended "
            "(os._exit does that, and so do some libraries).",
            "certain",
        )
    return Verdict(
        "CRASHED",
        "Crashed",
        "The process ended without reporting. How it ended could not be seen on this host; "
        "a SIGKILL from outside or os._exit leave it so.",
        "unknown",
    )


def _cancelled(asked: Asked) -> Verdict:
    by = f" by {asked.who}" if asked.who else ""
    how = (
        "it did not stop within its grace time, so its process tree was killed"
        if asked.killed
        else "its process ended"
    )
    return Verdict("CANCELLED", "Cancelled", f"Cancel was asked{by} at {asked.at}; {how}.", "certain")


def _out_of_memory(memory: Excess) -> Verdict:
    return Verdict(
        "CRASHED",
        "OutOfMemory",
        f"Its processes held {size_text(memory.total_bytes)}, more than its memory limit of "
        f"{size_text(memory.limit_bytes)}, so they were killed; the largest was {memory.process()}.",
        "certain",
    )


def _timed_out(flow_s: float | None, job_s: float | None) -> Verdict:
    if flow_s is not None:
        why = f"It passed its timeout of {flow_s:g} s and did not stop when told, so its process was killed."
    else:
        why = f"Its process passed the job's timeout of {job_s:g} s, so it was killed with all that it had started."
    return Verdict("FAILED", "TimedOut", why, "certain")


def _signalled(number: int, oom_killed: bool | None, has_stack: bool) -> Verdict:
    name = signal_name(number)
    if number == _signal.SIGINT:
        return Verdict("CANCELLED", "Interrupted", "Interrupted by SIGINT (Ctrl-C).", "certain")
    if number == _signal.SIGTERM:
        return Verdict(
            "CRASHED",
            "Terminated",
            "Ended by SIGTERM from outside; nobody had asked for a cancel.",
            "certain",
        )
    if number == _signal.SIGKILL:
        why = {
            True: "; the kernel's OOM killer acted in its cgroup at that time, so most likely it ran out of memory",
            False: "; the kernel's OOM killer did not do it",
            None: "; whether the OOM killer did it could not be seen",
        }[oom_killed]
        return Verdict(
            "CRASHED", "Crashed", f"Killed by SIGKILL{why}.", "likely" if oom_killed else "certain"
        )
    if number in FAULTS:
        where = " The Python stack at the fault is in the evidence." if has_stack else ""
        return Verdict("CRASHED", "Crashed", f"Killed by {name}: a fault in native code.{where}", "certain")
    return Verdict("CRASHED", "Crashed", f"Killed by {name}.", "certain")


def signal_name(number: int) -> str:
    """Return ``SIGKILL`` for 9, and ``signal 63`` for one without a name."""
    try:
        return _signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
