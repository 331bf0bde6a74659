"""The composition root: every part of a server, put together here and nowhere else."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import AsyncIterator, Callable, Collection
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING

from fastapi import FastAPI
from starlette.middleware.gzip import GZipMiddleware

from headrace.model.ids import IdFactory
from headrace.model.planning import Catchup, Reach
from headrace.settings import Settings
from headrace.wire import versions

from .api import (
    automations,
    claims,
    collections,
    concurrency,
    deployment_runs,
    deployment_schedules,
    deployments,
    flow_runs,
    flows,
    health,
    inputs,
    journals,
    logs,
    new_runs,
    planned_runs,
    scheduled_runs,
    slots,
    states,
    task_runs,
    websockets,
    work_pools,
    work_queues,
    workers,
)
from .api.bells import Bells
from .api.body import add_error_answers
from .api.context import Context, now_us
from .api.document import complete
from .api.feed import Feed
from .api.looks import Looks
from .ingest import Deliveries
from .middleware import Gate
from .services.bell_ringer import BellRinger
from .services.compaction import Compaction
from .services.last_seen import LastSeen
from .services.lateness import Lateness
from .services.lease_watch import LeaseWatch
from .services.loop_lease import LoopLease
from .services.messenger import EVERYBODY, Messenger
from .services.partitioning import Partitioning
from .services.pulse import TOGETHER, Pulse
from .services.retention import Ages, Retention, Sizes
from .services.roll_call import RollCall
from .services.scheduler import Scheduler
from .services.service import Service
from .store.database import Database
from .store.together import Together

if TYPE_CHECKING:
    from .api.metrics import Meter

PREFIX = "/api"

GZIP_FROM = 16_384
"""Bytes: smaller answers fit in few packets, and packing costs more than it spares."""

_ROUTERS = (
    health,
    journals,  # what most requests are for, here and next: routes are tried in this order, some 20 µs a module
    claims,
    flows,
    flow_runs,
    inputs,
    task_runs,
    states,
    logs,
    deployments,
    deployment_schedules,
    deployment_runs,
    planned_runs,
    scheduled_runs,
    work_pools,
    work_queues,
    workers,
    slots,
    collections,
    automations,
    concurrency,
    websockets,
)


def create_app(
    settings: Settings,
    database: Database | None = None,
    *,
    services: bool = True,
    now: Callable[[], int] = now_us,
) -> FastAPI:
    """Put a server together.

    Without a ``database`` the settings' own is opened here, and closed when the app's lifespan ends. Without
    ``services`` nothing runs by itself: for use within a process that has no time to spare. ``now`` tells
    microseconds since 1970, UTC.

    Raises:
        SettingError: the database's URL cannot be read, or a newer Headrace made it.
    """
    opened = database or Database.open(
        settings.database_url or None, settings.home_path, connections=settings.database_connections
    )
    last_seen = LastSeen(opened, lease_s=settings.server_lease_seconds)
    changed = threading.Event()
    messenger = Messenger(opened, hear=lambda ids: _hear(context, ids))
    openings = Bells(messenger.tell, one_by_one=True)
    context = Context(
        settings,
        opened,
        IdFactory(),
        Bells(messenger.tell),
        Feed(),
        last_seen.note,
        openings,
        RollCall(opened),
        Deliveries(opened),
        Together(),
        Looks(openings),
        now,
        changed.set,
    )
    running: list[Service] = []
    if services:
        lease = LoopLease(opened, now_us=now)
        context = context._replace(meter=_meter(opened, lease, now))
        running = [lease, *_services(context, lease, last_seen, changed), *_between(context, messenger)]
    app = FastAPI(
        title="Headrace",
        version=versions.API_VERSION,
        docs_url=None,  # its pages would load scripts from other hosts
        redoc_url=None,
        openapi_url=PREFIX + "/openapi.json",
        lifespan=_lifespan(context, running, own=database is None),
    )
    app.state.context = context
    app.add_middleware(GZipMiddleware, minimum_size=GZIP_FROM, compresslevel=4)
    app.add_middleware(
        Gate,
        database=opened,
        auth_string=settings.server_auth_string,
        body_limit=settings.server_body_limit,
    )
    add_error_answers(app)
    complete(app)
    for module in _ROUTERS:
        app.include_router(module.router, prefix=PREFIX)
    if context.meter is not None:
        _let_be_watched(app, context.meter)
    return app


def _meter(database: Database, lease: LoopLease, now: Callable[[], int]) -> Meter:
    from .api.metrics import Meter  # here: an embedded app has no use for prometheus-client

    return Meter(database, held=lease.held, now_us=now)


def _let_be_watched(app: FastAPI, meter: Meter) -> None:
    from .api import metrics  # as above

    app.include_router(metrics.router(meter))
    app.add_middleware(metrics.Metered, meter=meter)  # last, so outermost: refusals count too


def _hear(context: Context, ids: Collection[str]) -> None:
    """Wake whom another server means."""
    for bells in (context.bells, context.openings):
        if EVERYBODY in ids:
            bells.ring_all_here()
        else:
            bells.ring_here(*ids)


def _between(context: Context, messenger: Messenger) -> list[Service]:
    """Return the loops that matter only to a server that has others beside it."""
    beside: list[Service] = []
    if context.database.can_listen and context.settings.server_notify:
        beside.append(messenger)
    if context.meter is not None and os.environ.get(TOGETHER):
        beside.append(Pulse(context.meter.update))
    return beside


def _services(
    context: Context, lease: LoopLease, last_seen: LastSeen, changed: threading.Event
) -> list[Service]:
    """Return the loops of a server, in the order in which they are started; they are stopped in the other."""
    settings, database, now_us, bells = context.settings, context.database, context.now_us, context.bells
    publish = partial(new_runs.publish, context)
    watch = LeaseWatch(
        database,
        lease,
        lease_s=settings.server_lease_seconds,
        now_us=now_us,
        flush=last_seen.tick,
    )
    ringer = BellRinger(database, waited_for=bells.waited_for, ring=bells.ring_here)
    reach = Reach(
        horizon=timedelta(seconds=settings.scheduler_horizon_seconds),
        grace=timedelta(seconds=settings.late_after_seconds),
        catchup=Catchup(settings.scheduler_catchup),
    )
    scheduler = Scheduler(database, lease, reach=reach, now_us=now_us, publish=publish, changed=changed)
    lateness = Lateness(
        database, lease, late_after_s=settings.late_after_seconds, now_us=now_us, publish=publish
    )
    retention = Retention(database, lease, ages=Ages.of(settings), sizes=Sizes.of(settings), now_us=now_us)
    tidying = [Partitioning(database, lease), retention, Compaction(database, lease)]
    return [last_seen, watch, ringer, context.roll_call, scheduler, lateness, *tidying]


def _lifespan(
    context: Context, running: list[Service], *, own: bool
) -> Callable[[FastAPI], contextlib.AbstractAsyncContextManager[None]]:
    @contextlib.asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        for service in running:
            service.start()
        yield
        context.bells.close()
        context.openings.close()
        for service in reversed(running):
            service.stop()
        if own:
            context.database.close()

    return lifespan
