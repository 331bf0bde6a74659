"""States as user code sees them: values with a type, a name, a message and perhaps a result."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta, timezone
from typing import Any, Generic, TypeVar

from ..errors import CancelledRun, CrashedRun, FailedRun, MissingResult, PausedRun, UnfinishedRun
from ..model.clock import from_datetime, to_datetime
from ..model.states import DEFAULT_NAME, TERMINAL, StateType

R = TypeVar("R")


class _NoData:
    """Stands for a result that this process does not hold."""

    def __repr__(self) -> str:
        return "<no data>"

    def __reduce__(self) -> str:
        return "NO_DATA"  # the same one in every process: it is compared by identity


NO_DATA: Any = _NoData()


class StateDetails:
    """Further facts of a state, under the contract's names; an unknown name reads as ``None``."""

    def __init__(self, values: dict[str, Any] | None = None) -> None:
        self._values = values or {}

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        value = self._values.get(name)
        if name == "scheduled_time" and isinstance(value, str):
            return datetime.fromisoformat(value.replace("Z", "+00:00"))
        return value

    def to_dict(self) -> dict[str, Any]:
        """Return the facts as plain JSON values."""
        return dict(self._values)

    def __repr__(self) -> str:
        return f"StateDetails({self._values})"


class State(Generic[R]):
    """A run's state.

    ``type`` is a :class:`StateType`, ``name`` its refinement (``AwaitingRetry``), ``message`` a sentence or
    ``None``, ``timestamp`` an aware datetime. ``data`` is the run's value, or its exception when it failed.
    """

    __slots__ = ("_details", "_t", "_type", "data", "id", "message", "name")

    def __init__(
        self,
        type: StateType | str,
        name: str | None = None,
        message: str | None = None,
        data: Any = NO_DATA,
        state_details: dict[str, Any] | StateDetails | None = None,
        *,
        timestamp: datetime | None = None,
        t: int | None = None,
        id: str | None = None,
    ) -> None:
        self._type = type.value if isinstance(type, StateType) else StateType(type).value
        self.name = name or DEFAULT_NAME[self._type]
        self.message = message
        self.data = data
        self._details = state_details.to_dict() if isinstance(state_details, StateDetails) else state_details
        self._t = t if t is not None else from_datetime(timestamp or datetime.now(timezone.utc))
        self.id = id

    @property
    def type(self) -> StateType:
        """The state's type."""
        return StateType(self._type)

    @property
    def timestamp(self) -> datetime:
        """When the run entered this state (aware, UTC)."""
        return to_datetime(self._t)

    @property
    def state_details(self) -> StateDetails:
        """Further facts under the contract's names, such as ``scheduled_time``."""
        return StateDetails(self._details)

    def result(self, raise_on_failure: bool = True, retry_result_failure: bool = True) -> R:  # noqa: ARG002  # the field's signature
        """Return the run's value.

        A failed, crashed or cancelled run raises its exception; with ``raise_on_failure=False`` the
        exception is returned instead.

        Raises:
            UnfinishedRun: the run has not ended.
            MissingResult: it completed, but its value is not held by this process.
        """
        return get_state_result(self, raise_on_failure=raise_on_failure)

    async def aresult(self, raise_on_failure: bool = True, retry_result_failure: bool = True) -> R:  # noqa: ARG002
        """As :meth:`result`."""
        return get_state_result(self, raise_on_failure=raise_on_failure)

    def is_scheduled(self) -> bool:
        """Whether the run is to start later."""
        return self._type == "SCHEDULED"

    def is_pending(self) -> bool:
        """Whether the run exists and has not begun."""
        return self._type == "PENDING"

    def is_running(self) -> bool:
        """Whether user code runs."""
        return self._type == "RUNNING"

    def is_completed(self) -> bool:
        """Whether the run completed."""
        return self._type == "COMPLETED"

    def is_failed(self) -> bool:
        """Whether the run failed."""
        return self._type == "FAILED"

    def is_crashed(self) -> bool:
        """Whether the run's process ended without reporting."""
        return self._type == "CRASHED"

    def is_cancelled(self) -> bool:
        """Whether the run was cancelled."""
        return self._type == "CANCELLED"

    def is_cancelling(self) -> bool:
        """Whether the run was asked to end and has not yet."""
        return self._type == "CANCELLING"

    def is_paused(self) -> bool:
        """Whether the run waits for somebody."""
        return self._type == "PAUSED"

    def is_final(self) -> bool:
        """Whether the run has ended."""
        return self._type in TERMINAL

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, State):
            return NotImplemented
        return (self._type, self.name, self.message) == (other._type, other.name, other.message) and (
            self.data is other.data or self.data == other.data
        )

    __hash__ = None  # type: ignore[assignment]  # states are compared by value and may hold anything

    def __repr__(self) -> str:
        message = f"message={self.message!r}, " if self.message else ""
        return f"{self.name}({message}type={self._type})"

    __str__ = __repr__


def Scheduled(  # noqa: N802  # the field's name
    scheduled_time: datetime | None = None, *, name: str | None = None, **kwargs: Any
) -> State[Any]:
    """Make a Scheduled state; without a time it is now."""
    moment = scheduled_time or datetime.now(timezone.utc)
    details = {**(kwargs.pop("state_details", None) or {}), "scheduled_time": moment.isoformat()}
    return State(StateType.SCHEDULED, name, state_details=details, **kwargs)


