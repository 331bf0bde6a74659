"""Write the reference of commands and settings from the commands and settings themselves.

``python -m headrace.cli.reference docs/reference`` writes both pages; a test compares them with the code.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import click

from headrace.settings import KINDS, TABLE, Setting

from .app import TREE, load, root
from .exits import MEANINGS


def commands_page() -> str:
    """Return the page on every command, in Markdown."""
    lines = [
        "# Commands",
        "",
        "Made from the command tree by `python -m headrace.cli.reference docs/reference`; do not edit by hand.",
        "",
        "Every command that shows things takes `-o json` and then prints the REST contract's field names (`id`, `name`,",
        "`state_type`, `state_name`, `state.message`, ..., and `flow_name` beside `flow_id`). Errors and remarks go to",
        "standard error, so standard output holds the answer alone. Colours appear on a terminal only, and nothing is cut",
        "when the output goes elsewhere.",
        "",
        "A flow run or task run is given by its id, by the first or last characters of it (at least four), or by its name.",
        "Where that fits several runs, the command lists them and does nothing. Plural group names (`flow-runs`) work too.",
        "",
        "Without a server, commands read the home folder's database. They first ship the journals that processes which are",
        "gone left behind on this host, so a killed run is shown as Crashed.",
        "",
        "## Exit codes",
        "",
        "| code | meaning |",
        "| --- | --- |",
        *(f"| {int(code)} | {meaning} |" for code, meaning in MEANINGS.items()),
        "",
        "## headrace",
        "",
        *_body(root, click.Context(root, info_name="headrace")),
    ]
    for name, row in TREE.items():
        lines += _section(load(row), f"headrace {name}", row.aliases)
    return "\n".join(lines).rstrip() + "\n"


def _section(command: click.Command, path: str, aliases: tuple[str, ...] = ()) -> Iterator[str]:
    context = click.Context(command, info_name=path)
    yield f"## {path}"
    yield ""
    if aliases:
        yield f"Also: {', '.join(f'`headrace {alias}`' for alias in aliases)}."
        yield ""
    yield from _body(command, context)
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            child = command.get_command(context, name)
            assert child is not None
            yield from _section(child, f"{path} {name}")


def _body(command: click.Command, context: click.Context) -> Iterator[str]:
    yield _paragraphs(command.help or "")
    yield ""
    yield f"    {context.command_path} {' '.join(command.collect_usage_pieces(context))}"
    yield ""
    options = [p.get_help_record(context) for p in command.params if isinstance(p, click.Option)]
    if options:
        yield "| option | meaning |"
        yield "| --- | --- |"
        for names, meaning in filter(None, options):
            yield f"| `{_cell(names)}` | {_cell(meaning)} |"
        yield ""
    if command.epilog:
        yield "Example: `" + command.epilog.removeprefix("Example: ") + "`"
        yield ""


def _paragraphs(text: str) -> str:
    import inspect  # only here, and only when the pages are made

    return inspect.cleandoc(text)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def settings_page() -> str:
    """Return the page on every setting, in Markdown."""
    lines = [
        "# Settings",
        "",
        "Made from the table of settings by `python -m headrace.cli.reference docs/reference`; do not edit by hand.",
        "",
        "A setting is read from its environment variable, else from the older name that some users have in place, else",
        "from the profile in use (`headrace config set NAME=VALUE` writes it), else from its default. `headrace config view",
        "--all` shows what is in force and where it comes from.",
    ]
    for setting in TABLE:
        lines += ["", *_setting(setting)]
    return "\n".join(lines) + "\n"


def _setting(setting: Setting) -> Iterator[str]:
    yield f"## {setting.name}"
    yield ""
    yield setting.sentence
    yield ""
    unit = f", in {setting.unit}" if setting.unit in ("seconds", "bytes", "days") else ""
    kind = KINDS[setting.type]
    yield f"* environment: `HEADRACE_{setting.name.upper()}`" + (
        f", or `{setting.alias}`" if setting.alias else ""
    )
    yield f"* value: {kind}{unit}" + ("; kept secret in views" if setting.secret else "")
    default = str(setting.default).lower() if isinstance(setting.default, bool) else str(setting.default)
    yield f"* default: `{default}`" if default else "* default: empty"


PAGES = {"cli.md": commands_page, "settings.md": settings_page}
"""The pages by their file's name in ``docs/reference``."""


def write(folder: Path) -> None:
    """Write every page into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, make in PAGES.items():
        (folder / name).write_text(make(), encoding="utf-8")


if __name__ == "__main__":
    write(Path(sys.argv[1]))
