"""A host: a worker, the runs that it started, their supervisors and their journals; any of them may be killed."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

from headrace.model import entries
from headrace.model.orders import Claim
from headrace.model.verdict import Ending

from .bugs import Bug
from .disk import Disk
from .network import Network, Place
from .oracle import Oracle
from .process import Process
from .supervisor import Supervisor
from .world import SECOND, Actor, World

RECOVER_S = 5.0
"""Seconds within which a worker takes up journals that nobody supervises."""


class Habits(NamedTuple):
    """How hosts and what runs on them behave."""

    capacity: int
    steps: int
    step_s: float
    endings: tuple[float, float, float, float]
    """How likely each kind of end is, see ``process.KINDS``."""
    poll_s: float
    stillborn: float


class Folder:
    """A journal's folder in the spool."""

    def __init__(self, run: str, journal: str, disk: Disk) -> None:
        self.run = run
        self.journal = journal
        self.disk = disk
        self.logged = 0
        """Log lines that its process made."""
        self.is_accounted_for = False
        """Whether its process came to its end, so that it told how many of these found no room, and no power cut came."""
        self.process: Process | None = None
        self.supervisor: Supervisor | None = None
        self.is_closed = False


class Worker(Actor):
    """One life of a host's worker."""

    def __init__(self, host: Host) -> None:
        super().__init__(host.world)
        self.id = host.world.new_id()
        self._host = host
        self._starting: dict[str, None] = {}
        self._asks = False
        self._failures = 0
        self.later(0.1, self.recover)
        self.later(0.1, self.ask)

    def ask(self) -> None:
        """Ask for work, if there is room and no question is open."""
        room = self._host.habits.capacity - self._host.live() - len(self._starting)
        if self._asks or room <= 0:
            return
        self._asks = True
        have = tuple(self._starting)
        self._host.network.ask(
            self, self._host.place, self._given, self._refused, "claim", self.id, room, have
        )

    def _given(self, claims: list[Claim]) -> None:
        """Say of what is new that it is begun now, and begin what is still ours."""
        self._failures = 0
        new = {
            claim.journal: claim
            for claim in claims
            if claim.journal not in self._starting and claim.journal not in self._host.known
        }
        if not new or self._host.bug is Bug.START_UNCONFIRMED:
            self._confirmed(new, list(new))
        else:
            self._host.network.ask(
                self,
                self._host.place,
                partial(self._confirmed, new),
                self._unheard,
                "confirm",
                self.id,
                tuple(new),
            )

    def _confirmed(self, new: dict[str, Claim], kept: list[str]) -> None:
        self._asks = False
        for journal in kept:
            self._starting[journal] = None
            self.later(self._host.world.random.uniform(0.02, 0.6), self._start, new[journal])
        self.later(0.01 if kept or not new else 1.0, self.ask)

    def _unheard(self) -> None:
        self._asks = False
        self.later(1.0, self.ask)

    def _refused(self) -> None:
        self._asks = False
        self._failures += 1
        self.later(min(20.0, 0.5 * 2**self._failures) * self._host.world.random.uniform(0.7, 1.3), self.ask)

    def _start(self, claim: Claim) -> None:
        self._starting.pop(claim.journal, None)
        self._host.start(claim)
        self.ask()

    def recover(self) -> None:
        """Take up journals that nobody supervises."""
        for folder in list(self._host.spool.values()):
            if folder.supervisor is None or not folder.supervisor.is_up:
                self._host.take_up(folder)
        self.ask()


