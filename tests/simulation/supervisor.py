"""A supervisor: it ships one journal, passes on what is asked, and gives the verdict."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from headrace.journal.reader import split, whole
from headrace.model import entries
from headrace.model.clock import iso
from headrace.model.runs import Journal, fold
from headrace.model.shipping import Shipping
from headrace.model.verdict import Asked, Ending, judge

from .world import Actor

if TYPE_CHECKING:
    from .host import Folder, Host

SHIP_S = 0.2
BATCH = 4096
GRACE_S = 5.0


class Supervisor(Actor):
    """Stands over one process to its end, and over its journal until the server has it whole."""

    def __init__(self, host: Host, folder: Folder, *, is_first: bool) -> None:
        super().__init__(host.world)
        self._host, self._folder = host, folder
        self._shipping = Shipping(is_first=is_first)
        self._ships = False
        self._after = 0
        self._asked: Asked | None = None
        process = folder.process
        self._unseen = process is None or not process.is_up
        folder.supervisor = self
        if not is_first:
            folder.disk.append(entries.Adopted(host.now_us, 1))
        if self._unseen:
            self.later(0.001, self.close)
        self.wake()
        self._listen()

    # Commands: the poll is the sign of life

    def _listen(self) -> None:
        ask = self._host.network.ask
        ask(self, self._host.place, self._heard, self._deaf, "listen", self._folder.journal, self._after)

    def _heard(self, answer: tuple[int, list[str]]) -> None:
        self._after, commands = answer
        if commands:
            self._cancel()
        self.later(self._host.habits.poll_s, self._listen)

    def _deaf(self) -> None:
        self.later(self._host.world.random.uniform(0.5, 3), self._listen)

    def _cancel(self) -> None:
        process = self._folder.process
        if self._asked is not None or process is None or not process.is_up:
            return
        now_us = self._host.now_us
        self._asked = Asked(None, iso(now_us), killed=False)
        self._folder.disk.append(entries.Asked(now_us, self._folder.run, "cancel"))
        self.wake()
        process.cancel()
        self.later(GRACE_S, self._kill)

    def _kill(self) -> None:
        process = self._folder.process
        if process is not None and process.is_up and self._asked is not None:
            self._asked = self._asked._replace(killed=True)
            process.die(Ending(signal=9))

    # The end

    def close(self) -> None:
        """Give the verdict on what is open, and close the journal."""
        told = fold(Journal(self._folder.journal), split(bytes(self._folder.disk.data)))
        if told.exit is None:
            ending = self._ending()
            verdict = judge(ending, asked=self._asked, recovered=self._unseen)
            now_us = self._host.now_us
            open_runs = [run.id for run in told.runs.values() if run.is_open]
            if not told.runs:  # a power cut took the record of its making
                open_runs = [self._folder.run]
            self._folder.disk.append(
                *(
                    entries.Verdict(run, now_us, verdict.type, verdict.name, verdict.message)
                    for run in open_runs
                ),
                entries.Exit(now_us, ending.code, ending.signal),
            )
        self._folder.is_closed = True
        self.wake()

    def _ending(self) -> Ending:
        process = self._folder.process
        if self._unseen or process is None or process.ending is None:
            return Ending()
        return process.ending

    # Shipping

    def wake(self) -> None:
        """Ship soon, if not at it."""
        if self.is_up and not self._ships:
            self._ships = True
            self.later(SHIP_S, self._ship)

    def _ship(self) -> None:
        disk, journal = self._folder.disk, self._folder.journal
        disk.sync()
        ask, place = self._host.network.ask, self._host.place
        if self._shipping.offset is None:
            return ask(self, place, self._shipped, self._not_shipped, "offset", journal)
        begin, end = self._shipping.piece(disk.synced, BATCH) or (0, 0)
        data = whole(bytes(disk.data[begin:end]))
        if not data:
            self._ships = False
            if self._folder.is_closed:
                self._host.retire(self._folder)
                self.end()
            return None
        return ask(self, place, self._shipped, self._not_shipped, "append", journal, begin, data)

    def _shipped(self, held: Any) -> None:
        self._shipping.holds(held)
        self._ship()

    def _not_shipped(self) -> None:
        self.later(self._shipping.is_away(self._host.world.random.random()), self._ship)
