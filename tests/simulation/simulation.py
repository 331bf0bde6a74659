"""One simulation: what a seed draws, the storm, the calm after it, and what must hold then."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import timedelta
from typing import NamedTuple

from headrace.journal.reader import split, whole
from headrace.model.attempts import next_try
from headrace.model.clock import from_datetime, to_datetime
from headrace.model.planning import Catchup, Reach
from headrace.model.resolve import Rank
from headrace.model.runs import Journal, Run, fold, report
from headrace.model.schedules import Interval, between
from headrace.server.store.runs import Known

from .bugs import Bug
from .host import Folder, Habits, Host
from .network import Network, Rates
from .oracle import Attempt, Oracle, Truth
from .server import Server, ring
from .store import Deployment, Planned, Store
from .world import SECOND, START_US, Violation, World

LEASE_S = 30.0


class Size(NamedTuple):
    """How large a simulation is."""

    least_hosts: int = 2
    hosts: int = 4
    runs: int = 12
    storm_s: float = 900.0
    faults: int = 12
    schedule_s: tuple[float, ...] = (97.0, 240.0)
    capacity: int = 3


SMALL = Size()
"""A quarter of an hour that is dense with faults."""

LARGE = Size(
    least_hosts=2000,
    hosts=2000,
    runs=2000,
    storm_s=90 * 86400.0,
    faults=300,
    schedule_s=(7200.0, 10800.0),
    capacity=1,
)
"""Three months of two thousand workers."""


@dataclass
class Outcome:
    """What came of a simulation."""

    seed: int
    hash: str
    events: int
    virtual_s: float
    real_s: float
    runs: int
    seen: dict[str, int]
    violation: str | None = None


def simulate(seed: int, *, size: Size = SMALL, bug: Bug | None = None, verbose: bool = False) -> Outcome:
    """Carry a simulation out; the same seed, size and bug make the same trace."""
    began = time.perf_counter()
    simulation = Simulation(seed, size, bug, verbose=verbose)
    violation = None
    try:
        simulation.run()
    except Violation as error:
        violation = str(error)
    world = simulation.world
    world.note(f"over: {violation}")
    return Outcome(
        seed,
        world.hash(),
        world.events,
        (world.now_us - START_US) / SECOND,
        time.perf_counter() - began,
        len(simulation.oracle.truths),
        simulation.oracle.seen,
        violation,
    )


class Simulation:
    """Servers, hosts and what people do, all drawn from one seed."""

    def __init__(self, seed: int, size: Size, bug: Bug | None, *, verbose: bool) -> None:
        self.size = size
        self.world = World(seed, verbose=verbose)
        self.oracle = Oracle(self.world, LEASE_S)
        self.store = Store(self.world, self.oracle, bug)
        self.network = Network(self.world, self._rates())
        self.reach = Reach(horizon=timedelta(minutes=10), most=20, catchup=self._catchup())
        self._make_places()
        self._make_schedules()
        self.servers = self.network.servers
        for number in range(self.world.random.randint(1, 3)):
            name = f"S{number}"
            self.servers.append(
                Server(self.world, self.network, self.store, self.oracle, name, LEASE_S, self.reach)
            )
        self.store.on_news = lambda: ring(self.servers, self.world.random.random)
        self.store.on_given = self._await_word
        habits = self._habits()
        budgets = {id: self._budget(one) for id, one in self.store.deployments.items()}
        count = self.world.random.randint(size.least_hosts, size.hosts)
        self.hosts = [Host(self.world, self.network, self.oracle, habits, budgets, bug) for _ in range(count)]

    def _await_word(self) -> None:
        for server in self.servers:
            if server.is_up:
                server.take_back()

    # What the seed draws

    def _rates(self) -> Rates:
        rate = self.world.random.choice((0.0, 0.01, 0.05))
        return Rates(
            lost=rate, repeated=rate, late=rate, dies_before_commit=rate / 10, dies_after_commit=rate / 10,
            unknown_commit=rate / 2,
        )  # fmt: skip

    def _catchup(self) -> Catchup:
        self.store.catchup = self.world.random.choice(
            (Catchup.ALL, Catchup.ALL, Catchup.LATEST, Catchup.NONE)
        )
        return self.store.catchup

    def _habits(self) -> Habits:
        random = self.world.random
        return Habits(
            capacity=self.size.capacity,
            steps=random.choice((2, 6, 15)),
            step_s=random.choice((0.5, 3.0, 10.0)),
            endings=random.choice(((8, 1, 1, 0), (3, 3, 3, 1), (1, 1, 6, 2))),
            poll_s=8.0,
            stillborn=random.choice((0.0, 0.05)),
        )

    def _make_places(self) -> None:
        random = self.world.random
        for number in range(random.randint(1, 2)):
            self.store.queues[f"Q{number}"] = random.choice((None, 1, 2, 4))
        for number in range(random.randint(1, 3)):
            policy: dict[str, object] = {
                "retries": random.choice((0, 1, 2)),
                "retry_delay": random.choice((0, 5)),
            }
            wanted = random.choice((None, ["failed", "crashed", "lost"], ["crashed", "lost"]))
            if wanted is not None:
                policy["retry_on"] = wanted
            brake = {"crashes": random.choice((0, 3, 50)), "seconds": 600.0}
            limit = random.choice((None, None, 1, 2))
            queue = random.choice(list(self.store.queues))
            cancels = random.random() < 0.3
            self.store.deployments[f"D{number}"] = Deployment(
                f"D{number}", queue, limit, cancels, policy, brake
            )
        self.oracle.limits.update(self.store.queues)
        self.oracle.limits.update({id: one.limit for id, one in self.store.deployments.items()})

    def _make_schedules(self) -> None:
        for number, every_s in enumerate(self.size.schedule_s):
            deployment = self.world.random.choice(list(self.store.deployments))
            anchor = to_datetime(START_US - int(self.world.random.uniform(0, every_s) * SECOND))
            schedule = Interval(timedelta(seconds=every_s), anchor)
            self.store.schedules[f"I{number}"] = Planned(f"I{number}", deployment, schedule, START_US)

    @staticmethod
    def _budget(deployment: Deployment) -> int:
        wanted = deployment.policy.get("retry_on")
        return int(deployment.policy["retries"]) if wanted is None or "failed" in wanted else 0

    # The storm, and the calm

    def run(self) -> None:
        """Let the storm rage, let all come to rest, and look at what is left."""
        for _ in range(self.size.runs):
            self.world.after(self.world.random.uniform(0, self.size.storm_s * 0.8), self._order_run)
        for _ in range(self.size.faults):
            self.world.after(self.world.random.uniform(0, self.size.storm_s), self._strike)
        storm_end_us = START_US + int(self.size.storm_s * SECOND)
        self.world.run(storm_end_us)
        self._calm()
        self.world.run(storm_end_us + 300 * SECOND)
        self._check_schedules()
        self.store.stop_schedules()
        self.world.run(self.world.now_us + 48 * 3600 * SECOND, self._is_at_rest)
        self.oracle.require(self._is_at_rest(), f"no rest: {self._restless()}")
        self._check_all()

    def _order_run(self) -> None:
        random = self.world.random
        deployment = random.choice(list(self.store.deployments))
        run = self.store.create(deployment, self.world.now_us + int(random.choice((0, 0, 20)) * SECOND))
        if random.random() < 0.15:
            self.world.after(random.expovariate(1 / 20), self._cancel, run)

    def _cancel(self, run: str) -> None:
        up = [server for server in self.servers if server.is_up]
        if up and run in self.store.runs:
            server = self.world.random.choice(up)
            if self.store.cancel(run, server.now_us):
                self.oracle.asked_to_cancel(run)

    def _strike(self) -> None:
        random = self.world.random
        busy = [host for host in self.hosts if host.spool]
        host = random.choice(busy if busy and random.random() < 0.7 else self.hosts)
        seconds = random.expovariate(1 / 40)
        faults = {
            "server": lambda: self._crash(random.choice(self.servers), seconds / 2),
            "servers": lambda: [self._crash(server, seconds) for server in self.servers],
            "worker": lambda: host.kill_worker(seconds / 4),
            "supervisor": host.kill_supervisor,
            "process": host.kill_process,
            "power": lambda: host.lose_power(seconds),
            "full": lambda: host.fill_disk(seconds * 2),
            "cut": lambda: self.network.cut(host.place, seconds * 2),
            "destroyed": lambda: host.destroy() if host is not self.hosts[0] else None,
        }
        weights = (3, 1, 3, 3, 3, 2, 2, 6, 0.3)
        faults[random.choices(list(faults), weights)[0]]()

    @staticmethod
    def _crash(server: Server, seconds: float) -> None:
        if server.is_up:
            server.crash(seconds)

    def _calm(self) -> None:
        self.world.note("calm")
        self.world.is_stormy = False
        for host in self.hosts:
            host.place.cut_until_us = min(host.place.cut_until_us, self.world.now_us)

    # What must hold

    def _restless(self) -> str:
        store = self.store
        journals = [row.id for row in store.journals.values() if row.offset and row.id in store.leased]
        return (
            f"waiting {sorted(store.waiting)}, holding {list(store.holding)}, unshipped "
            f"{[list(host.spool) for host in self.hosts]}, open {journals}"
        )

    def _is_at_rest(self) -> bool:
        store = self.store
        return not (
            store.waiting or store.holding or store.leased
            or any(host.spool for host in self.hosts if not host.is_destroyed)
        )  # fmt: skip

    def _check_schedules(self) -> None:
        """Every time was planned, once; where times may be passed over, only those that are times of the schedule."""
        now_us = self.world.now_us
        for one in self.store.schedules.values():
            if self.store.deployments[one.deployment].paused:
                continue
            times = [
                from_datetime(at)
                for at in between(one.schedule, to_datetime(START_US), to_datetime(now_us), 1 << 20)
            ]
            planned = [at for at in sorted(self.oracle.planned.get(one.id, {})) if at <= now_us]
            if self.store.catchup is Catchup.ALL:
                self.oracle.require(
                    planned == times, f"schedule {one.id} planned {planned}; its times are {times}"
                )
            else:
                self.oracle.require(
                    set(planned) <= set(times), f"schedule {one.id} planned what is none of its times"
                )

    def _check_all(self) -> None:
        for host in self.hosts:
            for journal, folder in host.known.items():
                if not host.is_destroyed:
                    self._check_journal(journal, folder)
        for truth in self.oracle.truths.values():
            if not truth.dropped:
                self._check_run(truth, self.store.runs[truth.id])

    def _check_journal(self, journal: str, folder: Folder) -> None:
        """The server holds each byte once, and each line of the log; what found no room on the disk is counted there."""
        row, disk = self.store.journals[journal], bytes(folder.disk.data)
        if row.offset == 0:
            return  # nothing of it outlasted the power cut
        held = b"".join(row.held)
        self.oracle.require(
            held == whole(disk), f"of journal {journal} {len(held)} bytes are held, {len(disk)} were written"
        )
        told = [entry.message for _, entry in split(disk) if hasattr(entry, "level")]
        self.oracle.require(
            self.store.logs.get(journal, []) == told, f"log lines of journal {journal} are missing or twice"
        )
        own = fold(Journal(journal, row.attempt), split(disk))
        self.oracle.require(
            not folder.is_accounted_for or len(told) + own.missing == folder.logged,
            f"journal {journal} has {len(told)} lines and tells of {own.missing} more; {folder.logged} were made",
        )
        for run in own.runs.values():
            if not run.is_flow:
                self._check_task(run)

    def _check_task(self, told: Run) -> None:
        known = self.store.runs[told.id].run
        same = known.state is not None and told.state is not None and known.state.id == told.state.id
        self.oracle.require(same, f"task run {told.id} is {known.state}, and its journal says {told.state}")

    def _check_run(self, truth: Truth, known: Known) -> None:
        state = known.run.state
        assert state is not None
        wanted = self._earned(truth, known.run.strength.attempt)
        self.oracle.require(
            state.type in wanted,
            f"run {truth.id} is {state.type} ({state.name}) and has earned {sorted(wanted)}",
        )
        retries = int(self.store.deployments[truth.deployment].policy["retries"])
        self.oracle.require(
            len(truth.begun()) <= retries + 1, f"run {truth.id} had {len(truth.begun())} attempts"
        )
        self._check_owed(truth, known)
        self._check_join(known.run)

    def _earned(self, truth: Truth, newest: int) -> set[str]:
        """Return the types of state that a run may have in the end."""
        asked = {"CANCELLED"} if truth.asked_to_cancel or truth.cancelled_by_limit else set()
        if not truth.begun():
            return asked
        last = truth.begun()[-1]
        if newest > last.number:  # another one was planned, and never given to a worker
            return asked
        if last.told and not self._is_destroyed(last):
            return {last.told[0][1]}
        return {"CRASHED"} | asked | {type for _, type in last.told}

    def _is_destroyed(self, attempt: Attempt) -> bool:
        return any(host.is_destroyed and attempt.journal in host.known for host in self.hosts)

    def _check_owed(self, truth: Truth, known: Known) -> None:
        """A crash within the budget is followed by another attempt, unless the brake is on."""
        assert known.run.state is not None
        deployment = self.store.deployments[truth.deployment]
        if known.run.is_open or deployment.paused:
            return
        row = next_try(known.run.history, known.run.state, deployment.policy, id="", now_us=self.world.now_us)
        self.oracle.require(
            row is None, f"run {truth.id} is {known.run.state.name}, and another attempt is owed"
        )

    def _check_join(self, run: Run) -> None:
        """The state is the one that any other order of delivery ends in."""
        # a presumption that was withdrawn is in the history, and counts for nothing
        rows = [row for row in run.history if row.rank != Rank.PRESUMPTION or row == run.state]
        self.world.random.shuffle(rows)
        again = Run(run.id, run.is_flow, run.created)
        for row in rows:
            report(again, row)
        same = again.state is not None and run.state is not None and again.state.id == run.state.id
        self.oracle.require(same, f"run {run.id} is {run.state}, and in another order {again.state}")
