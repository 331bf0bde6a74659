"""The states a run can be in: one table, from which checks, colours and documents are made."""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple


class StateType(str, Enum):
    """The contract's nine types of state; a name (``AwaitingRetry``) refines a type."""

    SCHEDULED = "SCHEDULED"
    PENDING = "PENDING"
    RUNNING = "RUNNING"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"
    CRASHED = "CRASHED"
    PAUSED = "PAUSED"
    CANCELLING = "CANCELLING"

    __str__ = str.__str__


class StateKind(NamedTuple):
    """One row of the table of states."""

    name: str
    """The name on the wire and in every list."""
    type: StateType
    terminal: bool
    """Whether the run ends in it."""
    colour: str
    """Its colour on a terminal, as Rich names it."""
    meaning: str
    """One sentence for the documents."""


_S = StateType
KINDS: tuple[StateKind, ...] = (
    StateKind("Scheduled", _S.SCHEDULED, False, "yellow", "It is to start at a known time."),
    StateKind("Late", _S.SCHEDULED, False, "yellow", "It should have started by now."),
    StateKind(
        "AwaitingRetry", _S.SCHEDULED, False, "yellow", "It failed or crashed and will be tried again."
    ),
    StateKind("Resuming", _S.SCHEDULED, False, "yellow", "It was suspended and will go on."),
    StateKind("AwaitingConcurrencySlot", _S.SCHEDULED, False, "yellow", "It waits for a slot of a limit."),
    StateKind("Pending", _S.PENDING, False, "bright_black", "It exists and has not begun."),
    StateKind("Submitting", _S.PENDING, False, "bright_black", "A worker is starting its process."),
    StateKind(
        "NotReady", _S.PENDING, True, "yellow", "A run that it needs did not complete, so it never began."
    ),
    StateKind("InfrastructurePending", _S.PENDING, False, "bright_black", "Its process is being made."),
    StateKind("Running", _S.RUNNING, False, "blue", "User code runs."),
    StateKind("Retrying", _S.RUNNING, False, "blue", "User code runs again after a failure."),
    StateKind("Completed", _S.COMPLETED, True, "green", "It returned normally."),
    StateKind("Cached", _S.COMPLETED, True, "green", "An earlier result was taken."),
    StateKind("RolledBack", _S.COMPLETED, True, "green", "It completed and its transaction was undone."),
    StateKind("Failed", _S.FAILED, True, "red", "It raised an exception, or said itself that it failed."),
    StateKind("TimedOut", _S.FAILED, True, "red", "It passed its timeout_seconds."),
    StateKind("LoadError", _S.FAILED, True, "red", "Its code could not be loaded."),
    StateKind("Crashed", _S.CRASHED, True, "dark_orange", "Its process ended without reporting."),
    StateKind(
        "Terminated", _S.CRASHED, True, "dark_orange", "SIGTERM ended it; nobody had asked for a cancel."
    ),
    StateKind("OutOfMemory", _S.CRASHED, True, "dark_orange", "It passed its memory limit."),
    StateKind("Lost", _S.CRASHED, True, "dark_orange", "No sign of life for a whole lease: a presumption."),
    StateKind("Cancelled", _S.CANCELLED, True, "bright_black", "Somebody asked that it end."),
    StateKind("Interrupted", _S.CANCELLED, True, "bright_black", "Ctrl-C at its terminal ended it."),
    StateKind("Paused", _S.PAUSED, False, "magenta", "It waits in its process for somebody."),
    StateKind("Suspended", _S.PAUSED, False, "magenta", "It waits without a process for somebody."),
    StateKind("Cancelling", _S.CANCELLING, False, "bright_black", "It was asked to end and has not yet."),
)

BY_NAME: dict[str, StateKind] = {kind.name: kind for kind in KINDS}

DEFAULT_NAME: dict[str, str] = {state.value: state.value.capitalize() for state in StateType}
"""The name of a state of a type when none is given: ``COMPLETED`` → ``Completed``."""

TERMINAL: frozenset[str] = frozenset(
    (StateType.COMPLETED.value, StateType.FAILED.value, StateType.CRASHED.value, StateType.CANCELLED.value)
)
"""The types in which a run ends, as text."""


def is_over(state_type: str, state_name: str) -> bool:
    """Say whether nothing more will come of a run in this state by itself.

    That is a terminal type, and ``NotReady``, which the contract keeps under PENDING.
    """
    return state_type in TERMINAL or state_name == "NotReady"


def holds_slot(state_type: str, *, by_process: bool, suspended: bool = False) -> bool:
    """Say whether a flow run in this state holds its slots of pool, queue and deployment: while an attempt lives.

    ``by_process`` says that the run's own process told the state: then even a run that waits for its next try, or
    is paused, has a process that will go on without asking. ``suspended`` is a pause whose process ends.
    """
    if state_type in _ALIVE:
        return True
    return by_process and (state_type == "SCHEDULED" or (state_type == "PAUSED" and not suspended))


_ALIVE = frozenset(("PENDING", "RUNNING", "CANCELLING"))


def colour_of(state_type: str, state_name: str | None = None) -> str:
    """Return the terminal colour of a state; an unknown name takes its type's."""
    kind = BY_NAME.get(state_name or "") or BY_NAME[DEFAULT_NAME[state_type]]
    return kind.colour
