"""Says so when a run's time has passed: nobody took it, nobody began it, or nobody resumed it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from sqlalchemy.engine import Connection

from headrace.model.clock import iso
from headrace.model.ids import IdFactory
from headrace.model.resolve import StateRow
from headrace.server.orchestration.proposals import propose_flow_run, replan_flow_runs
from headrace.server.orchestration.rules import Proposal, time_of
from headrace.server.store import flow_runs, lateness, locks, run_json
from headrace.server.store.database import Database
from headrace.server.store.lateness import Paused, Unbegun
from headrace.server.store.tables import flow_runs as flow_run_rows

from .loop_lease import LeaseLost, LoopLease
from .service import Service

Json = dict[str, Any]
Publish = Callable[[Json, "Json | None"], None]
"""Tells of a run, as the contract has it, that has entered a state, and of the state before."""

Ask = Callable[[Json, int], "Proposal | None"]
"""Returns the state that a run is to enter at a time (microseconds since 1970), if it is to."""

NEVER_RESUMED = "The run was paused and never resumed."

GRACE_S = 600.0
"""How long a run may be Pending with a slot of its deployment's limit, when the deployment does not say."""

LEAST_GRACE_S = 60.0
"""The shortest time that a deployment may say."""

_AT_ONCE = 100
"""Runs that one transaction moves: others want to write too."""


class Lateness(Service):
    """Look every few seconds for what is overdue; nothing is written while nothing is."""

    every_s = 5.0

    def __init__(
        self,
        database: Database,
        lease: LoopLease,
        *,
        late_after_s: float,
        now_us: Callable[[], int],
        publish: Publish = lambda _run, _before: None,
    ) -> None:
        """A run is Late ``late_after_s`` seconds after its time."""
        super().__init__()
        self._database = database
        self._lease = lease
        self._late_after_us = int(late_after_s * 1e6)
        self._now_us = now_us
        self._publish = publish
        self._new_id = IdFactory().new
        self._patience_us: dict[Paused, int | None] = {}

    def tick(self) -> None:
        """Move the runs that are overdue, if this server holds the lease."""
        if not self._lease.held():
            return
        try:
            self._mark_late()
            self._end_pauses()
            self._free_slots()
        except LeaseLost:
            return  # whoever holds it now does the same

    def _mark_late(self) -> None:
        while True:
            before_us = self._now_us() - self._late_after_us
            with self._database.read() as connection:
                found = lateness.overdue(connection, before_us, _AT_ONCE)
            moved = self._replan(found) if found else 0
            if moved < _AT_ONCE:  # all of them, or some that somebody took meanwhile
                return

    def _end_pauses(self) -> None:
        now_us = self._now_us()
        with self._database.read() as connection:
            paused = lateness.paused(connection)
            new = [one for one in paused if one not in self._patience_us]
            until_us = lateness.patience_us(connection, [one.id for one in new[:_AT_ONCE]]) if new else {}
        known = self._patience_us | {one: until_us[one.id] for one in new if one.id in until_us}
        self._patience_us = {one: known[one] for one in paused if one in known}
        over = [one.id for one, until in self._patience_us.items() if until is not None and until < now_us]
        for start in range(0, len(over), _AT_ONCE):
            self._move(over[start : start + _AT_ONCE], _never_resumed)

    def _free_slots(self) -> None:
        now_us = self._now_us()
        with self._database.read() as connection:
            taken = lateness.unbegun(connection, now_us - int(LEAST_GRACE_S * 1e6))
        over = [run.id for run in taken if run.state_us + _grace_us(run) < now_us]
        known = {run.id: run for run in taken}
        for start in range(0, len(over), _AT_ONCE):
            self._move(over[start : start + _AT_ONCE], lambda run, now_us: _never_begun(run, known, now_us))

    def _replan(self, ids: list[str]) -> int:
        """Mark runs as Late, in one transaction; return how many are now."""
        moved = self._lease.write(lambda connection: self._late(connection, ids))
        for run, before in moved:
            self._publish(run, before)
        return len(moved)

    def _late(self, connection: Connection, ids: list[str]) -> list[tuple[Json, Json | None]]:
        now_us = self._now_us()
        done = replan_flow_runs(connection, ids, _late, now_us=now_us, new_id=lambda: self._new_id(now_us))
        after = flow_runs.in_order(connection, [one.id for one in done], now_us)
        return [(run, run_json.state(one.before)) for run, one in zip(after, done, strict=True)]

    def _move(self, ids: list[str], proposal_of: Ask) -> int:
        """Propose a state for each run, in one transaction; return how many have entered it."""
        moved = self._lease.write(lambda connection: self._propose(connection, ids, proposal_of))
        for run, before in moved:
            self._publish(run, before)
        return len(moved)

    def _propose(
        self, connection: Connection, ids: list[str], proposal_of: Ask
    ) -> list[tuple[Json, Json | None]]:
        now_us, moved = self._now_us(), []
        for id in locks.hold(connection, flow_run_rows, flow_run_rows.c.id.in_(ids)):
            run = flow_runs.get(connection, id, now_us)
            proposal = proposal_of(run, now_us) if run is not None else None
            if run is None or proposal is None:
                continue  # somebody took it between the look and the lock
            done = propose_flow_run(
                connection, id, proposal, now_us=now_us, new_id=lambda: self._new_id(now_us)
            )
            after = flow_runs.get(connection, id, now_us)
            if done is not None and done.changed and after is not None:
                moved.append((after, run["state"]))
        return moved


def _late(row: Mapping[str, Any], state: StateRow) -> Proposal | None:
    if (state.type, row["state_name"]) != ("SCHEDULED", "Scheduled"):
        return None
    when = (state.details or {}).get("scheduled_time") or iso(row["next_scheduled_us"])
    return Proposal("SCHEDULED", "Late", details={"scheduled_time": when})


def _never_resumed(run: Json, now_us: int) -> Proposal | None:
    until_us = (
        time_of(run["state"]["state_details"]["pause_timeout"]) if run["state_type"] == "PAUSED" else None
    )
    if until_us is None or until_us >= now_us:
        return None
    return Proposal("FAILED", "Failed", NEVER_RESUMED)


def _grace_us(run: Unbegun) -> int:
    return int((GRACE_S if run.grace_s is None else run.grace_s) * 1e6)


def _never_begun(run: Json, known: dict[str, Unbegun], now_us: int) -> Proposal | None:
    taken = known[run["id"]]
    if run["state_type"] != "PENDING" or time_of(run["state"]["timestamp"]) != taken.state_us:
        return None  # it was heard of meanwhile
    waited_s = (now_us - taken.state_us) // 1_000_000
    return Proposal(
        "CRASHED",
        "Lost",
        f"Whoever took it has not begun it for {waited_s} s, so its slot of the deployment's limit is free again. "
        "Should it begin after all, it runs.",
    )
