"""``headrace deployment schedule``: when the runs of a deployment are planned."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

import click

from headrace.client import calls
from headrace.client.calls import Json
from headrace.errors import ScheduleError

from . import named, values
from .exits import Misuse, Refusal
from .output import (
    Cell,
    duration,
    heading,
    id_cell,
    local_time,
    output_option,
    printable,
    write_json,
    write_table,
)
from .session import current

_NAME = click.argument("name", metavar="FLOW/DEPLOYMENT")
_SCHEDULE = click.argument("schedule", metavar="[SCHEDULE]", required=False)


@click.group(name="schedule")
def group() -> None:
    """View, make, pause and delete the schedules of a deployment.

    SCHEDULE is an id, an end of one, or a slug; it can be left out where the deployment has one schedule only.
    """


@group.command(epilog="Example: headrace deployment schedule ls etl/nightly")
@_NAME
@output_option
def ls(name: str, output: str) -> None:
    """List the schedules of a deployment, with the next time of each."""
    found = named.deployment(current().connection, name)
    if output == "json":
        write_json(found["schedules"])
    else:
        write_schedules(found)


def write_schedules(deployment: Json) -> None:
    """Write the table of a deployment's schedules."""
    now = datetime.now(timezone.utc)
    write_table(
        ("SCHEDULE", "ACTIVE", "NEXT", "SLUG", "ID"),
        [
            (
                text_of(each["schedule"]),
                Cell("yes", "green") if each["active"] else Cell("no", "yellow"),
                local_time(_next(each, now)) if each["active"] and not deployment.get("paused") else "",
                each.get("slug") or "",
                id_cell(each["id"]),
            )
            for each in deployment["schedules"]
        ],
        empty=f"{named.full_name(deployment)} has no schedules. `headrace deployment schedule create` makes one.",
    )


def text_of(schedule: Json) -> str:
    """Return one line for a schedule: ``cron 0 6 * * * (Europe/Berlin)``, ``every 1 h``, ``rrule FREQ=DAILY``."""
    zone = schedule.get("timezone")
    where = f" ({zone})" if zone and zone != "UTC" else ""
    if "cron" in schedule:
        return f"cron {schedule['cron']}{where}"
    if "interval" in schedule:
        return f"every {_interval_text(schedule['interval'])}{where}"
    return f"rrule {schedule.get('rrule')}{where}"


def _interval_text(interval: Any) -> str:
    text = duration(interval) if isinstance(interval, (int, float)) else str(interval)
    return text.replace(".0 s", " s")  # nobody chose 3.0 seconds


def _next(schedule: Json, now: datetime) -> str | None:
    from headrace.model import schedules  # here: `deployment run` needs no calendar

    try:
        found = schedules.next_after(schedules.parse(schedule["schedule"], now=now), now)
    except ScheduleError:  # one of a newer server, perhaps: its times are that server's to tell
        return None
    return found.isoformat() if found is not None else None


@group.command(
    epilog="Example: headrace deployment schedule create etl/nightly --cron '0 6 * * *' --timezone Europe/Berlin"
)
@_NAME
@click.option("--cron", metavar="EXPRESSION", help="Times that a cron expression names.")
@click.option(
    "--interval", metavar="LENGTH", help="Times an interval apart: 90s, 1h30m, or a number of seconds."
)
@click.option("--rrule", metavar="RULE", help="Times of a recurrence rule (RFC 5545).")
@click.option("--anchor-date", metavar="TIME", help="What an interval counts from; otherwise now.")
@click.option(
    "--timezone", metavar="ZONE", help="The zone whose clock counts, such as Europe/Berlin; otherwise UTC."
)
@click.option(
    "--day-or/--no-day-or",
    "--day_or/--no-day_or",
    default=True,
    help="Whether one of a cron expression's two day fields is enough; yes is cron's own way.",
)
@click.option("--active/--no-active", default=True, help="Whether it plans runs from now on; it does.")
@click.option("--slug", metavar="NAME", help="A name that stays when the schedule is changed.")
@click.option(
    "--max-scheduled-runs", type=click.IntRange(1), metavar="N", help="The most runs to plan ahead."
)
@click.option(
    "-p", "--param", "parameters", multiple=True, metavar="KEY=VALUE", help="A parameter of its runs."
)
@click.option("--replace", is_flag=True, help="In place of the schedules that the deployment has.")
@click.option("-y", "--accept-yes", "--yes", "yes", is_flag=True, help="Do not ask.")
@output_option
def create(name: str, active: bool, replace: bool, yes: bool, output: str, **options: Any) -> None:
    """Add a schedule to a deployment."""
    now = datetime.now(timezone.utc)
    body: Json = {"schedule": _rule(options, now), "active": active}
    if options["slug"]:
        body["slug"] = options["slug"]
    if options["max_scheduled_runs"]:
        body["max_scheduled_runs"] = options["max_scheduled_runs"]
    if options["parameters"]:
        body["parameters"] = values.pairs(options["parameters"], "--param")
    connection = current().connection
    found = named.deployment(connection, name)
    if replace:
        _confirm(found, found["schedules"], "To be replaced", yes)
        calls.change_deployment(connection, found["id"], {"schedules": [body]})
        made = calls.deployment(connection, found["id"])["schedules"]
    else:
        made = calls.create_schedules(connection, found["id"], [body])
    if output == "json":
        write_json(made)
        return
    for each in made:
        # an interval counts from the server's now, which is later than when this command began
        when = (
            local_time(_next(each, datetime.now(timezone.utc)))
            if active and not found.get("paused")
            else "none"
        )
        click.echo(
            f"Made schedule {each['id']} of {printable(name)}: {text_of(each['schedule'])}, next run {when}."
        )
    if found.get("paused"):
        click.echo(
            f"{printable(name)} is paused. `headrace deployment resume {printable(name)}` lets it plan."
        )


