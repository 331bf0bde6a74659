"""Every error that a user of Headrace can catch.

::

    HeadraceError
    ├── SettingError              a setting holds something it cannot hold
    ├── ScheduleError             a schedule says no time, or cannot be read (also ``ValueError``)
    ├── DeploymentError           a deployment cannot be made as it is asked for
    ├── ParameterTypeError        a flow's argument does not fit its type hint
    ├── ParameterBindError        a call does not fit the function's signature
    ├── MissingContextError       something needs a running flow or task and there is none
    ├── MissingResult             a run's value is asked for that is not held any more
    ├── UnfinishedRun             a result is asked of a run that has not ended
    │   └── PausedRun             it has not ended because it waits for somebody
    ├── FlowPauseTimeout          nobody resumed a paused run in time (also ``TimeoutError``)
    ├── NotPausedError            a run is to be resumed that is not paused
    ├── RunInputError             what a paused run is told does not fit what it asks for (also ``ValueError``)
    ├── FlowRunWaitTimeout        a run that is waited for did not end in time (also ``TimeoutError``)
    ├── FailedRun                 a run failed and left no exception to raise
    ├── CrashedRun                a run ended without reporting
    │   └── CrashedTaskError      the process of a task died (ProcessPoolTaskRunner)
    ├── CancelledRun              a run was cancelled
    ├── UpstreamTaskError         a task did not start because one that it needs did not complete
    ├── FlowRunTimeout, TaskRunTimeout   ``timeout_seconds`` passed (also ``TimeoutError``)
    ├── JobError                  a job setting holds something it cannot hold
    ├── LaunchError               what carries a run out could not be started or found
    ├── LoadError                 the code of a flow cannot be got or loaded; ``tried`` says where
    ├── DatabaseError             the server's data cannot be backed up, restored or copied as it is asked for
    ├── JournalError              a journal cannot be read or written
    │   └── OffsetMismatch        bytes were shipped to the wrong place; ``expected`` says the right one
    └── ApiError                  the server refused a request; ``status`` and ``body`` say why
        ├── ObjectNotFound        404
        ├── ObjectAlreadyExists   409
        └── ServerUnavailable     no answer at all, or 5xx after retries

    TerminationSignal (BaseException)   the run was told to end; ``except Exception`` does not swallow it
    Pause (BaseException)               the run is suspended: its process ends and another one goes on later

Each class has a stable ``code`` for support and for REST bodies.
"""

from __future__ import annotations

from typing import Any, ClassVar


class HeadraceError(Exception):
    """Base of every error that Headrace raises for a user to catch."""

    code: ClassVar[str] = "error"

    def __reduce__(self) -> Any:
        """Pickle the text and the attributes: errors cross processes, and some are made from more than a text."""
        return _rebuild, (type(self), self.args, self.__dict__)


def _rebuild(kind: type[BaseException], args: tuple[Any, ...], attributes: dict[str, Any]) -> BaseException:
    error = kind.__new__(kind, *args)
    error.args = args
    error.__dict__.update(attributes)
    return error


class SettingError(HeadraceError):
    """A setting holds a value that it cannot hold."""

    code = "setting"


class ScheduleError(HeadraceError, ValueError):
    """A schedule cannot be read, or describes no time at all.

    ``field`` is the part of the schedule that is wrong (``cron``, ``timezone``, ...), or ``None`` for the whole.
    """

    code = "schedule"

    def __init__(self, message: str, *, field: str | None = None) -> None:
        super().__init__(message)
        self.field = field


class DeploymentError(HeadraceError):
    """A deployment cannot be made as it is asked for; the text says what to change."""

    code = "deployment"


class ParameterTypeError(HeadraceError):
    """An argument of a flow does not fit its type hint; the text names each field and the reason."""

    code = "parameter-type"


class ParameterBindError(HeadraceError, TypeError):
    """A call does not fit the signature of the flow or task."""

    code = "parameter-bind"


class MissingContextError(HeadraceError, RuntimeError):
    """A function was called that only works inside a flow or task run."""

    code = "missing-context"


class MissingResult(HeadraceError):
    """The run ended, and its value is not held by this process."""

    code = "missing-result"


class UnfinishedRun(HeadraceError):
    """A result was asked of a run that has not ended yet."""

    code = "unfinished-run"


class PausedRun(UnfinishedRun):
    """A result was asked of a run that is paused or suspended."""

    code = "paused-run"


class FlowPauseTimeout(HeadraceError, TimeoutError):
    """Nobody resumed a paused flow run within its timeout.

    In the run itself ``pause_flow_run`` raises it; left alone it fails the run. ``resume_flow_run`` raises it when it
    comes too late.
    """

    code = "flow-pause-timeout"


class NotPausedError(HeadraceError):
    """A flow run was to be resumed that is not paused; its state is as it was."""

    code = "not-paused"


class RunInputError(HeadraceError, ValueError):
    """What a paused run is told does not fit what it asks for; the text names the fields. It stays paused."""

    code = "run-input"


class FlowRunWaitTimeout(HeadraceError, TimeoutError):
    """A flow run that was waited for has not ended in time; it goes on."""

    code = "flow-run-wait-timeout"


