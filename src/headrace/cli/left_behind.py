"""Ship the journals that were left behind on this host before a command looks at what is on record."""

from __future__ import annotations

import click

from headrace.client.where import locate
from headrace.errors import HeadraceError
from headrace.journal.spool import Spool
from headrace.settings import Settings

_RECOVERY_BUDGET_S = 2.0
"""How long a command waits for journals left behind: a person is looking, and the next command goes on."""


def recover_first(settings: Settings) -> None:
    """Ship the journals that dead supervisors left on this host, so that what is read next is the truth.

    Only where the home folder's own database or its local server takes them: a server far away may be
    another one than the runs were meant for.
    """
    location = locate(settings)
    if location.kind == "network" or not Spool(settings.home_path).folders():
        return
    from headrace.ports import open_port  # these two: needed only where something was left behind
    from headrace.supervisor.recover import recover

    port = open_port(settings, location)
    try:
        recover(settings, port, _RECOVERY_BUDGET_S)
    except HeadraceError as error:
        click.echo(f"Note: journals left behind on this host could not be shipped yet: {error}", err=True)
    finally:
        port.close()
