"""``headrace profile``: keep several sets of settings and choose one."""

from __future__ import annotations

import re

import click

from headrace.settings import BY_NAME

from . import profiles_file
from .config import masked
from .exits import Misuse, Refusal
from .output import output_option, write_json, write_table
from .session import current


@click.group(name="profile")
def group() -> None:
    """Keep several sets of settings and choose one."""


@group.command(epilog="Example: headrace profile ls")
@output_option
def ls(output: str) -> None:
    """List the profiles; the one in use is marked."""
    session = current()
    profiles = profiles_file.read(session.home)[1]
    in_use = session.profile_in_use()
    if output == "json":
        write_json([{"name": name, "active": name == in_use} for name in sorted(profiles)])
        return
    write_table(
        ("NAME", "IN USE", "SETTINGS"),
        [
            (name, "yes" if name == in_use else "", ", ".join(sorted(held)))
            for name, held in sorted(profiles.items())
        ],
        empty="No profiles.",
    )


@group.command(epilog="Example: headrace profile create staging --from default")
@click.argument("name")
@click.option("--from", "source", metavar="PROFILE", help="Begin with a copy of this profile.")
def create(name: str, source: str | None) -> None:
    """Make a profile; `headrace profile use` chooses it."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", name):
        raise Misuse(f"{name!r} is no name for a profile. Use letters, digits, '-', '_' and '.'.")

    def edit(active: str, profiles: profiles_file.Profiles) -> str:
        if name in profiles:
            raise Refusal(f"The profile {name} is there already.")
        profiles[name] = dict(_held(profiles, source)) if source is not None else {}
        return active

    profiles_file.change(current().home, edit)
    click.echo(f"Made the profile {name}. Use it with: headrace profile use {name}")


@group.command(epilog="Example: headrace profile use staging")
@click.argument("name")
def use(name: str) -> None:
    """Choose the profile whose settings are used from now on."""

    def edit(_: str, profiles: profiles_file.Profiles) -> str:
        _held(profiles, name)
        return name

    session = current()
    profiles_file.change(session.home, edit)
    click.echo(f"The profile {name} is in use now.")
    if session.environ.get("HEADRACE_PROFILE", name) != name:
        click.echo("Note: HEADRACE_PROFILE is set in the environment and comes first.", err=True)


@group.command(epilog="Example: headrace profile inspect staging")
@click.argument("name", required=False)
@click.option("--show-secrets", is_flag=True, help="Show secrets as they are.")
@output_option
def inspect(name: str | None, show_secrets: bool, output: str) -> None:
    """Show what a profile sets; without a name, the one in use."""
    session = current()
    name = name or session.profile_in_use()
    held = _held(profiles_file.read(session.home)[1], name)
    shown = {
        key: text if show_secrets or key not in BY_NAME else masked(BY_NAME[key], text)
        for key, text in sorted(held.items())
    }
    if output == "json":
        write_json({"name": name, "settings": shown})
        return
    write_table(
        ("NAME", "VALUE"),
        [(key if key in BY_NAME else f"{key} (unknown, not used)", text) for key, text in shown.items()],
        empty=f"The profile {name} sets nothing.",
    )


def _held(profiles: profiles_file.Profiles, name: str) -> dict[str, str]:
    if name not in profiles:
        raise Refusal(f"There is no profile {name!r}. There are: {', '.join(sorted(profiles))}.")
    return profiles[name]