class FailedRun(HeadraceError):
    """A run failed and no exception of its own is at hand."""

    code = "failed-run"


class CrashedRun(HeadraceError):
    """A run ended without reporting its own end."""

    code = "crashed-run"


class CrashedTaskError(CrashedRun):
    """The process that carried out a task died.

    ``pid`` is the dead process; ``signal`` the number of the signal that killed it, or ``None``;
    ``exit_code`` its exit status, or ``None``.
    """

    code = "crashed-task"

    def __init__(
        self, message: str, *, pid: int, signal: int | None = None, exit_code: int | None = None
    ) -> None:
        super().__init__(message)
        self.pid = pid
        self.signal = signal
        self.exit_code = exit_code


class CancelledRun(HeadraceError):
    """A run was cancelled."""

    code = "cancelled-run"


class UpstreamTaskError(HeadraceError):
    """A task did not start, because a run that it waits for did not complete."""

    code = "upstream-task"


class FlowRunTimeout(HeadraceError, TimeoutError):
    """A flow run passed its ``timeout_seconds``."""

    code = "flow-run-timeout"


class TaskRunTimeout(HeadraceError, TimeoutError):
    """A task run passed its ``timeout_seconds``."""

    code = "task-run-timeout"


class JobError(HeadraceError):
    """A pool's template, or a job variable of a deployment or a run, makes no sense.

    ``setting`` is the name of the job setting, or ``None`` when it is the template as a whole.
    """

    code = "job"

    def __init__(self, message: str, *, setting: str | None = None) -> None:
        super().__init__(message)
        self.setting = setting


class LaunchError(HeadraceError):
    """What is to carry a run out could not be started, or cannot be found from here."""

    code = "launch"


class LoadError(HeadraceError):
    """The code of a flow cannot be fetched or loaded; a run ends as Failed, named LoadError.

    ``tried`` is the file, folder, module or repository that was tried, as text; the cause, if user code raised
    one, is chained.
    """

    code = "load"

    def __init__(self, message: str, *, tried: str = "") -> None:
        super().__init__(message)
        self.tried = tried


class DatabaseError(HeadraceError):
    """The server's data cannot be backed up, restored, checked or copied as it is asked for."""

    code = "database"


class JournalError(HeadraceError):
    """A journal cannot be read or written."""

    code = "journal"


class OffsetMismatch(JournalError):
    """Bytes were shipped to a place where the server's copy of the journal does not end."""

    code = "offset-mismatch"

    def __init__(self, journal: str, given: int, expected: int) -> None:
        super().__init__(
            f"The server holds {expected} bytes of journal {journal}; the bytes sent begin at {given}. "
            f"Send from byte {expected}."
        )
        self.journal = journal
        self.given = given
        self.expected = expected


class ApiError(HeadraceError):
    """The server refused a request.

    ``status`` is the HTTP status, or ``None`` when no answer came; ``body`` the decoded answer.
    """

    code = "api"

    def __init__(self, message: str, *, status: int | None = None, body: Any = None) -> None:
        super().__init__(message)
        self.status = status
        self.body = body


class ObjectNotFound(ApiError):
    """The server does not know the thing asked for (404)."""

    code = "not-found"


class ObjectAlreadyExists(ApiError):
    """The thing to be made is there already (409)."""

    code = "already-exists"


class ServerUnavailable(ApiError):
    """The server gave no answer, or only 5xx, after all retries."""

    code = "server-unavailable"


class TerminationSignal(BaseException):
    """The run was told to end, by a cancel or by SIGTERM.

    It derives from ``BaseException`` so that a flow's ``except Exception`` cannot swallow it; a
    ``finally`` or ``except BaseException`` may clean up and should raise it again. ``cancelled`` says whether
    somebody asked for it; ``who`` and ``at`` (ISO 8601) then say who did and when, as far as that is known.
    """

    def __reduce__(self) -> Any:
        """Pickle the text and the attributes, as other errors do."""
        return _rebuild, (type(self), self.args, self.__dict__)

    def __init__(
        self, reason: str, *, cancelled: bool, who: str | None = None, at: str | None = None
    ) -> None:
        super().__init__(reason)
        self.cancelled = cancelled
        self.who = who
        self.at = at


class Pause(BaseException):
    """The flow run is suspended: its process ends now, and a resume starts another one.

    It derives from ``BaseException``, as ``TerminationSignal`` does: ``finally`` blocks run, and a flow's
    ``except Exception`` does not swallow it. ``key`` names the pause, ``expires`` (ISO 8601) says when it is over for
    good, ``keyset`` under which keys its input is kept at the server; each may be ``None``.
    """

    def __reduce__(self) -> Any:
        """Pickle the text and the attributes, as other errors do."""
        return _rebuild, (type(self), self.args, self.__dict__)

    def __init__(
        self,
        reason: str,
        *,
        key: str | None = None,
        expires: str | None = None,
        keyset: dict[str, str] | None = None,
    ) -> None:
        super().__init__(reason)
        self.key = key
        self.expires = expires
        self.keyset = keyset
