"""``headrace worker``: carry out the runs of a work pool on this machine."""

from __future__ import annotations

import os
import signal
import socket
import sys
import time
from typing import Any

import click

from .session import current


@click.group(name="worker")
def group() -> None:
    """Start a worker: it carries out the runs of a work pool on this machine."""


@group.command(epilog="Example: headrace worker start -p etl -q urgent -q usual --limit 8")
@click.option(
    "-p",
    "--pool",
    required=True,
    metavar="NAME",
    help="The work pool whose runs it carries out; made if it is not there.",
)
@click.option(
    "-q",
    "--work-queue",
    "queues",
    multiple=True,
    metavar="NAME",
    help="Only runs of this queue; may be given several times. Without it: all queues.",
)
@click.option("-n", "--name", metavar="NAME", help="The worker's name; host name and process id otherwise.")
@click.option(
    "-l", "--limit", type=click.IntRange(min=1), metavar="N", help="How many runs may live at once here."
)
@click.option(
    "-t",
    "--type",
    "pool_type",
    type=click.Choice(["process"]),
    default="process",
    show_default=True,
    help="The kind of worker.",
)
@click.option("--run-once", is_flag=True, help="Carry out what is due now, wait for its end, and stop.")
@click.option(
    "--with-healthcheck",
    is_flag=True,
    help="Answer GET /health on worker_webserver_host and worker_webserver_port.",
)
@click.option(
    "--drain-seconds",
    type=click.FloatRange(min=0),
    metavar="S",
    help="When told to stop, give runs so long and then end them. Without it they go on without the worker.",
)
@click.option(
    "--no-create-pool", is_flag=True, help="Wait for a pool that is not there, instead of making it."
)
def start(
    pool: str,
    queues: tuple[str, ...],
    name: str | None,
    limit: int | None,
    pool_type: str,  # noqa: ARG001  # one kind yet; named so that scripts written today go on working
    run_once: bool,
    with_healthcheck: bool,
    drain_seconds: float | None,
    no_create_pool: bool,
) -> None:
    """Carry out the runs of a work pool until it is told to stop (Ctrl-C, SIGTERM).

    Each run is a process with a supervisor of its own, so runs go on when the worker ends, and another worker of the
    same name takes them into account again.
    """
    from headrace.worker.health import Health, HealthEndpoint  # here: `--help` must not pay for HTTP
    from headrace.worker.launchers.process import ProcessLauncher
    from headrace.worker.loop import POLL_S, Worker
    from headrace.worker.source import PoolSource

    settings = current().settings
    name = name or f"{socket.gethostname()}-{os.getpid()}"
    source = PoolSource(settings, pool, queues or None, make_pool=not no_create_pool)
    launcher = ProcessLauncher(settings)
    if drain_seconds is None and os.getpid() == 1:
        drain_seconds = float("inf")  # the end of a container's first process is the end of all of them
    health: Any = Health(name, pool, wait_s=POLL_S, runs=lambda: len(worker))
    worker = Worker(
        settings, source, launcher, name=name, limit=limit, drain_s=drain_seconds, run_once=run_once, say=say,
        beat=health.beat,
    )  # fmt: skip
    _listen(worker)
    say(f"Worker {name!r} takes runs of {source.name}" + (f", at most {limit} at once." if limit else "."))
    launcher.warm_up()
    endpoint = None
    if with_healthcheck:
        endpoint = HealthEndpoint(health, settings.worker_webserver_host, settings.worker_webserver_port)
        endpoint.start()
        say(f"Health: {endpoint.url}")
    try:
        worker.run()
    finally:
        if endpoint is not None:
            endpoint.stop()
        launcher.close()


def say(line: str) -> None:
    """Write a line for whoever watches the worker."""
    now = time.time()
    stamp = time.strftime("%H:%M:%S", time.localtime(now)) + f".{int(now * 1000) % 1000:03d}"
    try:
        click.echo(f"{stamp} | {line}")
        sys.stdout.flush()
    except (BrokenPipeError, OSError):
        return  # nobody reads any more: runs matter more than lines


def _listen(worker: Any) -> None:
    """Stop at the first signal, gently; die of the second."""

    def handle(number: int, _frame: Any) -> None:
        signal.signal(number, signal.SIG_DFL)
        worker.stop()

    signal.signal(signal.SIGTERM, handle)
    signal.signal(signal.SIGINT, handle)
