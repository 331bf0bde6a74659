"""Pauses: a run writes down that it waits, then waits in its process or ends it, and asks nobody over a network.

An answer comes as a file beside the journal, which the supervisor writes. A pause is known by its key, and a
key is asked once in a run: what was answered is remembered over retries and over processes.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import msgspec

from ..errors import FlowPauseTimeout, MissingContextError, Pause, RunInputError
from ..model import entries
from ..model.clock import iso
from ..model.pauses import DESCRIPTION, RESPONSE, SCHEMA, input_key
from . import logs, writing
from .forms import Form
from .run import FlowRun, Run, current_run
from .state import State

POLL_S = 0.05
"""How often a waiting run looks for its answer; a look takes some 5 µs."""

_LOOK_US = 50_000
"""How often a run looks at most whether it is to suspend; a look takes some 2 µs."""

SLICE_S = 0.2
"""How long a run that can be suspended sleeps without looking."""

_KEY_LIMIT = 200

UNANSWERED: Any = object()


def running_flow(function: str) -> FlowRun:
    """Return the flow run of the running code.

    Raises:
        MissingContextError: no flow runs here, or a task does, or nothing is recorded; ``function`` was called.
    """
    run = current_run.get()
    if run is None:
        raise MissingContextError(
            f"{function} pauses the flow that calls it, and no flow is running here. Call it in a function "
            "decorated with @flow."
        )
    if not isinstance(run, FlowRun):
        raise MissingContextError(
            f"{function} was called in the task {run.name}; only a flow can be paused. Call it in the flow's own code."
        )
    if not run.recorder.writes or run.recorder.folder is None:
        raise MissingContextError(
            f"{function} was called where nothing is recorded (the setting record is off, or this is a forked "
            "child), so nobody could answer."
        )
    return run


class Asked:
    """One pause: its key, its form, and what is known of its answer."""

    def __init__(self, run: FlowRun, wanted: Any, key: str | None, timeout: float | None) -> None:
        if timeout is not None and timeout <= 0:
            raise ValueError(f"timeout is {timeout}; it must be more than 0 seconds, or None for no limit.")
        if key is not None and not (isinstance(key, str) and 0 < len(key) <= _KEY_LIMIT):
            raise ValueError(f"key is {key!r}; it must be a text of 1 to {_KEY_LIMIT} characters.")
        self.run = run
        # counted anew in each try: the n-th pause is the same question, whichever try asks it
        self.key = key if key is not None else str(run.count(f"pause:{run.run_count}"))
        self.form = Form(wanted) if wanted is not None else None
        self.timeout = timeout

    def known_answer(self) -> Any:
        """Return what was answered before, or ``UNANSWERED``."""
        given = self.run.answered.get(self.key, UNANSWERED)
        if given is UNANSWERED or self.form is None:
            return given if given is UNANSWERED else None
        try:
            return self.form.read(given)
        except RunInputError:  # the form has changed since, or never fitted: it is asked again
            return UNANSWERED

    def keyset(self) -> dict[str, str] | None:
        """Write down what the run asks for; return the keys of that and of the answer at the server."""
        if self.form is None:
            return None
        parts = {SCHEMA: self.form.schema}
        if self.form.description:
            parts[DESCRIPTION] = msgspec.json.encode(self.form.description).decode()
        run, now = self.run, self.run.recorder.now()
        told = [entries.Input(run.id, now, input_key(self.key, part), text) for part, text in parts.items()]
        run.recorder.record(*told, keep=True)
        return {part: input_key(self.key, part) for part in (*parts, RESPONSE)}

    def expires(self, now: int) -> str | None:
        """Return when nobody need answer any more, as ISO 8601."""
        return iso(now + int(self.timeout * 1_000_000)) if self.timeout is not None else None


class Waiting:
    """A pause whose process stays."""

    def __init__(self, asked: Asked) -> None:
        self._asked = asked
        self._run = run = asked.run
        assert run.recorder.folder is not None
        self._path = run.recorder.folder.request("resume", run.id)
        self._ends = time.monotonic() + asked.timeout if asked.timeout is not None else float("inf")
        self._keyset = asked.keyset()
        self._expires = asked.expires(run.recorder.now())
        self._since = 0
        self.value: Any = None
        self._pause("It waits in its process for somebody to resume it.")

    def _pause(self, message: str) -> None:
        run, asked = self._run, self._asked
        details = {
            "pause_key": asked.key,
            "pause_timeout": self._expires,
            "run_input_keyset": self._keyset,
        }
        told = {name: value for name, value in details.items() if value is not None}
        self._since = run.recorder.now()
        writing.write_state(run, State("PAUSED", None, message, state_details=told, t=self._since))
        logs.emit(run, 20, f"Paused. {message}")

    def is_over(self) -> bool:
        """Look for the answer; an answer that does not fit is told, and the run stays paused.

        Raises:
            FlowPauseTimeout: nobody has answered in time.
        """
        found = _read(self._path)
        payload = found.get("payload") if found is not None else None
        if isinstance(payload, dict) and payload.get("paused") == self._since:
            return self._take(payload.get("input"), found.get("who") if found is not None else None)
        # who writes nothing would not notice that its supervisor, who brings the answer, has died
        self._run.recorder.ensure_supervised()
        if time.monotonic() > self._ends:
            self._go_on()
            raise FlowPauseTimeout(
                f"Nobody resumed the flow run {self._run.name} within {self._asked.timeout:g} s. "
                "Give pause_flow_run a longer timeout, or catch this error to go on without an answer."
            )
        return False

    def _take(self, given: Any, who: str | None) -> bool:
        form = self._asked.form
        if form is not None:
            try:
                self.value = form.read(given)
            except RunInputError as error:
                self._pause(f"{error} It waits for another answer.")
                return False
        self._run.answered[self._asked.key] = given
        self._go_on()
        logs.emit(self._run, 20, "Resumed" + (f" by {who}" if who else ""))
        return True

    def _go_on(self) -> None:
        writing.write_state(self._run, State("RUNNING", t=self._run.recorder.now()))


def _read(path: Path) -> dict[str, Any] | None:
    try:
        found = msgspec.json.decode(path.read_bytes())
    except (OSError, msgspec.DecodeError):
        return None
    return found if isinstance(found, dict) else None


def wait_here(run: FlowRun, wanted: Any, timeout: float | None, poll: float, key: str | None) -> Any:
    """Pause a run in this thread; return the answer.

    Raises:
        FlowPauseTimeout: nobody has answered in time.
    """
    asked = Asked(run, wanted, key, timeout)
    answer = asked.known_answer()
    if answer is not UNANSWERED:
        return answer
    waiting = Waiting(asked)
    while not waiting.is_over():
        time.sleep(poll)
    return waiting.value


def leave(run: FlowRun, wanted: Any, timeout: float | None, key: str | None) -> Any:
    """Suspend a run, unless the pause is over: then return its answer.

    Raises:
        Pause: the run is to end here; it goes on in another process.
        MissingContextError: the run cannot be suspended.
    """
    if run.parent is not None:
        raise MissingContextError(
            f"The flow run {run.name} is a subflow: its process is its parent's, so it cannot be suspended by itself. "
            "Use pause_flow_run here, or suspend_flow_run in the flow that calls it."
        )
    if run.deployment_id is None:
        raise MissingContextError(
            f"The flow run {run.name} belongs to no deployment, so nobody would start it again. Use pause_flow_run, "
            "which waits in the process, or run the flow from a deployment."
        )
    asked = Asked(run, wanted, key, timeout)
    answer = asked.known_answer()
    if answer is not UNANSWERED:
        return answer
    raise Pause(
        "It waits without a process for somebody to resume it.",
        key=asked.key,
        expires=asked.expires(run.recorder.now()),
        keyset=asked.keyset(),
    )


def suspend_if_asked(run: FlowRun) -> None:
    """Suspend a run if somebody has asked for it; called where it could well go on later.

    Raises:
        Pause: somebody has.
    """
    root = run.root
    if root.deployment_id is None or not root.recorder.writes or root.recorder.folder is None:
        return
    now = root.recorder.now()
    if now - root.looked_us < _LOOK_US:
        return
    root.looked_us = now
    found = _read(root.recorder.folder.request("suspend", root.id))
    if found is None:
        return
    payload = found.get("payload")
    wanted = payload if isinstance(payload, dict) else {}
    by = f" by {found['who']}" if found.get("who") else ""
    raise Pause(
        f"It was suspended as asked{by} at {found.get('at') or 'an unknown time'}.",
        key=wanted.get("pause_key"),
        expires=wanted.get("pause_timeout"),
    )


def sleep(run: Run, seconds: float) -> None:
    """Sleep before a retry; a run that can be suspended may be meanwhile.

    Raises:
        Pause: somebody asked for it.
    """
    flow_run = suspendable(run)
    if flow_run is None:
        time.sleep(seconds)
        return
    ends = time.monotonic() + seconds
    suspend_if_asked(flow_run)
    while (left := ends - time.monotonic()) > 0:
        time.sleep(min(left, SLICE_S))
        suspend_if_asked(flow_run)


def suspendable(run: Run) -> FlowRun | None:
    """Return the flow run that may be suspended while ``run`` sleeps, or ``None``.

    A submitted task sleeps in a thread of its own, where nothing can end its flow.
    """
    if run.recorder.folder is None or getattr(run, "future", None) is not None:
        return None
    flow_run = run if isinstance(run, FlowRun) else run.parent
    return flow_run if flow_run is not None and flow_run.root.deployment_id is not None else None
