"""``headrace demo``: real flows in processes of their own, each checked for the state that it earned."""

from __future__ import annotations

import click

from ..exits import Code
from ..session import current


@click.command(name="demo", epilog="Example: headrace demo && headrace flow-run ls")
def run() -> int:
    """Run real flows: one fails, one is killed, each is shown in the state it earned.

    The runs are kept in the home folder, so they can be looked at afterwards. The exit code is 1 when a run
    does not end in the state it earned.
    """
    from .show import show  # here: the parts need a connection, which `--help` must not pay for

    return Code.OK if show(current().settings) else Code.FAILED
