"""Plans the runs of schedules: the near future only, each time once, whatever comes down and up again meanwhile."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Collection
from datetime import timedelta
from typing import Any, NamedTuple

from sqlalchemy.engine import Connection

from headrace.errors import ScheduleError
from headrace.model import schedules as rules
from headrace.model.clock import from_datetime, to_datetime
from headrace.model.ids import IdFactory
from headrace.model.planning import Catchup, Plan, Reach, plan, stale
from headrace.server.orchestration import deployment_runs
from headrace.server.store import flow_runs, planning
from headrace.server.store.database import Database
from headrace.server.store.planning import Mark

from .loop_lease import LeaseLost, LoopLease
from .service import Service

_log = logging.getLogger("headrace.server")

Json = dict[str, Any]
Publish = Callable[[Json, "Json | None"], None]
"""Tells of a run, as the contract has it, that has entered a state, and of the state before."""

LOOK_S = 10.0
"""Seconds at most between two looks for what other servers changed."""

_SOON_S = 0.05
"""Seconds at least between two ticks: what is planned at once comes in steps."""

_TOGETHER_US = 60_000_000
"""Schedules that are to be planned within a minute are planned together: that makes few transactions."""

_BATCH = 1_000
"""Runs after which a transaction ends, about: others want to write too."""

_LOCKED_AT_ONCE = 200
"""Schedules that one transaction looks at."""

_DROPPED_AT_ONCE = 500

_MICROSECOND = timedelta(microseconds=1)


class _Next(NamedTuple):
    """What is known of a schedule: its mark as it was read, and when it is to be planned again."""

    mark: Mark
    again_us: int | None


class _Made(NamedTuple):
    """What one transaction did."""

    runs: list[tuple[Json, str]]
    """The rows of new runs, each with the name of its flow."""
    known: dict[str, _Next]
    """What is known now of the schedules that it dealt with."""
    rest: list[str]
    """Schedules that are left for the next one."""


class Scheduler(Service):
    """Sleep until a schedule is to be planned again, or something changes; without news nothing is written."""

    every_s = LOOK_S

    def __init__(
        self,
        database: Database,
        lease: LoopLease,
        *,
        reach: Reach,
        now_us: Callable[[], int],
        publish: Publish = lambda _run, _before: None,
        changed: threading.Event | None = None,
    ) -> None:
        """``changed`` is set by whoever changes schedules in this process."""
        super().__init__()
        self._database = database
        self._lease = lease
        self._reach = reach
        self._now_us = now_us
        self._publish = publish
        self._woken = changed or self._woken
        self._ids = IdFactory()
        self._known: dict[str, _Next] = {}
        self._fence: int | None = None

    def start(self) -> None:
        """Plan before the server answers anybody: nobody may take what an outage made stale. Start the loop."""
        self._survive(self.tick)
        super().start()

    def tick(self) -> None:
        """Plan what is to be planned now, if this server holds the lease."""
        fence = self._lease.fence()
        if fence is None:
            self._fence, self.every_s = None, 1.0
            return
        self.every_s = LOOK_S
        try:
            if fence != self._fence:
                self._known = {}
            self._plan_due()
            if fence != self._fence:
                self._drop_stale()
            self._fence = fence
        except LeaseLost:
            _log.info("Another server plans the runs of schedules from now on.")
            self._fence = None
        self.every_s = self._pause_s()

    def _plan_due(self) -> None:
        with self._database.read() as connection:
            marks = planning.marks(connection)
        self._known = {
            id: known for id, known in self._known.items() if marks.get(id) == known.mark
        }  # what was changed, by this server or another, is looked at anew
        now_us = self._now_us()
        if not any(self._is_due(id, now_us) for id in marks):
            return
        due = [id for id in sorted(marks) if self._is_due(id, now_us + _TOGETHER_US)]
        while due:
            due = self._plan_some(due[:_LOCKED_AT_ONCE]) + due[_LOCKED_AT_ONCE:]

    def _plan_some(self, ids: list[str]) -> list[str]:
        """Plan schedules in one transaction; return those that are left for another."""
        made = self._lease.write(lambda connection: self._plan(connection, ids))
        self._known |= made.known
        now_us = self._now_us()
        for row, flow_name in made.runs:
            self._publish(flow_runs.to_json({**planning.BLANK, **row}, flow_name, now_us), None)
        return made.rest

    def _plan(self, connection: Connection, ids: Collection[str]) -> _Made:
        rows, now_us = planning.lock(connection, ids), self._now_us()
        runs: list[Json] = []
        flow_names: dict[str, str] = {}
        known: dict[str, _Next] = {}
        for row in rows:
            if len(runs) >= _BATCH:
                break
            found = self._times(row, now_us)
            runs += deployment_runs.planned(row, found.times, now_us, self._ids)
            flow_names[row["flow_id"]] = row["flow_name"]
            mark_us = from_datetime(found.until) if found.times else row["planned_until_us"]
            again_us = from_datetime(found.again) if found.again is not None else None
            known[row["id"]] = _Next(Mark(mark_us, row["updated_us"]), again_us)
        before = {row["id"]: row["planned_until_us"] for row in rows}
        moved = {id: one.mark.planned_until_us for id, one in known.items()}
        planning.move_marks(connection, {id: at for id, at in moved.items() if at and at != before[id]})
        new = planning.insert_new(connection, self._database.kind, runs)
        rest = [row["id"] for row in rows if row["id"] not in known]
        return _Made([(row, flow_names[row["flow_id"]]) for row in new], known, rest)

    def _times(self, row: planning.Row, now_us: int) -> Plan:
        now = to_datetime(now_us)
        mark = to_datetime(row["planned_until_us"]) if row["planned_until_us"] is not None else now
        try:
            schedule = rules.parse(row["schedule"])
        except ScheduleError as error:
            # It could be read when it was taken in: perhaps this host does not know its zone.
            _log.warning(
                "The schedule %s of deployment %s plans nothing: %s", row["id"], row["deployment_name"], error
            )
            return Plan([], mark, None)
        return plan(schedule, mark, now, self._reach, row["max_scheduled_runs"])

    def _drop_stale(self) -> None:
        """Let go what was planned before an outage and missed its time in it, as ``catchup`` says."""
        outage, now_us = self._lease.outage, self._now_us()
        if outage is None or self._reach.catchup is Catchup.ALL:
            return
        before_us = min(outage.end_us, now_us - self._reach.grace // _MICROSECOND)
        if before_us <= outage.start_us:
            return
        with self._database.read() as connection:
            waiting = planning.overdue(connection, outage.start_us, now_us)
        ids = [id for some in waiting.values() for id in stale(some, before_us, self._reach.catchup)]
        dropped = 0
        for start in range(0, len(ids), _DROPPED_AT_ONCE):
            dropped += self._drop(ids[start : start + _DROPPED_AT_ONCE])
        if dropped:
            _log.warning(
                "%d planned runs were dropped: their time passed while no server was up, and scheduler_catchup is %s.",
                dropped,
                self._reach.catchup.value,
            )

    def _drop(self, ids: list[str]) -> int:
        return self._lease.write(lambda connection: planning.drop(connection, ids))

    def _is_due(self, id: str, by_us: int) -> bool:
        known = self._known.get(id)
        return known is None or (known.again_us is not None and known.again_us <= by_us)

    def _pause_s(self) -> float:
        times = [known.again_us for known in self._known.values() if known.again_us is not None]
        until = (min(times) - self._now_us()) / 1e6 if times else LOOK_S
        return min(LOOK_S, max(_SOON_S, until))
