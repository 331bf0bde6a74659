"""``headrace server database``: back up, restore, check, copy, measure, prune and upgrade the server's data."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .exits import Code, Refusal
from .explain import facts
from .output import output_option, write_json, write_table
from .session import current

if TYPE_CHECKING:
    from headrace.server.store.database import Database
    from headrace.server.store.migrations import Migration
    from headrace.server.store.sizes import Stats

_FILE = click.Path(dir_okay=False, path_type=Path)


@click.group(name="database")
def group() -> None:
    """Look after the server's database: the one that HEADRACE_DATABASE_URL names, else the home folder's."""


@group.command(epilog="Example: headrace server database upgrade --dry-run")
@click.option(
    "--finish",
    is_flag=True,
    help="Do post migrations too, after which servers of older versions cannot go on. Without a word on SQLite.",
)
@click.option("--dry-run", is_flag=True, help="Only tell what there is to do.")
def upgrade(finish: bool, dry_run: bool) -> None:
    """Bring the database's tables to the shape this version needs.

    Servers of the version before go on beside it, until --finish is said: say it when none of them is left.
    """
    from headrace.server.store.standing import Standing  # here: its package loads a database driver

    current().settings.home_path.mkdir(parents=True, exist_ok=True, mode=0o700)
    with _opened(there=False) as opened:
        shown = opened.url.render_as_string(hide_password=True)
        found, plan = opened.standing(), opened.plan(finish=finish or None)
        if found.fits and not plan.now:
            newer = ", by a newer Headrace with which this one can work" if found is Standing.NEWER else ""
            click.echo(f"The database {shown} is up to date{newer}.")
        elif dry_run:
            click.echo(f"The database {shown} would be upgraded.")
        else:
            opened.migrate(finish=finish or None)
            click.echo(f"Upgraded the database {shown}.")
    _tell(plan.now)
    if plan.later:
        click.echo(
            "When no server of an older version is left, `headrace server database upgrade --finish` does:"
        )
        _tell(plan.later)


def _tell(migrations: list[Migration]) -> None:
    for each in migrations:
        click.echo(f"  {each.revision} {each.does}")


@group.command(epilog="Example: headrace server database backup /backups/headrace-2026-11-23")
@click.argument("file", type=_FILE)
@click.option("--force", is_flag=True, help="Write over a file that is there.")
@output_option
def backup(file: Path, force: bool, output: str) -> None:
    """Write all that the database holds into FILE, while servers go on working.

    It is one moment of the data. Either kind of database can be made from it: see `restore`.
    """
    from headrace.server.store.backup import back_up  # here: a database driver

    with _opened() as database:
        report = back_up(database, file, now_us=_now_us(), force=force)
    rows = {name: total.rows for name, total in report.sums.items()}
    if output == "json":
        write_json(
            {"file": str(file), "bytes": file.stat().st_size, "revision": report.revision, "rows": rows}
        )
    else:
        click.echo(f"Wrote {sum(rows.values())} rows into {file} ({size(file.stat().st_size)}).")


@group.command(epilog="Example: headrace server database restore /backups/headrace-2026-11-23")
@click.argument("file", type=_FILE)
@click.option("--force", is_flag=True, help="Delete what the database holds now. It cannot be brought back.")
@click.option("--dry-run", is_flag=True, help="Only tell what the file holds.")
@output_option
def restore(file: Path, force: bool, dry_run: bool, output: str) -> None:
    """Make the database from FILE, which `backup` wrote; afterwards it holds all of it, or what it held before.

    No server may work on the database meanwhile.
    """
    from headrace.server.store import backup as backups  # here: a database driver

    header = backups.read_header(file)
    told: dict[str, Any] = {
        "file": str(file),
        "revision": header.revision,
        "release": header.release,
        "made": _moment(header.made_us),
    }
    if not dry_run:
        current().settings.home_path.mkdir(parents=True, exist_ok=True, mode=0o700)
        with _opened(there=False) as database:
            report = backups.restore(database, file, now_us=_now_us(), force=force)
            told["rows"] = {name: total.rows for name, total in report.sums.items()}
            told["database"] = database.url.render_as_string(hide_password=True)
    if output == "json":
        write_json(told)
    elif dry_run:
        facts([(name, str(value)) for name, value in told.items()])
    else:
        click.echo(f"Restored {sum(told['rows'].values())} rows into {told['database']}.")


@group.command(epilog="Example: headrace server database check || echo 'look at it'")
@output_option
def check(output: str) -> int:
    """Look whether the database is sound; exit code 1 when something is wrong with it.

    It reads everything: the database's own check, tables and columns, what refers to what, and whether every
    run's history and every piece of log can be read. Nothing is changed; servers may go on.
    """
    from headrace.server.store.checking import check as look  # here: a database driver

    with _opened() as database:
        found = look(database)
    if output == "json":
        write_json({**found._asdict(), "sound": not found.faults})
    else:
        write_table(["TABLE", "ROWS"], [(name, str(rows)) for name, rows in found.rows.items()], empty="")
        for note in found.notes:
            click.echo(f"note: {note}")
        for fault in found.faults:
            click.echo(f"FAULT: {fault}", err=True)
        wrong = f"{len(found.faults)} faults. Restore a backup, or report them." if found.faults else "Sound."
        click.echo(f"Revision {found.revision}. {wrong}")
    return Code.FAILED if found.faults else Code.OK


@group.command(
    epilog="Example: headrace server database copy sqlite:////home/ada/.headrace/headrace.db "
    "postgresql://headrace@db/headrace"
)
@click.argument("source", metavar="FROM")
@click.argument("target", metavar="TO")
@click.option(
    "--anew", is_flag=True, help="Throw away what an unfinished copy has carried over, and begin again."
)
@output_option
def copy(source: str, target: str, anew: bool, output: str) -> None:
    """Carry the database at the URL FROM over into the empty one at the URL TO, of either kind.

    It can be interrupted, or killed: the same command goes on where it was. At the end both are read whole and
    compared, by counts and checksums. No server may work on one of them.
    """
    from headrace.server.store import copying  # here: a database driver

    last: list[copying.Step] = []

    def told(step: copying.Step) -> None:
        if not last or last[0].table != step.table:
            click.echo(f"{step.table}{': going on' if step.resumed else ''} ...", err=True)
        last[:] = [step]

    with _opened(source) as origin, _opened(target, there=False) as copied:
        sums = copying.copy(origin, copied, now_us=_now_us(), anew=anew, told=told)
        shown = copied.url.render_as_string(hide_password=True)
    if output == "json":
        write_json(
            {name: {"rows": total.rows, "checksum": f"{total.digest:016x}"} for name, total in sums.items()}
        )
    else:
        rows = [(name, str(total.rows), f"{total.digest:016x}") for name, total in sums.items()]
        write_table(["TABLE", "ROWS", "CHECKSUM"], rows, empty="")
        click.echo(f"{shown} holds the same now. Name it in HEADRACE_DATABASE_URL.")


@group.command(epilog="Example: headrace server database prune --dry-run")
@click.option("--dry-run", is_flag=True, help="Only tell how many flow runs would go.")
@output_option
def prune(dry_run: bool, output: str) -> None:
    """Delete now what is older than the settings retention_runs_days, _logs_days and _events_days say.

    And the oldest of what takes more room than retention_runs_size, _logs_size and _events_size allow.
    A server does that by itself, every ten minutes. This is for a home folder on which none runs.
    """
    from headrace.server.services.loop_lease import Alone
    from headrace.server.services.partitioning import Partitioning  # here: a database driver
    from headrace.server.services.retention import Ages, Retention, Sizes
    from headrace.server.store.retention import count_ended

    ages, sizes = Ages.of(current().settings), Sizes.of(current().settings)
    with _opened() as database:
        if not database.standing().fits:
            raise Refusal(
                "This Headrace cannot work on the database as it is. Run `headrace server database upgrade` first."
            )
        if dry_run:
            with database.read() as connection:
                due = 0 if ages.runs is None else count_ended(connection, _now_us() - ages.runs)
            gone = {"flow_runs": due}
        else:
            alone = Alone(database)
            gone = Retention(database, alone, ages=ages, sizes=sizes, now_us=_now_us).sweep()
            Partitioning(database, alone).make()
    if output == "json":
        write_json(gone)
    elif dry_run:
        more = ", and what takes more room than it may" if any(sizes) else ""
        click.echo(f"{gone['flow_runs']} flow runs would be deleted, and old logs and events{more}.")
    else:
        click.echo(
            f"Deleted {gone['flow_runs']} flow runs ({gone['rows']} rows in all); {size(gone['bytes'])} given back."
        )


@group.command(epilog="Example: headrace server database stats -o json")
@output_option
def stats(output: str) -> None:
    """Show what takes the space, how much is added a day, and how long things are kept.

    It reads every table once.
    """
    from headrace.server.store.sizes import measure  # here: a database driver

    settings = current().settings
    things = ("runs", "logs", "events")
    kept = {name: getattr(settings, f"retention_{name}_days") for name in things}
    room = {name: getattr(settings, f"retention_{name}_size") for name in things}
    with _opened() as database:
        found = measure(database, now_us=_now_us())
    if output == "json":
        write_json(_stats_json(found, kept, room))
        return
    rows = [
        (one.name, str(one.rows), size(one.bytes), f"{one.rows_a_day:.0f}", size(one.bytes_a_day))
        for one in found.tables
    ]
    write_table(["TABLE", "ROWS", "SIZE", "ROWS A DAY", "GROWTH A DAY"], rows, empty="")
    click.echo()
    facts(
        [
            ("whole size", f"{size(found.bytes)}, {size(found.free_bytes)} of it free"),
            ("growth a day", f"{size(_growth(found))} (over {found.days:.1f} days)"),
            ("oldest run", _moment(found.oldest_run_us) if found.oldest_run_us is not None else "none"),
            *((f"{name} kept", _kept(kept[name], room[name])) for name in things),
        ]
    )


def _kept(days: float, room: int) -> str:
    """Return in words how long something is kept."""
    age, most = f"{days:g} days" if days > 0 else "", f"{size(room)} at most" if room else ""
    return ", ".join(filter(None, (age, most))) or "for ever"


def _growth(found: Stats) -> float | None:
    known = [one.bytes_a_day for one in found.tables if one.bytes_a_day is not None]
    return sum(known) if known else None


def _stats_json(found: Stats, kept: dict[str, float], room: dict[str, int]) -> dict[str, Any]:
    return {
        "bytes": found.bytes,
        "free_bytes": found.free_bytes,
        "days": found.days,
        "oldest_run": _moment(found.oldest_run_us) if found.oldest_run_us is not None else None,
        "retention_days": {name: days if days > 0 else None for name, days in kept.items()},
        "retention_bytes": {name: int(size) or None for name, size in room.items()},
        "tables": [one._asdict() for one in found.tables],
    }


@contextlib.contextmanager
def _opened(url: str | None = None, *, there: bool = True) -> Iterator[Database]:
    """Give the database of the settings, or the one at ``url``; ``there``: it has to be one already."""
    from headrace.server.store.database import Database, read_url  # here: a database driver

    settings = current().settings
    place = read_url(url or settings.database_url or None, settings.home_path)
    file = Path(place.database or "") if place.get_backend_name() == "sqlite" else None
    if file is not None and there and not file.exists():
        raise Refusal(
            f"There is no database {file}. HEADRACE_DATABASE_URL or HEADRACE_HOME name another place."
        )
    if file is not None and not file.parent.is_dir():
        raise Refusal(f"There is no folder {file.parent} for the database {file.name}. Make it first.")
    database = Database(place, direct=True)
    try:
        database.standing()  # says in plain words why it cannot be reached, if it cannot
        yield database
    finally:
        database.close()


def size(bytes: float | None) -> str:
    """Return a number of bytes as people read it: ``312 B``, ``4.7 MB``; ``?`` when it is not known."""
    if bytes is None:
        return "?"
    for unit in ("B", "kB", "MB", "GB"):
        if bytes < 1_000:
            return f"{bytes:.0f} {unit}" if unit == "B" else f"{bytes:.1f} {unit}"
        bytes /= 1_000
    return f"{bytes:.1f} TB"


def _now_us() -> int:
    return time.time_ns() // 1_000


def _moment(us: int) -> str:
    from headrace.model.clock import iso  # here: other commands need none of it

    return iso(us)
