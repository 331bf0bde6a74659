"""A network that delays, loses, repeats and cuts; a client learns of that only by waiting."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from .world import SECOND, Actor, World

if TYPE_CHECKING:
    from .server import Server

TIMEOUT_S = 30.0
"""Seconds after which a client gives a request up."""


class Rates(NamedTuple):
    """How likely each fault is."""

    lost: float
    repeated: float
    late: float
    dies_before_commit: float
    dies_after_commit: float
    unknown_commit: float


class Call:
    """One request of a client; the first answer or failure counts."""

    def __init__(self, network: Network, client: Actor, place: Place, done: Done, failed: Failed) -> None:
        self.client = client
        self.place = place
        self.made_us = network.world.now_us
        self._network = network
        self._done, self._failed = done, failed
        self._settled = False
        self._life = client.life

    @property
    def is_awaited(self) -> bool:
        """Whether its client still lives and waits."""
        return not self._settled and self.client.is_up and self.client.life == self._life

    def answer(self, value: Any) -> None:
        """Send the answer back, which may get lost."""
        network = self._network
        if network.loses(self.place):
            self.fail(TIMEOUT_S)
        else:
            network.world.after(network.latency_s(), self._settle, self._done, value)

    def fail(self, seconds: float) -> None:
        """Let the client see a failure after a time."""
        self._network.world.after(seconds, self._settle, self._failed)

    def _settle(self, tell: Callable[..., None], *value: Any) -> None:
        if self.is_awaited:
            self._settled = True
            tell(*value)


class Place:
    """Where a client is; its way to the servers may be cut."""

    def __init__(self) -> None:
        self.cut_until_us = 0


Done = Callable[[Any], None]
Failed = Callable[[], None]


class Network:
    """Between all hosts and all servers, which stand behind one address."""

    def __init__(self, world: World, rates: Rates) -> None:
        self.world = world
        self.rates = rates
        self.servers: list[Server] = []

    def ask(self, client: Actor, place: Place, done: Done, failed: Failed, what: str, *args: Any) -> None:
        """Ask something of whichever server the balancer picks; then ``done(answer)``, or ``failed()``."""
        call = Call(self, client, place, done, failed)
        server = self.servers[self.world.random.randrange(len(self.servers))]
        if self.world.chance(self.rates.repeated):  # by a proxy that got no answer in time
            self.world.after(self.world.random.uniform(0, 90), self._arrive, server, None, what, args)
        if self.loses(place):
            call.fail(TIMEOUT_S)
        elif self.world.chance(self.rates.late):
            late_s = self.world.random.uniform(0, 2 * TIMEOUT_S)
            if late_s > TIMEOUT_S:
                call.fail(TIMEOUT_S)
            self.world.after(late_s, self._arrive, server, call, what, args)
        else:
            self.world.after(self.latency_s(), self._arrive, server, call, what, args)

    def loses(self, place: Place) -> bool:
        """Say whether a message from or to a place is lost now."""
        return self.world.now_us < place.cut_until_us or self.world.chance(self.rates.lost)

    def latency_s(self) -> float:
        """Return the seconds that a message takes."""
        return self.world.random.uniform(0.001, 0.03)

    def cut(self, place: Place, seconds: float) -> None:
        """Cut a place off."""
        place.cut_until_us = self.world.now_us + int(seconds * SECOND)

    def _arrive(self, server: Server, call: Call | None, what: str, args: tuple[Any, ...]) -> None:
        if server.is_up:
            server.serve(call, what, args)
        elif call is not None:
            call.fail(self.latency_s())
