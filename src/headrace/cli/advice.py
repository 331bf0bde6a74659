"""Say in words why a run is where it is, how sure that is, and what to do next: pure, from what the server tells."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from headrace.client.calls import Json
from headrace.model.sizes import size_text
from headrace.model.states import TERMINAL

from .output import duration, local_time

_LIBRARY = re.compile(r"/lib/python\d|/(site|dist)-packages/|^<")
"""Paths of what is installed with Python: where an error shows, seldom where it is."""

_PLACE = re.compile(r'File "(.+)", line (\d+), in (.+)')
_MESSAGE_LIMIT = 300


class Account(NamedTuple):
    """What can be told of a run's state."""

    cause: str
    """One sentence for people."""
    certainty: str
    """``certain``, ``likely``, ``unknown`` or ``presumed``."""
    said_by: str
    """Who said so: ``run``, ``supervisor``, ``server`` or whoever asked."""
    evidence: Json
    next: list[str]
    """What to do, one sentence or two each; the first first."""


def account(run: Json) -> Account:
    """Return the account of a flow run as the API gives it."""
    state: Json = run.get("state") or {}
    found = (state.get("state_details") or {}).get("evidence")
    evidence: Json = found if isinstance(found, dict) else {}
    rank, source = _word(run, state)
    return Account(
        _cause(state, evidence),
        _certainty(rank, evidence),
        source,
        evidence,
        list(_advice(run, state, evidence)),
    )


def _word(run: Json, state: Json) -> tuple[str, str]:
    """Return the rank of the state that stands, and who said so."""
    for entry in reversed(run.get("state_history") or []):
        if entry.get("id") == state.get("id"):
            return entry.get("rank") or "", entry.get("source") or ""
    return "", ""


def _certainty(rank: str, evidence: Json) -> str:
    if rank == "presumption":
        return "presumed"
    told = evidence.get("certainty")
    if told in ("certain", "likely", "unknown"):
        return str(told)
    return "unknown" if rank == "verdict" else "certain"


# -- the cause


def _cause(state: Json, evidence: Json) -> str:
    exception = evidence.get("exception")
    kind, name = state.get("type"), state.get("name")
    if isinstance(exception, dict) and kind == "FAILED" and name not in ("TimedOut", "LoadError"):
        return _raised(exception)
    message = str(state.get("message") or "").split("\n")[0]
    if message:
        return message
    if kind == "COMPLETED":
        return "It returned normally."
    if kind == "RUNNING":
        return f"It has not ended: it runs since {local_time(state.get('timestamp'))}."
    return f"Its state is {name or kind or 'unknown'}, and nothing more was told."


def _raised(exception: Json) -> str:
    text = f"It raised {_named(exception)}"
    root = exception.get("root_cause")
    if isinstance(root, dict) and _named(root) != _named(exception):
        text += f"; the root cause is {_named(root)}"
    return text if text.endswith((".", "!", "?")) else text + "."


def _named(exception: Json) -> str:
    message = str(exception.get("message") or "").split("\n")[0].rstrip(".")
    if len(message) > _MESSAGE_LIMIT:
        message = f"{message[:_MESSAGE_LIMIT]}..."
    return f"{exception.get('type')}: {message}" if message else str(exception.get("type"))


# -- what to do next


def _advice(run: Json, state: Json, evidence: Json) -> Iterator[str]:
    kind, name = state.get("type") or "", state.get("name") or ""
    by = _BY_NAME.get(name) or _BY_TYPE.get(kind)
    if by is not None:
        yield from by(run, evidence)
    if kind in ("FAILED", "CRASHED"):
        yield f"See what it logged: headrace flow-run logs {run['id']} --tail 50"
    if kind in TERMINAL and kind != "COMPLETED" and run.get("deployment_id"):
        yield f"When it is mended, try it again: headrace flow-run retry {run['id']}"


def _failed(run: Json, evidence: Json) -> Iterator[str]:
    exception = evidence.get("exception")
    if not isinstance(exception, dict):
        yield "The run said itself that it failed and gave no exception: its message and its log are all there is."
        return
    root = exception.get("root_cause")
    root = root if isinstance(root, dict) else exception
    place = _last_place(exception.get("traceback"))
    if exception.get("type") == "MemoryError":
        yield from _less_memory()
    yield f"Begin with {root.get('type')}{f', at {place}' if place else ''}; the traceback above holds no line of Headrace's."
    if not run.get("run_count") or run["run_count"] <= 1:
        yield "If it may pass by itself (a network, a busy service), give the flow or the task retries and retry_delay_seconds."


def _last_place(traceback: Any) -> str:
    """Return the innermost place of the user's own code; the innermost of all when a library raised by itself."""
    found = _PLACE.findall(traceback) if isinstance(traceback, str) else []
    found = [place for place in found if not _LIBRARY.search(place[0])] or found
    return f"{found[-1][0]}:{found[-1][1]} in {found[-1][2]}" if found else ""


def _load_error(_run: Json, evidence: Json) -> Iterator[str]:
    tried = evidence.get("tried")
    where = f" ({tried})" if tried else ""
    yield (
        f"Look whether the path that was tried{where} is there for the worker, as its user, and whether the entrypoint "
        "names a function in it: headrace deployment inspect NAME shows both."
    )
    yield (
        "If a module is missing, it is missing where the worker runs: install it there, or set the deployment's "
        "working_dir, env or python."
    )