def _rule(options: dict[str, Any], now: datetime) -> Json:
    """Return the contract's schedule that options ask for, read once to tell what is wrong with it."""
    from headrace.model import schedules  # as above

    kinds = [kind for kind in ("cron", "interval", "rrule") if options[kind] is not None]
    if len(kinds) != 1:
        raise Misuse("Say when, by one of --cron, --interval and --rrule.")
    rule: Json = {kinds[0]: options[kinds[0]]}
    if kinds[0] == "interval":
        rule["interval"] = _interval(options["interval"])
    given = {"anchor_date": "interval", "day_or": "cron"}
    if options["anchor_date"] is not None:
        rule["anchor_date"] = options["anchor_date"]
    if not options["day_or"]:
        rule["day_or"] = False
    strays = [field for field, kind in given.items() if field in rule and kind not in rule]
    if strays:
        option = "--" + strays[0].replace("_", "-")
        raise Misuse(f"{option} belongs to --{given[strays[0]]}; a schedule by --{kinds[0]} has none.")
    if options["timezone"] is not None:
        rule["timezone"] = options["timezone"]
    try:
        schedules.parse(rule, now=now)
    except ScheduleError as error:
        raise Misuse(str(error)) from error
    return rule


def _interval(text: str) -> float:
    try:
        length = values.length_of(text) or timedelta(seconds=float(text))
    except (ValueError, OverflowError) as error:
        raise click.BadParameter(
            f"{text!r} is no interval. Give one such as 90s, 1h30m, or a number of seconds.",
            param_hint="--interval",
        ) from error
    return length.total_seconds()


@group.command(epilog="Example: headrace deployment schedule pause etl/nightly")
@_NAME
@_SCHEDULE
@click.option("--all", "everything", is_flag=True, help="All its schedules.")
def pause(name: str, schedule: str | None, everything: bool) -> None:
    """Let a schedule plan no more runs; those that it had planned go."""
    _set_active(name, schedule, everything, active=False)


@group.command(epilog="Example: headrace deployment schedule resume etl/nightly")
@_NAME
@_SCHEDULE
@click.option("--all", "everything", is_flag=True, help="All its schedules.")
def resume(name: str, schedule: str | None, everything: bool) -> None:
    """Let a paused schedule plan runs again."""
    _set_active(name, schedule, everything, active=True)


def _set_active(name: str, schedule: str | None, everything: bool, *, active: bool) -> None:
    connection = current().connection
    found = named.deployment(connection, name)
    if everything and schedule is not None:
        raise Misuse("Give a schedule, or --all of them, not both.")
    if everything and not found["schedules"]:
        raise Refusal(f"{named.full_name(found)} has no schedules.")
    chosen = found["schedules"] if everything else [named.schedule(found, schedule)]
    word = "Resumed" if active else "Paused"
    for each in chosen:
        calls.change_schedule(connection, found["id"], each["id"], {"active": active})
        click.echo(f"{word} schedule {each['id']} of {printable(name)} ({text_of(each['schedule'])}).")
    if active and found.get("paused"):
        click.echo(
            f"{printable(name)} itself is paused. `headrace deployment resume {printable(name)}` lets it plan."
        )


@group.command(epilog="Example: headrace deployment schedule delete etl/nightly --yes")
@_NAME
@_SCHEDULE
@click.option("-y", "--accept-yes", "--yes", "yes", is_flag=True, help="Do not ask.")
def delete(name: str, schedule: str | None, yes: bool) -> None:
    """Delete a schedule; the runs that it had planned go with it."""
    connection = current().connection
    found = named.deployment(connection, name)
    _delete(found, [named.schedule(found, schedule)], yes)


@group.command(epilog="Example: headrace deployment schedule clear etl/nightly --yes")
@_NAME
@click.option("-y", "--accept-yes", "--yes", "yes", is_flag=True, help="Do not ask.")
def clear(name: str, yes: bool) -> None:
    """Delete all schedules of a deployment; the runs that they had planned go with them."""
    found = named.deployment(current().connection, name)
    if not found["schedules"]:
        click.echo(f"{printable(named.full_name(found))} has no schedules.")
        return
    _delete(found, found["schedules"], yes)


def _delete(deployment: Json, schedules: list[Json], yes: bool) -> None:
    _confirm(deployment, schedules, "To be deleted", yes)
    for each in schedules:
        calls.delete_schedule(current().connection, deployment["id"], each["id"])
        click.echo(f"Deleted schedule {each['id']} ({text_of(each['schedule'])}).")


def _confirm(deployment: Json, schedules: list[Json], what: str, yes: bool) -> None:
    if yes or not schedules:
        return
    heading(f"{what}, with the runs of {printable(named.full_name(deployment))} that were planned:")
    for each in schedules:
        click.echo(f"  {each['id']}  {text_of(each['schedule'])}")
    click.confirm("Go on?", abort=True)
