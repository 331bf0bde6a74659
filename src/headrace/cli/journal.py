"""``headrace journal``: read and ship the journals that runs of this machine wrote."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from headrace.journal.reader import iterate
from headrace.journal.spool import Folder, Spool
from headrace.model.sizes import size_text

from . import journal_lines
from .exits import Code, Refusal
from .filters import limit_option
from .output import Cell, id_cell, local_time, output_option, state_cell, write_json, write_table
from .session import current


@click.group(name="journal")
def group() -> None:
    """Read and ship the journals that runs of this machine wrote.

    A journal is what one process recorded. It lies in the home folder's spool until the server has it whole.
    """


@group.command(epilog="Example: headrace journal ls")
@limit_option(50)
@output_option
def ls(limit: int, output: str) -> None:
    """List the journals of this machine: those not shipped yet, then the others; the latest first."""
    spool = Spool(current().settings.home_path)
    folders = [(folder, False) for folder in reversed(spool.folders())]
    folders += [(folder, True) for folder in reversed(spool.shipped_folders())]
    rows = [journal_lines.summary(folder, shipped) for folder, shipped in folders[:limit]]
    if output == "json":
        write_json(rows)
        return
    write_table(
        ("ID", "STATUS", "PID", "FLOWS", "STATE", "SIZE", "WRITTEN"),
        [_fields(row) for row in rows],
        empty=f"No journals below {spool.open.parent}.",
    )


def _fields(row: dict[str, Any]) -> tuple[Cell | str, ...]:
    return (
        id_cell(row["id"]),
        row["status"],
        str(row["pid"] or ""),
        ", ".join(row["flows"]),
        state_cell(row),
        size_text(row["bytes"]),
        local_time(row["written"]),
    )


@group.command(epilog="Example: headrace journal show 4f2a91bc03de")
@click.argument("journal", metavar="FILE|ID")
@click.option("--raw", is_flag=True, help="The records as they lie in the file: one JSON object a line.")
@output_option
def show(journal: str, raw: bool, output: str) -> None:
    """Show what a journal holds, record by record; needs no server."""
    path = _path_of(journal)
    if raw:
        with path.open("rb") as file:
            while chunk := file.read(1 << 20):
                sys.stdout.buffer.write(chunk)
    elif output == "json":
        write_json([journal_lines.as_json(offset, entry) for offset, entry in iterate(path)])
    else:
        for line in journal_lines.readable(iterate(path)):
            click.echo(line)


def _path_of(text: str) -> Path:
    """Return the file of a journal that is given as a file, a folder, an id or an end of one."""
    path = Path(text)
    if path.is_dir() and (path / "journal.jsonl").is_file():
        return path / "journal.jsonl"
    if path.is_file():
        return path
    return _folder_of(text).journal


def _folder_of(text: str) -> Folder:
    spool = Spool(current().settings.home_path)
    part = text.strip("….").lower()
    everything = [*spool.folders(), *spool.shipped_folders()]
    found = [f for f in everything if part and (f.id.startswith(part) or f.id.endswith(part))]
    if not found:
        raise Refusal(
            f"There is no file {text!r}, and no journal on this host whose id begins or ends so. "
            "`headrace journal ls` lists them."
        )
    if len(found) > 1:
        listed = "\n".join(f"  {folder.id}" for folder in found[:10])
        raise Refusal(f"{text!r} may mean any of {len(found)} journals; say which:\n{listed}")
    return found[0]


@group.command(epilog="Example: headrace journal ship")
@click.argument("journal", metavar="[ID]", required=False)
def ship(journal: str | None) -> int:
    """Ship journals that were left behind on this host; with an ID, tell how that one stands.

    A journal whose supervisor lives is shipped by that one: it is left alone.
    """
    # A way to the server, which reading journals needs not.
    from headrace.client.where import locate
    from headrace.ports import open_port
    from headrace.supervisor.recover import recover

    settings = current().settings
    spool = Spool(settings.home_path)
    wanted = _folder_of(journal).id if journal is not None else None
    before = {folder.id for folder in spool.folders()}
    port = open_port(settings, locate(settings))
    try:
        if before:
            port.offset(min(before))  # a server that is away is told at once, not after all patience
        recover(settings, port, _PATIENCE_S)
    finally:
        port.close()
    left = {folder.id for folder in spool.folders()}
    if wanted is not None:
        before, left = before & {wanted}, left & {wanted}
    return _tell_shipped(spool, before - left, left)


_PATIENCE_S = 600.0
"""Seconds that `journal ship` may take: it was asked for, so it finishes what can be finished."""


def _tell_shipped(spool: Spool, shipped: set[str], left: set[str]) -> int:
    for id in sorted(shipped):
        click.echo(f"Shipped {id}.")
    stranded = 0
    for folder in (folder for folder in spool.folders() if folder.id in left):
        status = journal_lines.summary(folder, shipped=False)["status"]
        click.echo(f"Not shipped: {folder.id} ({status}).", err=True)
        stranded += status == journal_lines.LEFT_BEHIND
    if not shipped and not left:
        click.echo("Nothing to ship: the server has every journal of this host whole.")
    sys.stdout.flush()
    return Code.FAILED if stranded else Code.OK
