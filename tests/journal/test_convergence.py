"""Shipping as a pure model: whatever dies or gets lost on the way, the server ends with what the disk holds.

One process, its supervisor, a network and a server, all in memory. A rule is one thing that may happen at
any moment; the server is the rule of ranks over the bytes it holds, as the real one is.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from functools import partial

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from headrace.errors import OffsetMismatch
from headrace.journal.reader import split, whole
from headrace.model import entries, runs
from headrace.model.entries import encode
from headrace.model.resolve import Rank
from headrace.model.runs import Journal, Run, fold

from ..model.journals import JOURNAL, records
from ..model.strategies import START


@dataclass
class Server:
    """What a server's database holds of one journal; each method is one transaction."""

    held: bytes = b""
    journal: Journal = field(default_factory=lambda: Journal(JOURNAL))
    presumed: int = 0

    def append(self, offset: int, data: bytes) -> int:
        if offset > len(self.held):
            raise OffsetMismatch(JOURNAL, offset, len(self.held))
        new = whole(data[len(self.held) - offset :])
        fold(self.journal, split(new, len(self.held)))
        self.held += new
        self.see_life()
        return len(self.held)

    def see_life(self) -> None:
        for run in self.journal.runs.values():
            runs.withdraw_lost(run, 1)

    def presume(self) -> None:
        self.presumed += 1
        for run in self.journal.runs.values():
            if run.is_open:
                runs.presume_lost(
                    run, now=START, offset=len(self.held), attempt=1, last_seen="12:00", host="mill",
                    id=f"presumed-{self.presumed:06}-{run.id}",
                )  # fmt: skip


def essence(run: Run) -> dict[str, object]:
    """Return what must not depend on the way, which is all but the doubts there were."""
    return {
        "state": run.state and run.state.id,
        "history": [row for row in run.history if row.rank != Rank.PRESUMPTION],
        "times": (run.created, run.start, run.end, run.running_us, run.run_count),
        "made": run.entry,
    }


class Shipping(RuleBasedStateMachine):
    """A run, from its first byte to the verdict, and everything that may go wrong meanwhile."""

    def __init__(self) -> None:
        super().__init__()
        self.server = Server()
        self.backup = copy.deepcopy(self.server)
        self.disk = b""
        self.synced = 0
        self.to_write = b""
        self.alive = True
        self.offset: int | None = None  # what the supervisor believes; None: it has just started
        self.delayed: list[tuple[int, bytes]] = []

    @initialize(made=records())
    def the_process_starts(self, made: list[entries.Entry]) -> None:
        self.to_write = b"".join(encode(record) + b"\n" for record in made)

    # The process and its disk

    @precondition(lambda self: self.alive)
    @rule(share=st.floats(0, 1))
    def the_process_writes(self, share: float) -> None:
        count = round(share * len(self.to_write))
        self.disk += self.to_write[:count]
        self.to_write = self.to_write[count:]

    @rule()
    def the_disk_is_synced(self) -> None:
        self.synced = len(self.disk)

    @precondition(lambda self: self.alive)
    @rule()
    def the_process_dies(self) -> None:
        self.alive = False

    @precondition(lambda self: self.alive)
    @rule(share=st.floats(0, 1))
    def the_power_is_cut(self, share: float) -> None:
        kept = self.synced + round(share * (len(self.disk) - self.synced))
        self.disk, self.alive, self.offset = self.disk[:kept], False, None

    # The supervisor

    @rule()
    def the_supervisor_dies_and_another_takes_over(self) -> None:
        self.offset = None

    @precondition(lambda self: not self.alive)
    @rule(cut=st.none() | st.floats(0, 1))
    def the_supervisor_judges(self, cut: float | None) -> None:
        """It may die while it writes: the next one finds the line torn and judges again."""
        torn = self.disk and not self.disk.endswith(b"\n")
        told = fold(Journal(JOURNAL), split(self.disk))
        verdicts = [
            encode(entries.Verdict(run.id, START, "CRASHED", "Crashed", "gone")) + b"\n"
            for run in told.runs.values()
            if run.is_open
        ]
        data = (b"\n" if torn else b"") + b"".join(verdicts)
        self.disk += data if cut is None else data[: round(cut * len(data))]

    # The network and the server

    @rule(
        limit=st.integers(1, 2000),
        outcome=st.sampled_from(["arrives", "request lost", "answer lost", "delayed"]),
    )
    def the_supervisor_ships(self, limit: int, outcome: str) -> None:
        """A server that dies before its transaction loses the request; one that dies after it, the answer."""
        if self.offset is None:
            self.offset = len(self.server.held)
        data = whole(self.disk[self.offset : self.synced][:limit])
        if outcome == "delayed":
            self.delayed.append((self.offset, data))
        if outcome in ("request lost", "delayed"):
            return
        try:
            held = self.server.append(self.offset, data)
        except OffsetMismatch as error:
            held = error.expected
        if outcome == "arrives":
            self.offset = held

    @precondition(lambda self: self.delayed)
    @rule(data=st.data())
    def a_delayed_request_arrives(self, data: st.DataObject) -> None:
        offset, body = data.draw(st.sampled_from(self.delayed))
        try:
            self.server.append(offset, body)
        except OffsetMismatch as error:
            assert error.expected < offset

    @rule(cut=st.floats(0, 1))
    def a_request_is_cut_short(self, cut: float) -> None:
        data = self.disk[len(self.server.held) : self.synced]
        self.server.append(len(self.server.held), data[: round(cut * len(data))])

    @rule()
    def the_lease_lapses(self) -> None:
        self.server.presume()

    @rule()
    def the_supervisor_polls(self) -> None:
        self.server.see_life()

    @rule()
    def a_backup_is_made(self) -> None:
        self.backup = copy.deepcopy(self.server)

    @rule()
    def the_server_is_restored_from_its_backup(self) -> None:
        self.server = copy.deepcopy(self.backup)

    # What holds at every moment, and in the end

    @invariant()
    def the_server_holds_whole_lines_that_the_disk_holds(self) -> None:
        assert self.disk.startswith(self.server.held)
        assert self.server.held == whole(self.server.held)

    @invariant()
    def the_server_knows_what_its_bytes_say(self) -> None:
        told = fold(Journal(JOURNAL), split(self.server.held))

        assert told.runs.keys() == self.server.journal.runs.keys()
        for id, run in told.runs.items():
            known = self.server.journal.runs[id]
            assert essence(run)["history"] == essence(known)["history"]
            assert known.state.rank == Rank.PRESUMPTION or essence(run) == essence(known)  # type: ignore[union-attr]

    def teardown(self) -> None:
        """The storm is over: the process ends, its supervisor judges and ships what is left."""
        if self.alive:
            self.the_process_writes(1)
        self.alive = False
        self.the_supervisor_judges(None)
        self.synced = len(self.disk)
        ship = partial(self.the_supervisor_ships, limit=1 << 20, outcome="arrives")
        for _ in range(3):  # once to learn the true offset, once to ship, once to see that nothing is left
            ship()
        told = fold(Journal(JOURNAL), split(self.disk))

        assert self.disk == self.server.held
        assert {id: essence(run) for id, run in told.runs.items()} == {
            id: essence(run) for id, run in self.server.journal.runs.items()
        }
        assert [id for id, run in self.server.journal.runs.items() if run.is_open] == []
        assert told.torn == self.server.journal.torn


TestShipping = Shipping.TestCase
TestShipping.settings = settings(max_examples=150, stateful_step_count=40)
