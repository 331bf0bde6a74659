"""What really happened, kept apart from what any server knows; and what must therefore hold."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from .world import SECOND, Violation, World


@dataclass
class Attempt:
    """One attempt of a run, as it really went."""

    run: str
    number: int
    journal: str
    starts: int = 0
    is_running: bool = False
    """Whether its user code runs."""
    is_lost: bool = False
    """Whether a server ever presumed it lost."""
    is_taken_back: bool = False
    """Whether a server gave it up before anybody began it."""
    told: list[tuple[int, str]] = field(default_factory=list)
    """Terminal states that its process wrote: ``(end of the record in the journal, type)``."""
    heard_us: int = 0
    """When a server last took a sign of life of it to heart."""


@dataclass
class Truth:
    """One run."""

    id: str
    deployment: str
    queue: str
    attempts: list[Attempt] = field(default_factory=list)
    asked_to_cancel: bool = False
    cancelled_by_limit: bool = False
    dropped: bool = False

    def begun(self) -> list[Attempt]:
        """Return the attempts that count: those that no server took back before anybody began them."""
        return [one for one in self.attempts if not one.is_taken_back]


class Oracle:
    """Sees everything, decides nothing, and raises a :class:`.Violation` at the moment something is wrong."""

    def __init__(self, world: World, lease_s: float) -> None:
        self.world = world
        self.lease_us = int(lease_s * SECOND)
        self.limits: dict[str, int | None] = {}
        """{queue or deployment: how many may run at once}"""
        self.truths: dict[str, Truth] = {}
        self.by_journal: dict[str, Attempt] = {}
        self.planned: dict[str, dict[int, None]] = {}
        """{schedule: the times for which runs were planned}"""
        self.most_at_once: dict[str, int] = {}
        self.seen = {
            "lost": 0,
            "late facts": 0,
            "crashes": 0,
            "second attempts": 0,
            "cancels": 0,
            "torn": 0,
            "taken back": 0,
            "unwritten": 0,
        }
        self._running: dict[str, dict[str, Attempt]] = {}

    def created(self, run: str, deployment: str, queue: str, at_us: int, schedule: str | None) -> None:
        """A run is planned."""
        self.truths[run] = Truth(run, deployment, queue)
        self.world.note(f"{run[:8]} planned")
        if schedule is not None:
            times = self.planned.setdefault(schedule, {})
            self.require(at_us not in times, f"schedule {schedule} planned {at_us} twice")
            times[at_us] = None

    def dropped(self, run: str) -> None:
        """A planned run is deleted before anybody took it."""
        self.truths[run].dropped = True

    def cancelled_by_limit(self, run: str) -> None:
        """A limit cancels a run (CANCEL_NEW)."""
        self.truths[run].cancelled_by_limit = True

    def claimed(self, run: str, number: int, journal: str) -> None:
        """A run is given to a worker."""
        truth = self.truths[run]
        self.require(
            all(number > one.number for one in truth.attempts),
            f"attempt {number} of {run} was given away twice",
        )
        attempt = Attempt(run, number, journal, heard_us=self.world.now_us)
        truth.attempts.append(attempt)
        self.by_journal[journal] = attempt
        self.seen["second attempts"] += number > 1
        self.world.note(f"{run[:8]} attempt {number} given")

    def taken_back(self, journal: str) -> None:
        """A server gives an attempt up that nobody has confirmed."""
        attempt = self.by_journal[journal]
        attempt.is_taken_back = True
        self.seen["taken back"] += 1
        self.world.note(f"{attempt.run[:8]} attempt {attempt.number} taken back")
        self.require(
            attempt.starts == 0, f"attempt {attempt.number} of {attempt.run} was taken back after its start"
        )

    def started(self, journal: str) -> None:
        """A process is started for an attempt."""
        attempt = self.by_journal[journal]
        attempt.starts += 1
        self.require(
            not attempt.is_taken_back,
            f"attempt {attempt.number} of {attempt.run} was started after it was taken back",
        )
        self.world.note(f"{attempt.run[:8]} attempt {attempt.number} started")
        self.require(attempt.starts == 1, f"attempt {attempt.number} of {attempt.run} was started twice")

    def code_begins(self, journal: str) -> None:
        """User code begins to run."""
        attempt = self.by_journal[journal]
        attempt.is_running = True
        truth = self.truths[attempt.run]
        for place in (truth.queue, truth.deployment):
            at_once = self._running.setdefault(place, {})
            at_once[journal] = attempt
            limit = self.limits.get(place)
            count = sum(
                not one.is_lost and not self.truths[one.run].asked_to_cancel for one in at_once.values()
            )
            self.most_at_once[place] = max(count, self.most_at_once.get(place, 0))
            self.require(limit is None or count <= limit, f"{count} runs of {place} at once; {limit} may be")

    def code_ends(self, journal: str, told: tuple[int, str] | None) -> None:
        """User code ends: its process told how, or died without."""
        attempt = self.by_journal[journal]
        attempt.is_running = False
        if told is not None:
            attempt.told.append(told)
            self.seen["late facts"] += attempt.is_lost
        truth = self.truths[attempt.run]
        for place in (truth.queue, truth.deployment):
            self._running.get(place, {}).pop(journal, None)
        self.seen["crashes"] += told is None
        self.world.note(f"{attempt.run[:8]} attempt {attempt.number} ended {told[1] if told else 'untold'}")

    def lost_power(self, journal: str, length: int) -> None:
        """A power cut left so many bytes of a journal; a record is whole without its line end, too."""
        attempt = self.by_journal[journal]
        attempt.told = [(end, type) for end, type in attempt.told if end - 1 <= length]

    def asked_to_cancel(self, run: str) -> None:
        """Somebody asked that a run be cancelled, and that was accepted."""
        self.truths[run].asked_to_cancel = True
        self.seen["cancels"] += 1
        self.world.note(f"{run[:8]} asked to end")

    def heard(self, journal: str, at_us: int) -> None:
        """A server has committed that a journal's process was alive."""
        attempt = self.by_journal[journal]
        attempt.heard_us = max(attempt.heard_us, at_us)

    def presumed_lost(self, run: str, journal: str, before_us: int) -> None:
        """A server presumes an attempt lost."""
        attempt = self.by_journal[journal]
        attempt.is_lost = True
        self.seen["lost"] += 1
        self.world.note(f"{run[:8]} attempt {attempt.number} presumed lost")
        self.require(
            attempt.heard_us <= before_us + 2 * SECOND,  # servers' clocks differ a little
            f"attempt {attempt.number} of {run} was presumed lost {(self.world.now_us - attempt.heard_us) / SECOND} s "
            "after it was heard of",
        )

    def running(self) -> Iterable[Attempt]:
        """Return the attempts whose user code runs."""
        return [one for one in self.by_journal.values() if one.is_running]

    def require(self, holds: bool, otherwise: str) -> None:
        """Raise a violation unless something holds."""
        if not holds:
            raise Violation(
                f"after {(self.world.now_us - 1_780_000_000_000_000) / SECOND:.3f} s: {otherwise}"
            )
