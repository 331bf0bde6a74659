"""Put a connection together: over the network, or with the server's application in this process."""

from __future__ import annotations

import click

from headrace.client.connection import Connection
from headrace.client.where import locate
from headrace.errors import HeadraceError
from headrace.journal.spool import Spool
from headrace.settings import Settings

EMBEDDED_URL = "http://embedded/api"
"""A name for requests that leave no process; nothing resolves it."""

_RECOVERY_BUDGET_S = 2.0
"""How long a command waits for journals left behind: a person is looking, and the next command goes on."""


def connect(settings: Settings) -> Connection:
    """Return a connection to wherever the settings say that runs are recorded."""
    location = locate(settings)
    return _embedded(settings) if location.kind == "embedded" else Connection(settings, location.url)


def _embedded(settings: Settings) -> Connection:
    # Heavy, and not needed where a server runs: the server's application costs half a second to import.
    from headrace.client.inprocess import InProcessTransport
    from headrace.server.app import create_app
    from headrace.server.store.database import Database

    database = Database.open(settings.database_url or None, settings.home_path, direct=True)
    transport = InProcessTransport(create_app(settings, database, services=False))
    name = f"the database in {settings.home_path}"
    return Connection(settings, EMBEDDED_URL, transport=transport, name=name, on_close=database.close)


def recover_first(settings: Settings) -> None:
    """Ship the journals that dead supervisors left on this host, so that what is read next is the truth.

    Only where the home folder's own database or its local server takes them: a server far away may be
    another one than the runs were meant for.
    """
    location = locate(settings)
    if location.kind == "network" or not Spool(settings.home_path).folders():
        return
    from headrace.companion import open_port  # these two: needed only where something was left behind
    from headrace.supervisor.recover import recover

    port = open_port(settings, location)
    try:
        recover(settings, port, _RECOVERY_BUDGET_S)
    except HeadraceError as error:
        click.echo(f"Note: journals left behind on this host could not be shipped yet: {error}", err=True)
    finally:
        port.close()