def _timed_out(_run: Json, evidence: Json) -> Iterator[str]:
    limit = evidence.get("timeout_seconds")
    if evidence.get("stack") or evidence.get("sampled_stack") or evidence.get("exception"):
        yield "Look in the evidence where it stood when its time was up: the innermost call is what it waited for."
    which = "the deployment's timeout" if evidence.get("timeout_of") == "job" else "timeout_seconds"
    told = f" ({duration(limit)})" if isinstance(limit, (int, float)) else ""
    yield f"If it was only slow, raise {which}{told}; if it hung, give that call a limit of its own."


def _out_of_memory(_run: Json, evidence: Json) -> Iterator[str]:
    limit, held = evidence.get("memory_limit_bytes"), evidence.get("memory_bytes")
    if isinstance(limit, int) and isinstance(held, int):
        yield (
            f"If it needs that much, raise memory_limit of the deployment or the pool: it was {size_text(limit)}, "
            f"and {size_text(held)} were held when it was passed."
        )
    yield from _less_memory()


def _less_memory() -> Iterator[str]:
    yield (
        "Have it hold less at a time: read and write in chunks or as a stream, keep no results that nobody reads, run "
        "fewer tasks at once (max_workers)."
    )


def _crashed(run: Json, evidence: Json) -> Iterator[str]:
    signal = evidence.get("signal")
    if evidence.get("stack"):
        yield "The stack in the evidence shows which call into native code was under way; look for a newer release of that library."
    if signal == "SIGKILL":
        yield from _killed(evidence)
    elif signal is None and "exit_code" in evidence:
        yield "Something ended the process without an exception (os._exit, or native code that calls exit): the last lines of output often name it."
    elif signal is None:
        yield "Run it by a worker, or on Linux 6.15 or later, and the next end of this kind is seen exactly."
    tasks = evidence.get("open_tasks")
    if isinstance(tasks, list) and tasks:
        yield f"It was doing this when it died: {', '.join(map(str, tasks[:5]))}."
    if not (run.get("empirical_policy") or {}).get("retries"):
        yield "With retries on the flow, a run that a worker started is tried again after a crash, too."


def _killed(evidence: Json) -> Iterator[str]:
    host = evidence.get("host") or "its host"
    if evidence.get("oom_killed") is True:
        limit = evidence.get("cgroup_limit_bytes")
        told = f" (its control group may hold {size_text(limit)})" if isinstance(limit, int) else ""
        yield (
            f"Give its container or host more memory{told}, or set memory_limit on the deployment, a little lower: "
            "then the run is ended before the kernel acts, and you are told which process it was."
        )
        yield from _less_memory()
        return
    if evidence.get("oom_killed") is None:
        yield f"See whether the kernel did it: journalctl -k --grep 'Killed process' on {host}."
    yield (
        f"Look for who sends SIGKILL on {host}: a service manager or a container that was stopped and did not end in time "
        "(journalctl -u UNIT, docker inspect, kubectl describe pod), a batch system's limit, or a person. The kernel does not tell the sender."
    )


def _terminated(_run: Json, evidence: Json) -> Iterator[str]:
    host = evidence.get("host") or "its host"
    yield (
        f"Look for what was stopped on {host} at that time: a service, a container, a pod that was moved, a shutdown. "
        "Nobody had asked Headrace to cancel it."
    )


def _lost(_run: Json, evidence: Json) -> Iterator[str]:
    host = evidence.get("host") or "its host"
    yield f"Look whether {host} is up and reaches the server; a network that was cut heals by itself, and the run's own word replaces this."
    yield f"Once {host} is back, start a worker there, or type headrace journal ship: what the run had written down is still on its disk."


def _cancelled(_run: Json, evidence: Json) -> Iterator[str]:
    if evidence.get("killed_by"):
        yield (
            "It did not stop when it was told, and was killed after its grace time: look in the evidence where it stood, "
            "or raise grace_seconds if it was cleaning up."
        )


def _late(_run: Json, _evidence: Json) -> Iterator[str]:
    yield (
        "No worker has taken it: see whether one polls its pool (headrace work-pool ls, headrace worker start -p POOL), "
        "and whether pool or queue are paused or at their concurrency limit."
    )


def _running(run: Json, _evidence: Json) -> Iterator[str]:
    yield f"Follow it: headrace flow-run watch {run['id']}"


def _paused(run: Json, _evidence: Json) -> Iterator[str]:
    yield f"It waits for somebody: headrace flow-run resume {run['id']}"


_Advice = Callable[[Json, Json], Iterator[str]]

_BY_NAME: dict[str, _Advice] = {
    "LoadError": _load_error,
    "TimedOut": _timed_out,
    "OutOfMemory": _out_of_memory,
    "Terminated": _terminated,
    "Lost": _lost,
    "Late": _late,
}
_BY_TYPE: dict[str, _Advice] = {
    "FAILED": _failed,
    "CRASHED": _crashed,
    "CANCELLED": _cancelled,
    "RUNNING": _running,
    "CANCELLING": _running,
    "PAUSED": _paused,
}
