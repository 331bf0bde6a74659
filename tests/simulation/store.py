"""The servers' one database in memory: each method is one transaction, made of the rules that the real ones are made of."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from headrace.model import orders, runs
from headrace.model.allocation import Due, Room, allocate
from headrace.model.attempts import counts_as_crash, tries_used
from headrace.model.clock import from_datetime, iso, to_datetime
from headrace.model.ownership import is_silent, is_unconfirmed
from headrace.model.planning import Catchup, Plan, Reach, plan, stale
from headrace.model.resolve import Rank, StateRow
from headrace.model.runs import Run
from headrace.model.schedules import Schedule
from headrace.server.ingest import aftermath
from headrace.server.ingest.intake import Intake
from headrace.server.ingest.lines import Batch, read
from headrace.server.orchestration import proposals
from headrace.server.orchestration.rules import Proposal, decide
from headrace.server.store import claims, history
from headrace.server.store.runs import Known

from .bugs import Bug
from .oracle import Oracle
from .world import World

NOBODY: Any = None
"""Stands for the database connection of rules that take one and do not use it."""


@dataclass
class Deployment:
    """What runs are runs of, and what its crash brake has counted."""

    id: str
    queue: str
    limit: int | None
    cancels: bool
    policy: dict[str, Any]
    crash_brake: dict[str, Any]
    crashes_us: list[int] | None = None
    paused: bool = False


@dataclass
class Planned:
    """A schedule of a deployment."""

    id: str
    deployment: str
    schedule: Schedule
    mark_us: int
    again_us: int = 0
    is_active: bool = True


@dataclass
class Journal:
    """What is held of an attempt's journal, and its lease."""

    id: str
    run: str
    attempt: int
    worker: str
    last_seen_us: int
    opened_us: int
    offset: int = 0
    held: list[bytes] = field(default_factory=list)
    leased: bool = False
    closed_us: int | None = None
    presumed: list[str] | None = None
    commands: list[str] = field(default_factory=list)


@dataclass
class LoopLease:
    """Which server turns the loops."""

    holder: str = ""
    fence: int = 0
    until_us: int = 0


