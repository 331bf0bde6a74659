"""Put a connection together: over the network, or with the server's application in this process."""

from __future__ import annotations

from .client.connection import Connection
from .client.where import locate
from .settings import Settings

EMBEDDED_URL = "http://embedded/api"
"""A name for requests that leave no process; nothing resolves it."""


def connect(settings: Settings) -> Connection:
    """Return a connection to wherever the settings say that runs are recorded."""
    location = locate(settings)
    return _embedded(settings) if location.kind == "embedded" else Connection(settings, location.url)


def _embedded(settings: Settings) -> Connection:
    # Heavy, and not needed where a server runs: the server's application costs half a second to import.
    from .client.inprocess import InProcessTransport
    from .server.app import create_app
    from .server.store.database import Database

    database = Database.open(settings.database_url or None, settings.home_path, direct=True)
    transport = InProcessTransport(create_app(settings, database, services=False))
    name = f"the database in {settings.home_path}"
    return Connection(settings, EMBEDDED_URL, transport=transport, name=name, on_close=database.close)
