"""A server's API within the test's process, and a clock turned by hand."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import httpx

from headrace.client.inprocess import InProcessTransport
from headrace.server.api.bells import Bells
from headrace.server.api.feed import Feed
from headrace.server.api.looks import Looks
from headrace.server.app import create_app
from headrace.server.ingest import Deliveries
from headrace.server.services.roll_call import RollCall
from headrace.server.store.database import Database
from headrace.settings import load

NOON_US = 1_790_000_000_000_000


class Clock:
    """The server's time in microseconds since 1970; it goes on by one with each look, so that moments differ."""

    def __init__(self) -> None:
        self.now = NOON_US

    def __call__(self) -> int:
        """Return the time."""
        self.now += 1
        return self.now

    def pass_s(self, seconds: float) -> None:
        """Let time pass."""
        self.now += int(seconds * 1e6)


class Api(httpx.Client):
    """A client of a server in this process, with a few calls that tests make often."""

    clock: Clock
    app: Any

    def flow_run(self, **fields: Any) -> dict[str, Any]:
        """Make a flow run, Pending unless a state is given."""
        flow = self.post("/flows/", json={"name": fields.pop("flow", "etl")}).json()
        answer = self.post("/flow_runs/", json={"flow_id": flow["id"], **fields})
        assert answer.status_code in (200, 201), answer.text
        return dict(answer.json())

    def propose(self, kind: str, id: str, type: str, *, force: bool = False, **state: Any) -> httpx.Response:
        """Propose a state for a run; ``kind`` is ``flow_runs`` or ``task_runs``."""
        return self.post(f"/{kind}/{id}/set_state", json={"state": {"type": type, **state}, "force": force})

    def state_of(self, id: str) -> tuple[str, str]:
        """Return a flow run's type and name of state."""
        run = self.get(f"/flow_runs/{id}").json()
        return run["state_type"], run["state_name"]


_apps: dict[Any, Any] = {}


@contextlib.contextmanager
def serving(database: Database, **settings: Any) -> Iterator[Api]:
    """Give the API over a database, without services."""
    clock = Clock()
    app = (
        create_app(load().replace(**settings), database, services=False, now=clock)
        if settings
        else _plain(database)
    )
    parts, openings = app.state.context, Bells(one_by_one=True)
    app.state.context = parts._replace(
        database=database,
        deliveries=Deliveries(database),
        bells=Bells(),
        feed=Feed(),
        openings=openings,
        looks=Looks(openings),
        roll_call=RollCall(database),
        now_us=clock,
    )
    with Api(transport=InProcessTransport(app), base_url="http://headrace/api") as api:
        api.clock, api.app = clock, app
        yield api


def _plain(database: Database) -> Any:
    """Return the app that tests without settings share, one a kind: making its routes takes half a second."""
    if database.kind not in _apps:
        _apps[database.kind] = create_app(load(), database, services=False)
    return _apps[database.kind]
