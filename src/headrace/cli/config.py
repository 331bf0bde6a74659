"""``headrace config``: view and change settings."""

from __future__ import annotations

import difflib
from typing import Any

import click

from headrace.settings import BY_NAME, TABLE, Setting, Settings, parse

from . import profiles_file
from .exits import Misuse
from .output import output_option, write_json, write_table
from .session import current

_MASK = "********"

_ELSEWHERE = {
    "home": "the profiles lie in the home folder; set the environment variable HEADRACE_HOME",
    "profile": "a profile cannot choose itself; use `headrace profile use NAME`",
}
"""Settings that no profile can hold, and what to do instead."""


@click.group(name="config")
def group() -> None:
    """View and change settings.

    A setting comes from HEADRACE_<NAME> in the environment, else from the profile in use, else from its default.
    """


@group.command(epilog="Example: headrace config view --all")
@click.option("--all", "every", is_flag=True, help="Also settings that have their default.")
@click.option("--show-secrets", is_flag=True, help="Show secrets as they are.")
@output_option
def view(every: bool, show_secrets: bool, output: str) -> None:
    """Show the settings in force and where each comes from."""
    settings = current().settings
    rows = [
        _row(setting, settings, show_secrets)
        for setting in TABLE
        if every or settings.source_of(setting.name) != "default"
    ]
    if output == "json":
        write_json(rows)
        return
    click.echo(f"Home folder {settings.home_path}, profile {_active(settings)}", err=True)
    write_table(
        ("NAME", "VALUE", "UNIT", "SOURCE", "MEANING") if every else ("NAME", "VALUE", "UNIT", "SOURCE"),
        [
            (
                row["name"],
                _as_text(row["value"]),
                row["unit"],
                row["source"],
                *([row["meaning"]] if every else []),
            )
            for row in rows
        ],
        empty="Every setting has its default. `headrace config view --all` lists them.",
    )


def _row(setting: Setting, settings: Settings, show_secrets: bool) -> dict[str, Any]:
    value = getattr(settings, setting.name)
    return {
        "name": setting.name,
        "value": masked(setting, value) if not show_secrets else value,
        "default": setting.default,
        "unit": setting.unit,
        "source": settings.source_of(setting.name),
        "meaning": setting.sentence,
    }


def masked(setting: Setting, value: Any) -> Any:
    """Return a setting's value, hidden when it is a secret that is set."""
    return _MASK if setting.secret and value else value


def _as_text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _active(settings: Settings) -> str:
    return str(settings.profile) or profiles_file.read(settings.home_path)[0]


@group.command(name="set", epilog="Example: headrace config set api_url=http://127.0.0.1:4200/api")
@click.argument("assignments", metavar="NAME=VALUE...", nargs=-1, required=True)
def set_(assignments: tuple[str, ...]) -> None:
    """Set values in the profile in use."""
    changes = dict(_assignment(text) for text in assignments)
    session = current()
    home = session.home
    chosen = session.profile_in_use()

    def edit(active: str, profiles: profiles_file.Profiles) -> str:
        profiles.setdefault(chosen, {}).update(changes)
        return active

    profiles_file.change(home, edit)
    for name, text in changes.items():
        click.echo(f"Set {name} = {masked(BY_NAME[name], text)} in the profile {chosen}.")
        _warn_if_overridden(name, session.environ)


def _assignment(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise Misuse(f"{text!r} sets nothing. Write NAME=VALUE, such as logging_level=DEBUG.")
    setting = setting_named(name)
    if setting.name in _ELSEWHERE:
        raise Misuse(f"{setting.name} cannot stand in a profile: {_ELSEWHERE[setting.name]}.")
    parse(setting, value, setting.name)
    return setting.name, value.strip()


@group.command(epilog="Example: headrace config unset api_url")
@click.argument("names", metavar="NAME...", nargs=-1, required=True)
def unset(names: tuple[str, ...]) -> None:
    """Remove values from the profile in use, so that their defaults hold."""
    wanted = [setting_named(name).name for name in names]
    session = current()
    chosen = session.profile_in_use()
    removed: set[str] = set()

    def edit(active: str, profiles: profiles_file.Profiles) -> str:
        held = profiles.setdefault(chosen, {})
        removed.update(name for name in wanted if held.pop(name, None) is not None)
        return active

    profiles_file.change(session.home, edit)
    for name in wanted:
        if name in removed:
            click.echo(f"Removed {name} from the profile {chosen}.")
        else:
            click.echo(f"{name} was not set in the profile {chosen}.")
        _warn_if_overridden(name, session.environ)


def _warn_if_overridden(name: str, environ: dict[str, str]) -> None:
    setting = BY_NAME[name]
    for variable in ("HEADRACE_" + name.upper(), setting.alias):
        if variable and environ.get(variable):
            click.echo(f"Note: {variable} is set in the environment and comes first.", err=True)
            return


def setting_named(text: str) -> Setting:
    """Return the setting that is meant by its name, its variable, or the variable of the field's older tools.

    Raises:
        Misuse: there is none; the message names near ones.
    """
    name = text.strip().lower().replace("-", "_").removeprefix("headrace_")
    for setting in TABLE:
        if setting.name == name or (setting.alias or "").lower() == name:
            return setting
    near = difflib.get_close_matches(name.removeprefix("prefect_"), BY_NAME, n=3)
    hint = f"Did you mean {' or '.join(near)}?" if near else "`headrace config view --all` lists them."
    raise Misuse(f"There is no setting {text.strip()!r}. {hint}")
