"""Carry out the runs of deployments in this process's care: ``flow.serve`` and ``serve``."""

from __future__ import annotations

import asyncio
import os
import shlex
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from uuid import UUID

from ..client.where import locate
from ..connect import connect
from ..engine.calling import is_awaited
from ..engine.recorder import current_settings
from ..errors import ApiError, DeploymentError
from ..worker.health import Health, HealthEndpoint
from ..worker.launchers.process import ProcessLauncher
from ..worker.loop import POLL_S, Worker
from ..worker.source import DeploymentSource
from . import notices
from .runner import RunnerDeployment, put

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from ..engine.deployable import Deployable, DeploymentOptions
    from ..settings import Settings

_LONGEST_NAME = 200


def serve(
    *deployments: Deployable,
    pause_on_shutdown: bool = True,
    print_starting_message: bool = True,
    limit: int | None = None,
    webserver: bool = False,
) -> None:
    """Have deployments kept, and carry out their runs until told to stop: Ctrl-C, or SIGTERM.

    Each run is a process of its own that loads the flow's file anew, so what is changed in the file holds from the next
    run on, and runs that go on outlive this process. A server that is not there is started. ``limit`` is how many runs
    may go on at once; ``pause_on_shutdown`` has the schedules rest while nobody serves them; ``webserver`` answers
    ``GET /health``. In async code: await it.

    Raises:
        DeploymentError: one of them belongs to a work pool, or there is none.
        ApiError: the server refuses one; the text names the field.
    """
    service = Service(
        deployments, pauses=pause_on_shutdown, tells=print_starting_message, limit=limit, webserver=webserver
    )
    if is_awaited():
        waiting: Any = service.aio()  # typed as what sync callers get; async ones have aserve
        return waiting  # type: ignore[no-any-return]
    return service.sync()


async def aserve(*deployments: Deployable, **options: Any) -> None:
    """As :func:`serve`, for async code; cancelling it stops it."""
    service = Service(
        deployments,
        pauses=options.pop("pause_on_shutdown", True),
        tells=options.pop("print_starting_message", True),
        limit=options.pop("limit", None),
        webserver=options.pop("webserver", False),
    )
    if options:
        raise TypeError(f"aserve() knows no {next(iter(options))!r}.")
    await service.aio()


def serve_flow(
    flow: Any,
    name: str | None,
    *,
    limit: int | None,
    global_limit: Any,
    pause_on_shutdown: bool,
    print_starting_message: bool,
    webserver: bool,
    **options: Unpack[DeploymentOptions],
) -> None:
    """Carry out :meth:`Flow.serve`."""
    if global_limit is not None:
        options["concurrency_limit"] = global_limit
    return serve(
        RunnerDeployment.from_flow(flow, name or flow.name, **options),
        pause_on_shutdown=pause_on_shutdown,
        print_starting_message=print_starting_message,
        limit=limit,
        webserver=webserver,
    )


