"""Commands that wait for their journal's process: what a server looks up that did not take them in itself."""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.engine import Connection

from .tables import commands


def journals(connection: Connection) -> set[str]:
    """Return the journals with a command that has not reached its supervisor."""
    statement = select(commands.c.journal_id).where(commands.c.acknowledged_us.is_(None)).distinct()
    return set(connection.execute(statement).scalars())
