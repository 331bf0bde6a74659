"""Deletes what is older than it is to be kept, in slices so short that no write waits for them."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple, TypeVar

from sqlalchemy.engine import Connection

from headrace.server.store import partitions, retention, weights
from headrace.server.store.database import Database
from headrace.server.store.pace import Pace
from headrace.server.store.partitions import Partition
from headrace.server.store.streams import EVENTS, LOGS, Stream
from headrace.server.store.weights import Part
from headrace.settings import Settings

from .loop_lease import Lease, LeaseLost
from .service import Service

T = TypeVar("T")
_log = logging.getLogger("headrace.server")

DAY_US = 86_400_000_000

SLICE_S = 0.010
"""How long a slice works before it lets others write; measured by benchmarks/retention.py."""

EVERY_S = 600.0
"""Seconds between two turns: what is a day too old may wait ten minutes."""

JOURNALS_LONGER_US = 30 * DAY_US
"""How much longer than its runs a journal's row is kept.

It says how much of the journal is held: as long as it is there, a host that sends the journal once more brings
nothing back. Hosts keep what was shipped for ``journals_keep`` days, a week unless they are told otherwise.
"""


_LESS = 0.1
"""What part of a size is made free besides, so that not every turn has something to delete."""

_AT_ONCE = 500
"""Runs that are deleted before it is looked again how much room all of them take."""


class Ages(NamedTuple):
    """How old things may grow, in microseconds; ``None``: they are kept for ever."""

    runs: int | None
    logs: int | None
    events: int | None

    @classmethod
    def of(cls, settings: Settings) -> Ages:
        """Return what the settings say; zero days, or fewer, mean for ever."""
        days = settings.retention_runs_days, settings.retention_logs_days, settings.retention_events_days
        return cls(*(int(number * DAY_US) if number > 0 else None for number in days))


class Sizes(NamedTuple):
    """How much room things may take, in bytes, about; ``None``: as much as they need."""

    runs: int | None = None
    logs: int | None = None
    events: int | None = None

    @classmethod
    def of(cls, settings: Settings) -> Sizes:
        """Return what the settings say; no bytes mean as many as are needed."""
        sizes = settings.retention_runs_size, settings.retention_logs_size, settings.retention_events_size
        return cls(*(size or None for size in sizes))


ANY_SIZE = Sizes()


class _Stopped(Exception):
    """The server is to end: the rest is left to the next one."""


class Retention(Service):
    """Look every ten minutes for what is too old; the first time a minute after the server has started."""

    every_s = 60.0

    def __init__(
        self,
        database: Database,
        lease: Lease,
        *,
        ages: Ages,
        sizes: Sizes = ANY_SIZE,
        now_us: Callable[[], int],
    ) -> None:
        super().__init__()
        self._database = database
        self._lease = lease
        self._ages = ages
        self._sizes = sizes
        self._now_us = now_us
        self._pace = Pace(SLICE_S)

    def tick(self) -> None:
        """Delete all that is too old by now, if this server holds the lease of the loops."""
        self.every_s = EVERY_S
        if self._lease.held():
            self.sweep()

    def sweep(self) -> dict[str, int]:
        """Delete all that is too old by now; return how many rows of what went."""
        now_us, gone = self._now_us(), {"flow_runs": 0, "rows": 0, "bytes": 0}
        try:
            # What lies in partitions goes first: then there is less to look for when runs go.
            for stream, age_us, size in (
                (LOGS, self._ages.logs, self._sizes.logs),
                (EVENTS, self._ages.events, self._sizes.events),
            ):
                if age_us is not None:
                    self._stream(stream, now_us - age_us, gone)
                if size is not None:
                    self._fit_stream(stream, size, gone)
            if self._ages.runs is not None:
                self._runs(now_us - self._ages.runs, gone)
                self._journals(now_us - self._ages.runs - JOURNALS_LONGER_US, gone)
            if self._sizes.runs is not None:
                self._fit_runs(self._sizes.runs, gone)
            gone["bytes"] += self._space()
        except (LeaseLost, _Stopped):
            pass  # whoever holds it now does the same
        if any(gone.values()):
            _log.info(
                "Retention: %d flow runs deleted (%d rows in all), %d bytes given back.",
                gone["flow_runs"], gone["rows"], gone["bytes"],
            )  # fmt: skip
        return gone

    def _runs(self, before_us: int, gone: dict[str, int]) -> int:
        """Delete what ended before a moment; return how many rows of runs that were."""
        ended = partial(retention.ended, before_us=before_us, limit=retention.RUNS)
        loose = partial(retention.loose_task_runs, before_us=before_us, limit=retention.RUNS)
        before = gone["rows"]
        while ids := self._look(ended):
            done = self._slice(partial(retention.delete_ended, ids=ids, before_us=before_us))
            gone["flow_runs"] += done.runs
            gone["rows"] += done.deleted
            if not done.deleted:
                break  # somebody holds all of them
        while ids := self._look(loose):
            deleted = self._slice(partial(retention.delete_loose_task_runs, ids=ids))
            gone["rows"] += deleted
            if not deleted:
                break
        return gone["rows"] - before

    def _journals(self, before_us: int, gone: dict[str, int]) -> None:
        after: str | None = None
        while found := self._look(partial(retention.old_journals, before_us=before_us, after=after)):
            after = found[-1][0]
            old = [id for id, last_seen_us in found if last_seen_us < before_us]
            for start in range(0, len(old), retention.RUNS):
                some = old[start : start + retention.RUNS]
                gone["rows"] += self._slice(partial(retention.delete_journals, ids=some, before_us=before_us))

    def _stream(self, stream: Stream, before_us: int, gone: dict[str, int]) -> None:
        kept = self._drop(stream, before_us, gone)
        while ids := self._look(partial(retention.old, stream=stream, before_us=before_us, kept=kept)):
            if not self._rows(stream, ids, gone):
                break  # somebody holds all of them

    def _drop(self, stream: Stream, before_us: int, gone: dict[str, int]) -> list[Partition]:
        """Drop the partitions whose time is over; return those that slices are to let be, because they will go whole."""
        found = self._look(partial(partitions.over, stream=stream, before_us=before_us))
        while found and self._is_dropped(found[0], gone):
            del found[0]
        # What is left somebody uses for longer: it goes at the next turn.
        return found + self._look(partial(partitions.around, stream=stream, us=before_us))

    def _is_dropped(self, partition: Partition, gone: dict[str, int]) -> bool:
        held = self._look(partial(partitions.contents, partition=partition))
        if not self._turn(partial(partitions.drop, partition=partition)):
            return False
        gone["rows"] += held.rows
        gone["bytes"] += held.bytes
        return True

    def _rows(self, stream: Stream, ids: Sequence[Any], gone: dict[str, int]) -> int:
        """Delete these rows of a stream; return how many there were."""
        deleted = start = 0
        while start < len(ids):
            done = self._slice(partial(retention.delete_ids, table=stream.table, ids=ids[start:]))
            start += done.tried
            deleted += done.deleted
            gone["rows"] += done.deleted
        return deleted

    def _fit_stream(self, stream: Stream, size: int, gone: dict[str, int]) -> None:
        """Let the oldest go until a stream takes no more than that, and a tenth less where rows are deleted one by one."""
        if not self._may_exceed(size, stream.table.name):
            return
        parts = self._look(partial(weights.parts, stream=stream))
        surplus = sum(part.bytes for part in parts) - size
        for part in parts:
            if surplus <= 0:
                break
            if part.over is None:
                surplus -= self._thin(stream, part, surplus + size * _LESS, gone)
            elif self._is_dropped(part.over, gone):
                surplus -= part.bytes
            else:
                break  # somebody uses the table for longer: the next turn

    def _thin(self, stream: Stream, part: Part, bytes: float, gone: dict[str, int]) -> float:
        """Delete the oldest rows of a part that take so many bytes; return how many those took that went."""
        thinned = 0.0
        while thinned < bytes and (found := self._look(partial(weights.oldest, stream=stream, part=part))):
            ids = []
            for id, size in found:
                if thinned < bytes:
                    ids.append(id)
                    thinned += size
            if not self._rows(stream, ids, gone):
                break  # somebody holds all of them
        return thinned

    def _fit_runs(self, size: int, gone: dict[str, int]) -> None:
        """Let the runs that ended first go until all of them take a tenth less than that, if they took more."""
        if not self._may_exceed(size, *weights.RUNS):
            return
        each = self._look(partial(weights.of_runs, kind=self._database.kind))
        take = partial(weights.all_runs, each=each)
        if self._look(take).bytes <= size:
            return
        while (surplus := (taken := self._look(take)).bytes - size * (1 - _LESS)) > 0:
            share = surplus / taken.bytes / 2  # the oldest may be the largest: it is looked again
            flows, tasks = (min(_AT_ONCE, int(number * share)) for number in (taken.flows, taken.tasks))
            before_us = self._look(partial(retention.end_of_oldest, flows=flows, tasks=tasks))
            if before_us is None or not self._runs(before_us, gone):
                break  # the others go on, or somebody holds them

    def _may_exceed(self, size: int, *names: str) -> bool:
        most: int = self._look(partial(self._database.kind.bytes_at_most, names=names))
        return most > size

    def _space(self) -> int:
        """Give space back to the disk as far as the database can; return how many bytes."""
        given, give_room = 0, self._database.kind.give_room
        while self._look(self._database.kind.has_room_to_give):
            some = self._slice(lambda connection, pace: give_room(connection, pace.enough))
            given += some
            if not some:
                break
        return given

    def _look(self, read: Callable[[Connection], T]) -> T:
        with self._database.read() as connection:
            return read(connection)

    def _slice(self, work: Callable[[Connection, Pace], T]) -> T:
        """Carry out a slice."""

        def timed(connection: Connection) -> T:
            self._pace.begin()
            self._database.kind.walk_indexes(connection)
            return work(connection, self._pace)

        return self._turn(timed)

    def _turn(self, work: Callable[[Connection], T]) -> T:
        """Write something, then leave the database to others for as long as it took."""
        began = time.monotonic()
        done = self._lease.write(work)
        if self._stopping.wait(time.monotonic() - began):
            raise _Stopped
        return done
