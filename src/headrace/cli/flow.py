"""``headrace flow``: list flows."""

from __future__ import annotations

import click

from headrace.client import calls

from .filters import limit_option
from .output import id_cell, local_time, output_option, write_json, write_table
from .session import current


@click.group(name="flow")
def group() -> None:
    """List flows."""


@group.command(epilog="Example: headrace flow ls -o json")
@limit_option(50)
@output_option
def ls(limit: int, output: str) -> None:
    """List the flows that have run, the newest first."""
    found = calls.flows(current().connection, {}, limit=limit)
    if output == "json":
        write_json(found)
        return
    write_table(
        ("ID", "NAME", "CREATED", "TAGS"),
        [
            (
                id_cell(flow["id"]),
                flow["name"],
                local_time(flow.get("created")),
                ", ".join(flow.get("tags") or []),
            )
            for flow in found
        ],
        empty="No flows. One appears with its first run.",
    )