class Store:
    """Tables, and what is done to them; rooms are counted from the runs' states, as the product counts them."""

    def __init__(self, world: World, oracle: Oracle, bug: Bug | None) -> None:
        self.world = world
        self.bug = bug
        self.runs: dict[str, Known] = {}
        self.journals: dict[str, Journal] = {}
        self.deployments: dict[str, Deployment] = {}
        self.queues: dict[str, int | None] = {}
        self.schedules: dict[str, Planned] = {}
        self.lease = LoopLease()
        self.catchup = Catchup.ALL
        self.logs: dict[str, list[str]] = {}
        """{journal: the messages of its log lines, in the order in which they came}"""
        self.waiting: dict[str, int] = {}
        """{run that nobody carries out: the time for which it is planned}"""
        self.holding: dict[str, None] = {}
        """Runs that hold their slots."""
        self.leased: dict[str, Journal] = {}
        """Leased journals that have not ended and of which nothing is presumed."""
        self.unconfirmed: dict[str, Journal] = {}
        """Attempts that were given away and that nobody has confirmed."""
        self.on_given: Callable[[], None] = lambda: None
        self.on_news: Callable[[], None] = lambda: None
        self._oracle = oracle
        self._of_journal: dict[str, dict[str, None]] = {}
        self._of_worker: dict[str, list[str]] = {}
        self._keys: dict[tuple[str, int], str] = {}
        self._used: dict[str, int] = {}

    # Runs

    def create(self, deployment: str, at_us: int, schedule: str | None = None) -> str:
        """Plan a run of a deployment."""
        of, id = self.deployments[deployment], self.world.new_id()
        run = Run(id, True, self.world.now_us)
        details = {"scheduled_time": iso(at_us)}
        state = StateRow(
            self.world.new_id(), "SCHEDULED", "Scheduled", self.world.now_us, Rank.PROPOSAL, details=details
        )
        runs.report(run, state)
        self._save(Known(run, None, None, None, deployment, of.queue, dict(of.policy)))
        self._oracle.created(id, deployment, of.queue, at_us, schedule)
        return id

    def _save(self, known: Known) -> None:
        id, state = known.run.id, known.run.state
        before = self.runs.get(id)
        self.runs[id] = known
        if before is None or before.journal != known.journal:
            self._of_journal.setdefault(known.journal or "", {})[id] = None
            if before is not None:
                self._of_journal.get(before.journal or "", {}).pop(id, None)
        if not known.run.is_flow:
            return
        holds = history.holds(state, journaled=known.journal is not None)
        if holds != (id in self.holding):
            self._count(known, 1 if holds else -1)
        if state is not None and state.type == "SCHEDULED" and not holds:
            self.waiting[id] = history.scheduled_us(state) or state.t
            self.on_news()
        else:
            self.waiting.pop(id, None)

    def _count(self, known: Known, by: int) -> None:
        if by > 0:
            self.holding[known.run.id] = None
        else:
            del self.holding[known.run.id]
            self.on_news()
        for place in (known.queue, known.deployment):
            if place is not None:
                self._used[place] = self._used.get(place, 0) + by

    # Claims

    def rooms(self) -> tuple[dict[str, Room], dict[str, Room]]:
        """Count the free slots of queues and of deployments that have a limit."""
        used = self._used
        queues = {id: Room(limit - used.get(id, 0)) for id, limit in self.queues.items() if limit is not None}
        of = {
            id: Room(one.limit - used.get(id, 0), one.cancels)
            for id, one in self.deployments.items()
            if one.limit is not None
        }
        return queues, of

    def claim(
        self,
        worker: str,
        capacity: int,
        now_us: int,
        counted: tuple[dict[str, Room], dict[str, Room]] | None = None,
    ) -> list[orders.Claim]:
        """Give due runs to a worker; ``counted`` are slots that were counted in another transaction."""
        due = sorted((at, id) for id, at in self.waiting.items() if at <= now_us)
        if not due or capacity <= 0:
            return []
        line = [Due(id, self.runs[id].queue, self.runs[id].deployment) for _, id in due]
        queues, deployments = counted or self.rooms()
        found = allocate(line, capacity=capacity, queues=queues, deployments=deployments)
        for id in found.cancelled:
            self._enter(self.runs[id], "CANCELLED", "Cancelled", now_us)
            self._oracle.cancelled_by_limit(id)
        return [self._begin(self.runs[id], worker, now_us) for id in found.taken]

    def _enter(self, known: Known, type: str, name: str, now_us: int, attempt: int | None = None) -> None:
        run = known.run
        attempt = attempt or max(1, run.strength.attempt)
        claims.enter(run, type, name, now_us, attempt, self.world.new_id(), "", {})
        self._save(known)

    def _begin(self, known: Known, worker: str, now_us: int) -> orders.Claim:
        run, journal = known.run, self.world.new_id()
        attempt = max(1, run.strength.attempt)
        begun = known._replace(journal=journal)
        self._enter(begun, "PENDING", "Pending", now_us)
        row = Journal(journal, run.id, attempt, worker, now_us, now_us)
        self.journals[journal] = self.unconfirmed[journal] = row
        self._of_worker.setdefault(worker, []).append(journal)
        self._oracle.claimed(run.id, attempt, journal)
        self.on_given()
        return self._order(begun, journal, attempt)

    def confirm(self, worker: str, wanted: Collection[str], now_us: int) -> list[str]:
        """Take a worker's word that it begins attempts now; return those that are still its own."""
        rows = [self.journals[id] for id in wanted]
        kept = [row for row in rows if row.worker == worker and row.closed_us is None]
        for row in kept:
            self._lease(row)
            row.last_seen_us = now_us
        return [row.id for row in kept]

    def _lease(self, row: Journal) -> None:
        self.unconfirmed.pop(row.id, None)
        row.leased = True
        if row.presumed is None and row.closed_us is None:
            self.leased[row.id] = row

    def take_back(self, now_us: int) -> None:
        """Plan anew what was given away and what nobody has confirmed in time."""
        silent = [
            one for one in self.unconfirmed.values() if is_unconfirmed(one.opened_us, one.attempt, now_us)
        ]
        for row in silent:
            del self.unconfirmed[row.id]
            if row.offset or row.closed_us is not None:
                continue
            row.closed_us = now_us
            known = self.runs[row.run]
            state = known.run.state
            if known.journal == row.id and state is not None and state.type == "PENDING":
                self._oracle.taken_back(row.id)
                self._enter(known, "SCHEDULED", "Scheduled", now_us, known.run.strength.attempt + 1)

    def _order(self, known: Known, journal: str, attempt: int) -> orders.Claim:
        planned = orders.PlannedRun(
            id=known.run.id, name="run", flow_name="flow", tries_used=tries_used(known.run.history)
        )
        return orders.Claim(journal, attempt, planned)

    def unbegun(self, worker: str, have: Collection[str]) -> list[orders.Claim]:
        """Return attempts that a worker was given and does not know of."""
        rows = [self.journals[id] for id in self._of_worker.get(worker, ())]
        open_ones = [row for row in rows if row.offset == 0 and row.closed_us is None]
        self._of_worker[worker] = [row.id for row in open_ones]
        lost = [(row, self.runs[row.run]) for row in open_ones if row.id not in have]
        return [
            self._order(known, row.id, row.attempt)
            for row, known in lost
            if known.journal == row.id and known.run.state is not None and known.run.state.type == "PENDING"
        ]

    # Journals

    def offset(self, journal: str) -> int:
        """Return how many bytes of a journal are held."""
        return self.journals[journal].offset

    def append(
        self, journal: str, offset: int, data: bytes, now_us: int, held: int | None = None
    ) -> tuple[int, Callable[[], None] | None]:
        """Take bytes in; return how many are held, and what is left to be done where a bug leaves something.

        ``held`` is what another transaction found to be held.
        """
        batch, row = read(journal, offset, data), self.journals[journal]
        if row.presumed is not None:
            self._withdraw(row)
        known_to_be_held = row.offset if held is None else held
        if batch.offset > known_to_be_held or batch.end <= known_to_be_held:
            return row.offset, None
        new = data[known_to_be_held - offset : batch.end - offset]
        row.offset += len(new)
        row.last_seen_us = now_us
        if self.bug is Bug.CURSOR_BEFORE_COMMIT:
            return row.offset, lambda: self._fold(row, batch, known_to_be_held, new, now_us)
        self._fold(row, batch, known_to_be_held, new, now_us)
        return row.offset, None

    def _fold(self, row: Journal, batch: Batch, held: int, new: bytes, now_us: int) -> None:
        intake = self._intake(row)
        lines = [line for line in batch.lines if line[0] >= held]
        told = {entry.run for _, entry in lines if hasattr(entry, "run")}
        intake.take(lines, {id: self.runs[id] for id in sorted(told) if id in self.runs})
        crashed = [known for known in intake.seen() if known.run.is_flow and known.journal == row.id]
        self._follow(crashed, intake.policies(), now_us)
        for run in intake.made():
            self._save(Known(run, row.id))
        for known in intake.seen():
            self._save(known)
        row.held.append(new)
        self.logs.setdefault(row.id, []).extend(
            entry.message for _, entry in lines if getattr(entry, "message", None) and hasattr(entry, "level")
        )
        if intake.closed_us is not None:
            row.closed_us = intake.closed_us
            self.leased.pop(row.id, None)

    def _intake(self, row: Journal) -> Intake:
        attempt = row.attempt
        if self.bug is Bug.UNFENCED_LATE_REPORT:
            attempt = max(attempt, self.runs[row.run].run.strength.attempt)
            self.runs[row.run] = self.runs[row.run]._replace(journal=row.id)
        kept: Any = {"attempt": attempt}
        return Intake(row.id, kept, 0, 0, leased=False)  # what is saved of it is saved here

    def _follow(self, ended: list[Known], told: dict[str, dict[str, Any]], now_us: int) -> None:
        crashed = [known for known in ended if known.run.state and counts_as_crash(known.run.state)]
        aftermath.follow(NOBODY, ended, told, self.world.new_id, now_us, kept=self)
        for known in crashed:
            braked = known.deployment is not None and self.deployments[known.deployment].paused
            self._oracle.require(
                not (braked and known.run.is_open), f"run {known.run.id} is tried again while the brake is on"
            )

    # Where crash brakes are kept

    def lock(self, _connection: None, deployment: str) -> dict[str, Any]:
        """Return a deployment's brake."""
        one = self.deployments[deployment]
        return {
            "paused": one.paused,
            "pause_reason": "crashes" if one.paused else None,
            "crash_brake": one.crash_brake,
            "crashes_us": one.crashes_us,
        }

    def count(self, _connection: None, deployment: str, crashes_us: list[int]) -> None:
        """Keep when its runs crashed."""
        self.deployments[deployment].crashes_us = crashes_us

    def pull(self, _connection: None, deployment: str, _why: str, _now_us: int) -> None:
        """Pause a deployment."""
        self.deployments[deployment].paused = True

    # Leases

    def saw(self, seen_us: dict[str, int]) -> None:
        """Note when journals were alive; what was presumed of them is taken back."""
        for id in sorted(seen_us):
            for row in self._sharing_lease(self.journals[id]):
                self._lease(row)
                row.last_seen_us = max(row.last_seen_us, seen_us[id])
                if row.presumed is not None:
                    self._withdraw(row)

    def _sharing_lease(self, row: Journal) -> list[Journal]:
        if self.bug is not Bug.LEASE_OF_THE_RUN:
            return [row]
        return [one for one in self.journals.values() if one.run == row.run and one.closed_us is None]

    def _withdraw(self, row: Journal) -> None:
        for id in row.presumed or ():
            known = self.runs[id]
            if runs.withdraw_lost(known.run, row.attempt):
                self._save(known)
        row.presumed = None
        if row.closed_us is None:
            self.leased[row.id] = row

    def presume_lost(self, journal: str, before_us: int, now_us: int) -> None:
        """Presume a journal's open runs lost, unless it was seen meanwhile."""
        row = self.journals[journal]
        if not is_silent(row.last_seen_us, row.closed_us, before_us):
            return
        lost = []
        for id in self._presumable(row):
            known = self.runs[id]
            if known.run.is_open and runs.presume_lost(
                known.run, now=now_us, offset=row.offset, attempt=self._attempt_of(row), last_seen="then",
                host="host", id=self.world.new_id(),
            ):  # fmt: skip
                lost.append(known)
                if known.run.is_flow:
                    self._oracle.presumed_lost(id, known.journal or "", before_us)
        self._follow([known for known in lost if known.run.is_flow], {}, now_us)
        for known in lost:
            self._save(known)
        row.presumed = [known.run.id for known in lost]
        self.leased.pop(row.id, None)

    def _presumable(self, row: Journal) -> list[str]:
        if self.bug is Bug.LEASE_OF_THE_RUN:
            return [row.run]
        return list(self._of_journal.get(row.id, ()))

    def _attempt_of(self, row: Journal) -> int:
        return self.runs[row.run].run.strength.attempt if self.bug is Bug.LEASE_OF_THE_RUN else row.attempt

    # Proposals

    def cancel(self, id: str, now_us: int) -> bool:
        """Ask that a run be cancelled, as people and clients do; return whether that was accepted."""
        known = self.runs[id]
        row = {
            "id": id, "journal_id": known.journal, "empirical_policy": known.policy, "run_count": known.run.run_count,
            "deployment_id": known.deployment, "infrastructure_pid": None, "parent_task_run_id": None,
        }  # fmt: skip
        before = known.run.state
        asked = Proposal("CANCELLING", "Cancelling")
        answer = decide(proposals.flow_facts(row, before), asked, now_us)
        if answer.state is None:
            return False
        state = proposals.state_row(answer, known.run, now_us, self.world.new_id())
        runs.report(known.run, state)
        self._save(known)
        if known.journal is not None and not proposals.has_left(before):
            self.journals[known.journal].commands.append("cancel")
        return True

    # Schedules

    def plan(self, now_us: int, fence: int, reach: Reach) -> int | None:
        """Plan what is to be planned; return when to look again, ``None`` when another server holds the lease now."""
        if fence != self.lease.fence:
            return None
        again_us = now_us + 3600 * 1_000_000
        for one in self.schedules.values():
            if not one.is_active or self.deployments[one.deployment].paused:
                continue
            if one.again_us <= now_us:
                self._plan(one, now_us, reach)
            again_us = min(again_us, one.again_us)
        return again_us

    def _plan(self, one: Planned, now_us: int, reach: Reach) -> None:
        found: Plan = plan(one.schedule, to_datetime(one.mark_us), to_datetime(now_us), reach)
        for at in found.times:
            key = (one.id, from_datetime(at))
            if key not in self._keys:
                self._keys[key] = self.create(one.deployment, key[1], one.id)
        if found.times:
            one.mark_us = from_datetime(found.until)
        one.again_us = from_datetime(found.again) if found.again is not None else 1 << 62

    def drop_stale(self, start_us: int, end_us: int, now_us: int, grace: timedelta) -> None:
        """Let go what missed its time in an outage, as the catch-up rule says."""
        before_us = min(end_us, now_us - int(grace.total_seconds() * 1_000_000))
        overdue: dict[str, list[tuple[int, str]]] = {}
        for (schedule, at), id in sorted(self._keys.items(), key=lambda item: item[0][1]):
            if start_us <= at <= now_us and id in self.waiting and self.runs[id].run.strength.attempt <= 1:
                overdue.setdefault(schedule, []).append((at, id))
        for waiting in overdue.values():
            self.drop(stale(waiting, before_us, self.catchup))

    def drop(self, ids: Collection[str]) -> None:
        """Delete runs that nobody has taken."""
        for id in ids:
            if id in self.waiting:
                del self.waiting[id], self.runs[id]
                self._oracle.dropped(id)

    def stop_schedules(self) -> None:
        """Let no schedule plan any more, and drop what is planned."""
        for one in self.schedules.values():
            one.is_active = False
        self.drop([id for (_, at), id in self._keys.items() if at > self.world.now_us])
