"""What every route is given: the database, the time, new ids, and who waits for news."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from starlette.requests import HTTPConnection

from headrace.model.ids import IdFactory
from headrace.server.ingest import Deliveries
from headrace.server.services.roll_call import RollCall
from headrace.server.store.database import Database
from headrace.server.store.together import Together
from headrace.settings import Settings

from .bells import Bells
from .feed import Feed
from .looks import Looks

if TYPE_CHECKING:
    from .metrics import Meter  # it loads prometheus-client, which an embedded app has no use for


def now_us() -> int:
    """Return microseconds since 1970, UTC, by this host's clock."""
    return time.time_ns() // 1000


class Context(NamedTuple):
    """The parts of one server, put together in ``server/app.py``."""

    settings: Settings
    database: Database
    ids: IdFactory
    bells: Bells
    """Wakes long polls for commands."""
    feed: Feed
    """Hands events to those who listen on a websocket."""
    saw: Callable[[str, int], None]
    """Takes a journal's sign of life: its id, and when (microseconds since 1970, UTC)."""
    openings: Bells
    """Wakes workers that wait for runs: by the ids of queues and of deployments."""
    roll_call: RollCall
    """Takes the signs of life of workers, and what they ask for."""
    deliveries: Deliveries
    """Takes in pieces of journals."""
    together: Together[Any, Any]
    """Carries out at once what many workers ask at one time."""
    looks: Looks
    """What there was to do a moment ago where workers ask for runs."""
    now_us: Callable[[], int] = now_us
    """The server's time."""
    replan: Callable[[], None] = lambda: None
    """Tells the scheduler, if it runs in this process, that schedules have changed."""
    meter: Meter | None = None
    """Takes what is counted; ``None`` where nobody could ask for it."""

    def new_id(self) -> str:
        """Return a new id."""
        return self.ids.new(self.now_us())


def context(connection: HTTPConnection) -> Context:
    """Return the parts of the server that a request came to."""
    return cast("Context", connection.app.state.context)