class Host(Actor):
    """One machine."""

    def __init__(
        self,
        world: World,
        network: Network,
        oracle: Oracle,
        habits: Habits,
        retries: dict[str, int],
        bug: Bug | None,
    ) -> None:
        super().__init__(world)
        self.bug = bug
        self.network, self.oracle, self.habits = network, oracle, habits
        self.place = Place()
        self.spool: dict[str, Folder] = {}
        self.known: dict[str, Folder] = {}
        """Every journal that there ever was on this host."""
        self.skew_us = int(world.random.uniform(-300, 300) * SECOND)
        self.is_destroyed = False
        self.is_full = False
        """Whether its disk has no room."""
        self._retries = retries
        self.worker: Worker | None = Worker(self)

    @property
    def now_us(self) -> int:
        """The time by this host's clock."""
        return self.world.now_us + self.skew_us

    def retries_of(self, run: str) -> int:
        """Return the budget of retries that the code of a run names."""
        return self._retries[self.oracle.truths[run].deployment]

    def live(self) -> int:
        """Count the runs of this host that have not ended."""
        return sum(not folder.is_closed for folder in self.spool.values())

    def start(self, claim: Claim) -> None:
        """Start the process of an attempt, with its supervisor."""
        disk = Disk(self.world.random)
        disk.is_full = self.is_full
        folder = self.spool[claim.journal] = self.known[claim.journal] = Folder(
            claim.run.id, claim.journal, disk
        )
        self.oracle.started(claim.journal)
        self._begin_journal(folder, claim)
        if self.world.chance(self.habits.stillborn):
            now_us = self.now_us
            told = entries.Verdict(claim.run.id, now_us, "CRASHED", "Crashed", "It could not be started.")
            folder.disk.append(told, entries.Exit(now_us))
        else:
            folder.process = Process(self, folder, claim)
        Supervisor(self, folder, is_first=True)

    def _begin_journal(self, folder: Folder, claim: Claim) -> None:
        now_us = self.now_us
        folder.disk.append(
            entries.Open(
                claim.journal, now_us, (now_us * 1000, 0), pid=2, started=1, boot="boot", host="host",
                attempt=claim.attempt, kind="worker",
            ),
            entries.FlowRun(claim.run.id, now_us, "flow", "run", planned=True),
            entries.Adopted(now_us, 1),
        )  # fmt: skip

    def take_up(self, folder: Folder) -> None:
        """Let a new supervisor stand over a journal that has none; one in which nothing was written is put aside."""
        if not folder.disk.data.startswith(b"{") or b"\n" not in folder.disk.data:
            del self.spool[folder.journal]
            return
        Supervisor(self, folder, is_first=False)

    def retire(self, folder: Folder) -> None:
        """Put a journal away that the server has whole."""
        self.spool.pop(folder.journal, None)
        if self.worker is not None:
            self.worker.later(0.01, self.worker.ask)

    # What may be killed

    def kill_worker(self, seconds: float) -> None:
        """Kill the worker; its runs go on, and another is started after some seconds."""
        if self.worker is not None and not self.is_destroyed:
            self.world.note("worker killed")
            self.worker.end()
            self.worker = None
            self.later(seconds, self._new_worker)

    def _new_worker(self) -> None:
        if self.worker is None:
            self.worker = Worker(self)

    def kill_supervisor(self) -> None:
        """Kill some supervisor; the process that it stands over goes on."""
        found = [
            one.supervisor
            for one in self.spool.values()
            if one.supervisor is not None and one.supervisor.is_up
        ]
        if found:
            self.world.note("supervisor killed")
            self.world.random.choice(found).end()
            if self.worker is not None:
                self.worker.later(self.world.random.uniform(0, RECOVER_S), self.worker.recover)

    def kill_process(self) -> None:
        """Kill some run."""
        found = [one.process for one in self.spool.values() if one.process is not None and one.process.is_up]
        if found:
            self.world.note("process killed")
            self.world.random.choice(found).die(_KILLED)

    def lose_power(self, seconds: float) -> None:
        """Lose all that runs and what was not synced; the host comes back after some seconds, with its disk."""
        if self.is_destroyed:
            return
        self.world.note("host loses power")
        self.end()
        if self.worker is not None:
            self.worker.end()
            self.worker = None
        for folder in self.spool.values():
            if folder.supervisor is not None:
                folder.supervisor.end()
            before = len(folder.disk.data)
            if folder.process is not None:
                folder.process.die(_KILLED)
            folder.disk.lose_power(self.world.random)
            folder.is_accounted_for = False
            self.oracle.lost_power(folder.journal, len(folder.disk.data))
            self.oracle.seen["torn"] += len(folder.disk.data) < before and not folder.disk.data.endswith(
                b"\n"
            )
        self.world.after(seconds, self._come_back)

    def _come_back(self) -> None:
        if not self.is_destroyed:
            self.is_up = True
            self._new_worker()

    def fill_disk(self, seconds: float) -> None:
        """Leave no room on the disk; somebody makes some after a time."""
        if not self.is_full:
            self.world.note("disk full")
            self._set_full(True)
            self.world.after(seconds, self._set_full, False)

    def _set_full(self, is_full: bool) -> None:
        self.is_full = is_full
        for folder in self.spool.values():
            folder.disk.is_full = is_full

    def destroy(self) -> None:
        """Lose the host with its disk, for ever."""
        self.lose_power(1 << 30)
        self.is_destroyed = True


_KILLED = Ending(signal=9)
