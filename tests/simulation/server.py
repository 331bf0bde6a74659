"""A server: it serves requests, may die between any two steps, and turns the loops when it holds their lease."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from headrace.model.ownership import UNCONFIRMED_S
from headrace.model.planning import Reach
from headrace.server.services.loop_lease import HOLD_S, LOOK_S, RENEW_S

from .bugs import Bug
from .network import Call, Network
from .oracle import Oracle
from .store import Store
from .world import SECOND, Actor, World

FLUSH_S = 3.0
LONGEST_WAIT_S = 25.0


class Server(Actor):
    """One server process on the shared database; all it keeps itself is what it may lose."""

    def __init__(
        self,
        world: World,
        network: Network,
        store: Store,
        oracle: Oracle,
        name: str,
        lease_s: float,
        reach: Reach,
    ) -> None:
        super().__init__(world)
        self.name = name
        self._network, self._store, self._oracle = network, store, oracle
        self._lease_us = int(lease_s * SECOND)
        self._reach = reach
        self._skew_us = int(world.random.uniform(-0.5, 0.5) * SECOND)
        self.start()

    def start(self) -> None:
        """Come up, knowing nothing."""
        self.is_up = True
        self._seen_us: dict[str, int] = {}
        self._parked: dict[str, tuple[Call, int]] = {}
        self._attends_us: int | None = None
        self._up_since_us = self.now_us
        self._fence: int | None = None
        self._takes_back = False
        self.later(self.world.random.uniform(0, 0.1), self._look_for_lease)

    @property
    def now_us(self) -> int:
        """The time by this server's clock."""
        return self.world.now_us + self._skew_us

    def crash(self, seconds: float) -> None:
        """Die at once, and come up again after some seconds."""
        self.world.note(f"server {self.name} dies")
        for call, _ in self._parked.values():
            call.fail(self._network.latency_s())
        lease = self._store.lease
        if lease.holder == self.name and self._fence is not None:
            lease.until_us = self.world.now_us + int(
                self.world.random.uniform(HOLD_S - RENEW_S, HOLD_S) * SECOND
            )
            for other in self._network.servers:
                other.later((lease.until_us - self.world.now_us) / SECOND + 0.05, other._look_for_lease)
        self.end()
        self.world.after(seconds, self.start)

    # Requests

    def serve(self, call: Call | None, what: str, args: tuple[Any, ...]) -> None:
        """Carry a request out, if nothing comes between."""
        rates = self._network.rates
        if self.world.chance(rates.dies_before_commit):
            return self._die_over(call)
        if self.world.chance(rates.dies_after_commit):
            getattr(self, f"_{what}")(None, *args)
            return self._die_over(call)
        getattr(self, f"_{what}")(call, *args)
        return None

    def _die_over(self, call: Call | None) -> None:
        self.crash(self.world.random.expovariate(1 / 10))
        if call is not None:
            call.fail(self._network.latency_s())

    def _offset(self, call: Call | None, journal: str) -> None:
        if call is not None:
            call.answer(self._store.offset(journal))

    def _append(self, call: Call | None, journal: str, offset: int, data: bytes) -> None:
        held = self._store.offset(journal) if self._store.bug is Bug.REPEATED_WRITE else None
        times = 2 if self.world.chance(self._network.rates.unknown_commit) else 1
        for _ in range(times):  # the database went away over the commit, so the transaction is made again
            before = self._store.offset(journal)
            now_held, left = self._store.append(journal, offset, data, self.now_us, held)
            if now_held > before:
                self._oracle.heard(journal, self.world.now_us)
        if left is not None:
            self.later(0.1, left)
        if call is not None:
            call.answer(now_held)

    def _listen(self, call: Call | None, journal: str, after: int) -> None:
        """Take a sign of life, and tell what is asked of a journal's process."""
        self._note_alive(journal)
        if call is not None:
            commands = self._store.journals[journal].commands
            call.answer((len(commands), commands[after:]))

    def _note_alive(self, journal: str) -> None:
        if not self._seen_us:
            self.later(FLUSH_S, self._flush)
        self._seen_us[journal] = max(self.now_us, self._seen_us.get(journal, 0))

    def _flush(self) -> None:
        seen_us, self._seen_us = self._seen_us, {}
        self._store.saw(seen_us)
        for journal, at_us in seen_us.items():
            self._oracle.heard(journal, at_us - self._skew_us)

    # Claims

    def _claim(self, call: Call | None, worker: str, capacity: int, have: tuple[str, ...]) -> None:
        lost = self._store.unbegun(worker, have)
        for journal in have:
            self._note_alive(journal)
        before = self._parked.pop(worker, None)
        if before is not None and before[0] is not call:
            before[0].answer([])
        if lost or capacity <= 0:
            if call is not None:
                call.answer(lost)
            return
        if call is None:  # a repeated question, whose answer nobody hears
            self._store.claim(worker, capacity, self.now_us)
            return
        self._parked[worker] = (call, capacity)
        self.attend()

    def _confirm(self, call: Call | None, worker: str, journals: tuple[str, ...]) -> None:
        kept = self._store.confirm(worker, journals, self.now_us)
        for journal in kept:
            self._oracle.heard(journal, self.world.now_us)
        if call is not None:
            call.answer(kept)

    def attend(self) -> None:
        """Give work to workers that wait, and look again when the next run is due."""
        self._attends_us = None
        waiting = self._store.waiting.values()
        if any(at <= self.now_us for at in waiting):
            self._serve_parked()
        if self._parked:
            due = [at for at in waiting if at > self.now_us]
            if due:
                self.attend_in((min(due) - self.now_us) / SECOND)

    def _serve_parked(self) -> None:
        for worker, (call, capacity) in list(self._parked.items()):
            if not call.is_awaited and self.world.now_us - call.made_us > LONGEST_WAIT_S * SECOND:
                del self._parked[worker]
            elif not self._try(worker, call, capacity):
                return  # what there is waits for a limit, whoever asks

    def attend_in(self, seconds: float) -> None:
        """Look at those who wait in some seconds, if nobody does before."""
        at_us = self.world.now_us + int(seconds * SECOND)
        if self._parked and (self._attends_us is None or at_us < self._attends_us):
            self._attends_us = at_us
            self.later(seconds, self._attend_at, at_us)

    def _attend_at(self, at_us: int) -> None:
        if self._attends_us == at_us:
            self.attend()

    def _try(self, worker: str, call: Call, capacity: int) -> bool:
        if self._store.bug is Bug.COUNT_THEN_START:
            counted = self._store.rooms()
            self.later(self.world.random.uniform(0, 0.05), self._give, worker, call, capacity, counted)
            return True
        return self._give(worker, call, capacity, None)

    def _give(self, worker: str, call: Call, capacity: int, counted: Any) -> bool:
        if worker not in self._parked:
            return False
        given = self._store.claim(worker, capacity, self.now_us, counted)
        if given:
            self._parked.pop(worker, None)
            call.answer(given)
        return bool(given)

    # Loops

    def _look_for_lease(self) -> None:
        lease = self._store.lease
        if lease.until_us > self.world.now_us:
            if lease.until_us < 1 << 62:
                self.later((lease.until_us - self.world.now_us) / SECOND + LOOK_S, self._look_for_lease)
            return
        outage = (lease.until_us - int(HOLD_S * SECOND), self._up_since_us) if lease.fence else None
        lease.holder, lease.fence, lease.until_us = (
            self.name,
            lease.fence + 1,
            1 << 62,
        )  # renewed while it lives
        self._fence = lease.fence
        self.world.note(f"server {self.name} turns the loops")
        for one in self._store.schedules.values():
            one.again_us = 0
        self._plan()
        if outage is not None and outage[1] > outage[0]:
            self._store.drop_stale(*outage, self.now_us, self._reach.grace)
        self._watch()
        self.take_back()

    def _plan(self) -> None:
        if self._fence is None:
            return
        again_us = self._store.plan(self.now_us, self._fence, self._reach)
        if again_us is None:
            self._fence = None
        else:
            self.later(max(0.05, (again_us - self.now_us) / SECOND), self._plan)

    def take_back(self) -> None:
        """Take back what nobody has confirmed, if this server turns the loops; look again when something may be."""
        if self._fence is None:
            return
        self._store.take_back(self.now_us)
        if self._store.unconfirmed and not self._takes_back:
            self._takes_back = True
            self.later(UNCONFIRMED_S, self._take_back)

    def _take_back(self) -> None:
        self._takes_back = False
        self.take_back()

    def _watch(self) -> None:
        """Presume lost what has been silent for a lease; then sleep until something could have been."""
        if self._fence is None:
            return
        self._flush()
        before_us = self.now_us - self._lease_us
        if before_us >= self._up_since_us:
            silent = [id for id, row in self._store.leased.items() if row.last_seen_us < before_us]
            for journal in silent:
                self._store.presume_lost(journal, before_us, self.now_us)
        seen = [row.last_seen_us for row in self._store.leased.values()]
        pause_s = (min(seen) - before_us) / SECOND if seen else self._lease_us / SECOND
        self.later(max(LOOK_S, pause_s), self._watch)


def ring(servers: list[Server], random: Callable[[], float]) -> None:
    """Tell all servers that there is news for those who wait."""
    for server in servers:
        if server.is_up:
            server.attend_in(random() * 0.05)