class Service:
    """Deployments that this process serves; :meth:`stop` may be called by any thread."""

    def __init__(
        self,
        deployments: tuple[Deployable, ...],
        *,
        pauses: bool,
        tells: bool,
        limit: int | None,
        webserver: bool,
    ) -> None:
        self._deployments = [_checked(each) for each in deployments]
        if not deployments:
            raise DeploymentError(
                "There is nothing to serve. Give deployments: serve(flow.to_deployment(name), ...)."
            )
        self._pauses = pauses
        self._tells = tells
        self._limit = limit
        self._webserver = webserver
        self._ids: list[UUID] = []
        self._stopped = threading.Event()
        self._worker: Worker | None = None

    def sync(self) -> None:
        """Serve in this thread; the first Ctrl-C or SIGTERM stops it gently."""
        with _signals(self.stop):
            self._serve()

    async def aio(self) -> None:
        """Serve in a thread; when this is cancelled, stop and wait for the end."""
        serving = asyncio.ensure_future(asyncio.to_thread(self._serve))
        try:
            await asyncio.shield(serving)
        except asyncio.CancelledError:
            self.stop()
            await serving
            raise

    def stop(self) -> None:
        """Take no more runs."""
        self._stopped.set()
        if self._worker is not None:
            self._worker.stop()

    def _serve(self) -> None:
        settings = current_settings()
        self._start_server(settings)
        with connect(settings) as connection:
            self._ids = [put(connection, each) for each in self._deployments]
        if self._tells:
            notices.tell(_greeting(self._deployments))
        try:
            self._work(settings)
        finally:
            if self._pauses:
                self._pause(settings)

    def _work(self, settings: Settings) -> None:
        launcher = ProcessLauncher(settings)
        name = _worker_name(self._deployments)
        worker: Worker
        health = Health(name, None, wait_s=POLL_S, runs=lambda: len(worker))
        worker = Worker(
            settings,
            DeploymentSource(settings, [str(id) for id in self._ids]),
            launcher,
            name=name,
            limit=self._limit,
            say=_say,
            beat=health.beat,
            # The end of a container's first process is the end of all of them.
            drain_s=float("inf") if os.getpid() == 1 else None,
        )
        self._worker = worker
        try:
            with self._endpoint(health, settings):
                if not self._stopped.is_set():
                    launcher.warm_up()
                    worker.run()
        finally:
            launcher.close()

    @contextmanager
    def _endpoint(self, health: Health, settings: Settings) -> Iterator[None]:
        if not self._webserver:
            yield
            return
        endpoint = HealthEndpoint(health, settings.worker_webserver_host, settings.worker_webserver_port)
        endpoint.start()
        _say(f"Health: {endpoint.url}")
        try:
            yield
        finally:
            endpoint.stop()

    def _start_server(self, settings: Settings) -> None:
        """Start a server on this machine where none runs: somebody has to plan the runs."""
        if locate(settings).kind != "embedded":
            return
        from ..server.process import start_in_background  # here: the server is heavy, and mostly there

        address = start_in_background(settings)
        if self._tells:
            notices.tell(
                f"No server ran, so one was started at {address['url']}. It goes on; `headrace server stop` ends it."
            )

    def _pause(self, settings: Settings) -> None:
        """Have the schedules rest: nobody would carry their runs out."""
        try:
            with connect(settings) as connection:
                for id in self._ids:
                    connection.request("PATCH", f"/deployments/{id}", json={"paused": True}, repeatable=True)
        except ApiError as error:
            _say(f"The schedules could not be paused, so they go on planning runs: {error}")
            return
        if self._tells:
            _say("The schedules are paused until the next serve().")


def _checked(deployment: Deployable) -> RunnerDeployment:
    if not isinstance(deployment, RunnerDeployment):
        raise DeploymentError(
            f"{deployment!r} is no deployment. Make one with flow.to_deployment(name, ...)."
        )
    if deployment.work_pool_name is not None:
        raise DeploymentError(
            f"Deployment {deployment.full_name} belongs to work pool {deployment.work_pool_name!r}, whose workers carry "
            "out its runs. Leave work_pool_name out to serve it, or use deploy()."
        )
    if deployment.paused is None:
        deployment.paused = False  # the end of an earlier serve() paused it
    return deployment


def _worker_name(deployments: list[RunnerDeployment]) -> str:
    """Return the same name whenever the same is served: so runs that an earlier process left going on are counted."""
    names = ", ".join(each.full_name.replace("/", ":") for each in deployments)
    return f"serve {names}"[:_LONGEST_NAME]


def _greeting(deployments: list[RunnerDeployment]) -> str:
    count = f"{len(deployments)} deployments" if len(deployments) > 1 else "1 deployment"
    lines = [f"Serving {count}; runs are carried out here until Ctrl-C."]
    lines += [f"  a run now:  headrace deployment run {shlex.quote(each.full_name)}" for each in deployments]
    return "\n".join(lines)


@contextmanager
def _signals(stop: Any) -> Iterator[None]:
    """Stop gently at the first signal, and as ever at the second; only a main thread hears of signals."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def handle(number: int, _frame: Any) -> None:
        signal.signal(number, before[number])
        stop()

    before: dict[int, Any] = {}
    for number in map(int, (signal.SIGINT, signal.SIGTERM)):
        before[number] = signal.signal(number, handle)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _say(line: str) -> None:
    now = time.time()
    stamp = time.strftime("%H:%M:%S", time.localtime(now)) + f".{int(now * 1000) % 1000:03d}"
    try:
        notices.tell(f"{stamp} | {line}")
    except (BrokenPipeError, OSError):
        return  # nobody reads any more: runs matter more than lines
