"""``headrace server``: start, watch and stop a server on this machine."""

from __future__ import annotations

import click

from headrace.settings import Settings

from .exits import Code
from .output import output_option, write_json
from .session import current


@click.group(name="server")
def group() -> None:
    """Start, watch and stop a server on this machine.

    A script needs no server: its runs are in the home folder's database, and a server started later shows them.
    """


@group.command(epilog="Example: headrace server start --background")
@click.option("--host", help="The address to listen on.  [setting: server_host]")
@click.option(
    "--port", type=click.IntRange(0, 65535), help="The port; 0 takes a free one.  [setting: server_port]"
)
@click.option(
    "-b", "--background", is_flag=True, help="Go on without this terminal; return when it is healthy."
)
@click.option(
    "--allow-unauthenticated",
    is_flag=True,
    help="Listen on an address that other machines reach although server_auth_string is not set.",
)
def start(host: str | None, port: int | None, background: bool, allow_unauthenticated: bool) -> None:
    """Start a server on this machine's home folder or database_url."""
    from headrace.server import process  # here: it loads the web framework

    settings = _with_address(current().settings, host, port)
    if background:
        address = process.start_in_background(settings, allow_unauthenticated=allow_unauthenticated)
        click.echo(
            f"A server runs at {address['url']} (pid {address['pid']}). Stop it with: headrace server stop"
        )
    else:
        process.serve(settings, allow_unauthenticated=allow_unauthenticated)


def _with_address(settings: Settings, host: str | None, port: int | None) -> Settings:
    changed = {
        name: value for name, value in (("server_host", host), ("server_port", port)) if value is not None
    }
    return settings.replace(**changed)
