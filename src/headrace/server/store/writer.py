"""How writes are carried out: each in a transaction, or many in one; what passes by itself is tried again."""

from __future__ import annotations

import queue
import random
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, NamedTuple, TypeVar

from sqlalchemy import Engine
from sqlalchemy.engine import Connection
from sqlalchemy.exc import DBAPIError

T = TypeVar("T")

GROUP = 64
"""Writes that share a transaction at most: past it a commit costs little beside them."""

PAUSES_S = (0.05, 0.25, 1.0)
"""How long to wait, about, before a transaction that met a passing fault is tried again."""


class _CommitLost(Exception):
    """The connection was lost while it committed: nobody can tell whether that was done.

    The work must not be tried again here, where it might be done twice; its caller knows whether that is
    harmless.
    """

    def __init__(self, error: DBAPIError) -> None:
        super().__init__()
        self.error = error


class _Job(NamedTuple):
    work: Callable[[Connection], Any]
    outcome: Future[Any]


MayPass = Callable[[BaseException, int], bool]
"""Says whether a write that failed with an error after so many tries may succeed when it is tried again."""


class DirectWriter:
    """Write in the calling thread: for PostgreSQL, and for processes that write little and should start fast."""

    def __init__(self, engine: Engine, may_pass: MayPass) -> None:
        self.engine = engine
        self._may_pass = may_pass

    def write(self, work: Callable[[Connection], T]) -> T:
        """Carry out ``work`` in a transaction of its own; after a passing fault it is called again."""
        try:
            return self._patiently(work)
        except _CommitLost as lost:
            raise lost.error from None

    def once(self, work: Callable[[Connection], T]) -> T:
        """Carry out ``work`` in a transaction, one time; :class:`_CommitLost` when its end is not known."""
        with self.engine.connect() as connection, connection.begin() as transaction:
            value = work(connection)
            try:
                transaction.commit()
            except DBAPIError as error:
                if error.connection_invalidated:
                    raise _CommitLost(error) from error
                raise
            return value

    def _patiently(self, work: Callable[[Connection], T]) -> T:
        for tries, pause_s in enumerate(PAUSES_S, start=1):
            try:
                return self.once(work)
            except Exception as error:
                if not self._may_pass(error, tries):
                    raise
                time.sleep(pause_s * random.uniform(0.5, 1.5))
        return self.once(work)

    def close(self) -> None:
        """Give the connection back."""
        self.engine.dispose()


class PooledWriter:
    """Write in the calling thread, as many at once as the engine has connections: PostgreSQL's way."""

    def __init__(self, engine: Engine, may_pass: MayPass) -> None:
        self._direct = DirectWriter(engine, may_pass)
        self._mine = threading.local()
        self._free = threading.Condition()
        self._writing = 0
        self._closed = False

    def write(self, work: Callable[[Connection], T]) -> T:
        """Carry out ``work`` in a transaction of its own; after a passing fault it is called again."""
        if getattr(self._mine, "writes", False):
            raise RuntimeError("A write asked for another write; use the connection it was given.")
        with self._free:
            if self._closed:
                raise RuntimeError("The database is closed.")
            self._writing += 1
        self._mine.writes = True
        try:
            return self._direct.write(work)
        finally:
            self._mine.writes = False
            with self._free:
                self._writing -= 1
                self._free.notify_all()

    def close(self) -> None:
        """Wait for what is being written, and give the connections back."""
        with self._free:
            self._closed = True
            self._free.wait_for(lambda: not self._writing)
        self._direct.close()


class GroupWriter:
    """Write in one thread of its own, several queued writes in one transaction (group commit)."""

    def __init__(self, engine: Engine, may_pass: MayPass) -> None:
        self._direct = DirectWriter(engine, may_pass)
        self._may_pass = may_pass
        self._queue: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._closed = False
        self._gate = threading.Lock()  # so that nothing is queued behind the end
        self._thread = threading.Thread(target=self._loop, name="headrace-writer", daemon=True)
        self._thread.start()

    def write(self, work: Callable[[Connection], T]) -> T:
        """Carry out ``work`` in a savepoint of a shared transaction; return when that is committed.

        ``work`` may be called more than once: when the transaction as a whole fails, each of its writes is
        tried alone.
        """
        if threading.current_thread() is self._thread:
            raise RuntimeError("A write asked for another write; use the connection it was given.")
        outcome: Future[T] = Future()
        with self._gate:
            if self._closed:
                raise RuntimeError("The database is closed.")
            self._queue.put(_Job(work, outcome))
        return outcome.result()

    def close(self) -> None:
        """Finish what is queued, end the thread and give the connection back."""
        with self._gate:
            if not self._closed:
                self._closed = True
                self._queue.put(None)
        self._thread.join()
        self._direct.close()

    def _loop(self) -> None:
        while (job := self._queue.get()) is not None:
            jobs = [job]
            while len(jobs) < GROUP and not self._queue.empty():
                following = self._queue.get()
                if following is None:
                    self._queue.put(None)  # the gate is shut: it is the last one still
                    break
                jobs.append(following)
            self._carry_out(jobs)

    def _carry_out(self, jobs: list[_Job]) -> None:
        if len(jobs) == 1 or not self._together(jobs):
            for job in jobs:
                self._alone(job)

    def _together(self, jobs: list[_Job]) -> bool:
        """Return whether all writes were settled in one transaction."""
        outcomes: list[tuple[Any, Exception | None]]
        lost_commit = False
        try:
            outcomes = self._direct.once(lambda shared: [_in_savepoint(shared, job.work) for job in jobs])
        except _CommitLost as lost:
            outcomes, lost_commit = [(None, lost.error)] * len(jobs), True
        except Exception:  # noqa: BLE001  # whatever it was, each write meets it again alone and reports it
            return False
        for job, (value, error) in zip(jobs, outcomes, strict=True):
            if error is not None and not lost_commit and self._may_pass(error, 1):
                self._alone(job)  # what it did was undone with its savepoint
            else:
                _settle(job.outcome, value, error)
        return True

    def _alone(self, job: _Job) -> None:
        try:
            value = self._direct.write(job.work)
        except BaseException as error:  # noqa: BLE001  # it belongs to the caller, in its thread
            job.outcome.set_exception(error)
        else:
            job.outcome.set_result(value)


def _in_savepoint(
    connection: Connection, work: Callable[[Connection], T]
) -> tuple[T | None, Exception | None]:
    nested = connection.begin_nested()
    try:
        value = work(connection)
    except Exception as error:  # noqa: BLE001  # it belongs to the caller, in its thread
        nested.rollback()
        return None, error
    nested.commit()
    return value, None


def _settle(outcome: Future[Any], value: Any, error: Exception | None) -> None:
    if error is not None:
        outcome.set_exception(error)
    else:
        outcome.set_result(value)