def _factory(state_type: StateType, name: str | None = None) -> Any:
    def make(**kwargs: Any) -> State[Any]:
        return State(state_type, kwargs.pop("name", name), **kwargs)

    make.__name__ = make.__qualname__ = name or DEFAULT_NAME[state_type.value]
    make.__doc__ = f"Make a {make.__name__} state; keywords: name, message, data, state_details."
    return make


Pending = _factory(StateType.PENDING)
Running = _factory(StateType.RUNNING)
Completed = _factory(StateType.COMPLETED)
Failed = _factory(StateType.FAILED)
Crashed = _factory(StateType.CRASHED)
Cancelling = _factory(StateType.CANCELLING)
Cancelled = _factory(StateType.CANCELLED)
Retrying = _factory(StateType.RUNNING, "Retrying")
Submitting = _factory(StateType.PENDING, "Submitting")
InfrastructurePending = _factory(StateType.PENDING, "InfrastructurePending")


def Late(scheduled_time: datetime | None = None, **kwargs: Any) -> State[Any]:  # noqa: N802
    """Make a Scheduled state named Late."""
    return Scheduled(scheduled_time, name="Late", **kwargs)


def AwaitingRetry(scheduled_time: datetime | None = None, **kwargs: Any) -> State[Any]:  # noqa: N802
    """Make a Scheduled state named AwaitingRetry."""
    return Scheduled(scheduled_time, name="AwaitingRetry", **kwargs)


def AwaitingConcurrencySlot(scheduled_time: datetime | None = None, **kwargs: Any) -> State[Any]:  # noqa: N802
    """Make a Scheduled state named AwaitingConcurrencySlot."""
    return Scheduled(scheduled_time, name="AwaitingConcurrencySlot", **kwargs)


def Paused(  # noqa: N802
    timeout_seconds: float | None = None,
    pause_expiration_time: datetime | None = None,
    reschedule: bool = False,
    pause_key: str | None = None,
    **kwargs: Any,
) -> State[Any]:
    """Make a Paused state that expires after ``timeout_seconds`` or at a time, if either is given."""
    expires = pause_expiration_time
    if timeout_seconds is not None:
        expires = datetime.now(timezone.utc) + timedelta(seconds=timeout_seconds)
    details = {
        **(kwargs.pop("state_details", None) or {}),
        "pause_timeout": expires.isoformat() if expires else None,
        "pause_reschedule": reschedule,
        "pause_key": pause_key,
    }
    return State(StateType.PAUSED, kwargs.pop("name", None), state_details=details, **kwargs)


def Suspended(timeout_seconds: float | None = None, **kwargs: Any) -> State[Any]:  # noqa: N802
    """Make a Paused state named Suspended: its process ends, and a resume starts another."""
    return Paused(timeout_seconds, reschedule=True, name="Suspended", **kwargs)


def get_state_exception(state: State[Any]) -> BaseException:
    """Return the exception of a failed, crashed or cancelled state.

    A state without one gets :class:`FailedRun`, :class:`CrashedRun` or :class:`CancelledRun` with its message.
    """
    data = state.data
    if isinstance(data, BaseException):
        return data
    if isinstance(data, State):
        return get_state_exception(data)
    if isinstance(data, (list, tuple, set)):
        for item in data:
            if isinstance(item, State) and not item.is_completed():
                return get_state_exception(item)
    text = state.message or (data if isinstance(data, str) else None) or f"The run ended as {state.name}."
    if state.is_crashed():
        return CrashedRun(text)
    if state.is_cancelled():
        return CancelledRun(text)
    return FailedRun(text)


def raise_state_exception(state: State[Any]) -> None:
    """Raise the exception of a state that is failed, crashed or cancelled; return otherwise."""
    if state.is_failed() or state.is_crashed() or state.is_cancelled():
        raise get_state_exception(state)


def get_state_result(state: State[R], raise_on_failure: bool = True) -> R:
    """Return a state's value; see :meth:`State.result`."""
    if state.is_failed() or state.is_crashed() or state.is_cancelled():
        error = get_state_exception(state)
        if raise_on_failure:
            raise error
        return error  # type: ignore[return-value]  # asked for by the caller
    if state.is_paused():
        raise PausedRun(f"The run is {state.name}; it has no result yet. Resume it and wait for it first.")
    if not state.is_final():
        raise UnfinishedRun(f"The run is {state.name}; it has no result yet. Wait for it first.")
    if state.data is NO_DATA:
        raise MissingResult(
            "The run completed, but its value is not held by this process. Values are kept in memory only "
            "in the process that made them."
        )
    return state.data  # type: ignore[no-any-return]  # user data


class StateGroup:
    """Counts over several states, for the rule of a flow's final state."""

    def __init__(self, states: Iterable[State[Any]]) -> None:
        self.states = list(states)
        self.total_count = len(self.states)

    def count(self, state_type: str) -> int:
        """Return how many states are of a type."""
        return sum(state._type == state_type for state in self.states)

    def all_completed(self) -> bool:
        """Whether all are Completed."""
        return self.count("COMPLETED") == self.total_count

    def any_cancelled(self) -> bool:
        """Whether one is Cancelled."""
        return self.count("CANCELLED") > 0

    def any_failed(self) -> bool:
        """Whether one is Failed or Crashed."""
        return self.count("FAILED") + self.count("CRASHED") > 0

    def any_paused(self) -> bool:
        """Whether one is Paused."""
        return self.count("PAUSED") > 0

    def all_final(self) -> bool:
        """Whether all have ended."""
        return all(state.is_final() for state in self.states)
