"""``headrace server``: start, watch and stop a server on this machine."""

from __future__ import annotations

import click

from headrace.settings import Settings

from . import database
from .exits import Code
from .explain import facts
from .output import output_option, write_json
from .session import current


@click.group(name="server")
def group() -> None:
    """Start, watch and stop a server on this machine.

    A script needs none: its runs are in the home folder's database, and a server started later shows them.
    """


@group.command(epilog="Example: headrace server start --background")
@click.option("--host", help="The address to listen on; otherwise the setting server_host.")
@click.option(
    "--port", type=click.IntRange(0, 65535), help="The port, 0 for a free one; otherwise server_port."
)
@click.option(
    "-b", "--background", is_flag=True, help="Let it go on without this terminal; return once it answers."
)
@click.option(
    "--workers",
    type=click.IntRange(1, 64),
    help="How many processes share the port (PostgreSQL only); otherwise server_workers.",
)
@click.option(
    "--allow-unauthenticated",
    is_flag=True,
    help="Let other machines in although server_auth_string is not set.",
)
def start(
    host: str | None, port: int | None, background: bool, workers: int | None, allow_unauthenticated: bool
) -> None:
    """Start a server for this home folder; Ctrl-C ends it."""
    from headrace.server import process  # here: other commands need none of it

    settings = _changed(current().settings, server_host=host, server_port=port, server_workers=workers)
    if not background:
        process.serve(settings, allow_unauthenticated=allow_unauthenticated)
        return
    before = process.read_address(settings.home_path)
    address = process.start_in_background(settings, allow_unauthenticated=allow_unauthenticated)
    what = "runs already" if address == before else "runs"
    click.echo(
        f"A server {what} at {address['url']} (pid {address['pid']}). Stop it with: headrace server stop"
    )


def _changed(settings: Settings, **given: object) -> Settings:
    """Return the settings with those that a command was told."""
    return settings.replace(**{name: value for name, value in given.items() if value is not None})


@group.command(epilog="Example: headrace server status || headrace server start --background")
@output_option
def status(output: str) -> int:
    """Tell whether a server runs for this home folder; exit code 0 when it answers, 3 otherwise."""
    from headrace.server import process  # as above

    settings = current().settings
    found = process.status(settings)
    address = found.address or {}
    if output == "json":
        write_json({"running": found.address is not None, "healthy": found.healthy, **address})
    elif found.address is None:
        click.echo(f"No server runs for {settings.home_path}. Start one with: headrace server start")
    else:
        click.echo(
            "A server runs." if found.healthy else "A server's process is there, but it does not answer."
        )
        facts([("url", address["url"]), ("pid", str(address["pid"])), ("version", address["version"])])
        if not found.healthy:
            facts([("log", str(settings.home_path / process.LOG_FILE))])
    return Code.OK if found.healthy else Code.UNAVAILABLE


@group.command(epilog="Example: headrace server stop")
def stop() -> None:
    """Stop the server of this home folder; runs go on without it."""
    from headrace.server import process  # as above

    settings = current().settings
    address = process.stop(settings)
    if address is None:
        click.echo(f"No server runs for {settings.home_path}.")
    else:
        click.echo(f"Stopped the server at {address['url']}. Runs go on; their journals keep what happens.")


group.add_command(database.group)
