"""The tree of commands, and the one place where their errors become text and exit codes."""

from __future__ import annotations

import difflib
import importlib
import os
import sys
from collections.abc import Sequence
from typing import NamedTuple

import click

from headrace.errors import HeadraceError, ServerUnavailable, SettingError

from .exits import Code
from .session import Session


class Row(NamedTuple):
    """A command of the first level, known without loading its code."""

    place: str
    """``module:attribute``, below ``headrace.cli``."""
    help: str
    aliases: tuple[str, ...] = ()


TREE: dict[str, Row] = {
    "flow": Row("flow:group", "List flows.", ("flows",)),
    "flow-run": Row(
        "flow_run:group",
        "List, follow, explain, cancel, retry, suspend, resume and delete flow runs.",
        ("flow-runs",),
    ),
    "task-run": Row("task_run:group", "List and explain task runs.", ("task-runs",)),
    "deployment": Row(
        "deployment:group", "Run, view, pause and delete deployments, and their schedules.", ("deployments",)
    ),
    "deploy": Row("deploy:deploy", "Make deployments of flows, from headrace.yaml or from options."),
    "init": Row(
        "deploy:init", "Write a headrace.yaml for the flows of this folder, with comments to go on from."
    ),
    "work-pool": Row("work_pool:group", "Make, view, limit, pause and delete work pools.", ("work-pools",)),
    "work-queue": Row(
        "work_queue:group", "Make, view, limit, pause and delete work queues.", ("work-queues",)
    ),
    "worker": Row(
        "worker:group",
        "Start a worker: it carries out the runs of a work pool on this machine.",
        ("workers",),
    ),
    "server": Row("server:group", "Start, watch and stop a server on this machine."),
    "journal": Row(
        "journal:group", "Read and ship the journals that runs of this machine wrote.", ("journals",)
    ),
    "config": Row("config:group", "View and change settings."),
    "profile": Row("profile:group", "Keep several sets of settings and choose one.", ("profiles",)),
    "demo": Row(
        "demo:run", "Run real flows: one fails, one is killed, each is shown in the state it earned."
    ),
    "version": Row("version:version", "Show versions and where runs are recorded."),
}

_NAME_OF_ALIAS = {alias: name for name, row in TREE.items() for alias in row.aliases}


class LazyGroup(click.Group):
    """A group that knows its commands' names and sentences, and loads the code of the chosen one only."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  # the base class's signature
        """Return the names in the order of the table."""
        return list(TREE)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002  # as above
        """Load a command by its name or an alias."""
        row = TREE.get(_NAME_OF_ALIAS.get(cmd_name, cmd_name))
        return None if row is None else load(row)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As in the base class, with near names for a wrong one."""
        name = args[0]
        if not name.startswith("-") and _NAME_OF_ALIAS.get(name, name) not in TREE:
            near = difflib.get_close_matches(name, TREE, n=3)
            hint = f" Did you mean {' or '.join(near)}?" if near else " `headrace --help` lists all."
            raise click.UsageError(f"There is no command {name!r}.{hint}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002  # as above
        """Write the table of commands without loading any."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, row.help) for name, row in TREE.items()])


def load(row: Row) -> click.Command:
    """Return a row's command; a plain function becomes one."""
    module, attribute = row.place.split(":")
    found = getattr(importlib.import_module(f"headrace.cli.{module}"), attribute)
    return found if isinstance(found, click.Command) else click.Command(module, callback=found, help=row.help)


@click.command(
    cls=LazyGroup,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    epilog="Example: headrace flow-run ls --state failed --since 2h",
)
@click.option("--profile", metavar="NAME", help="Use this profile's settings for this one command.")
@click.option("--traceback", is_flag=True, help="Show Python's traceback of an error, for a bug report.")
@click.pass_context
def root(context: click.Context, profile: str | None, traceback: bool) -> None:
    """Headrace runs Python functions as flows and tells the truth about them."""
    session = Session(profile, show_tracebacks=traceback)
    context.obj = session
    context.call_on_close(session.close)


def run(arguments: Sequence[str] | None = None) -> int:
    """Carry out a command; return its exit code, with every error told on standard error."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    try:
        code = root.main(args=arguments, prog_name="headrace", standalone_mode=False)
        sys.stdout.flush()
        return int(code) if isinstance(code, int) else Code.OK
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        return Code.OK
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        click.echo("Interrupted.", err=True)
        return Code.INTERRUPTED
    except BrokenPipeError:
        # What is still buffered would raise again when the interpreter flushes at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return Code.PIPE_CLOSED
    except Exception as error:  # noqa: BLE001  # the outermost edge: a person gets a sentence, not a traceback
        return _tell(error, traceback="--traceback" in arguments)


def _tell(error: Exception, *, traceback: bool) -> int:
    if traceback:
        import traceback as printer  # here: rarely asked for

        printer.print_exception(error)
    click.echo(f"Error: {_sentence(error)}", err=True)
    if isinstance(error, ServerUnavailable):
        return Code.UNAVAILABLE
    return Code.USAGE if isinstance(error, SettingError) else Code.FAILED


def _sentence(error: Exception) -> str:
    if isinstance(error, HeadraceError):
        return str(error)
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.strerror}: {error.filename}. The home folder is set by HEADRACE_HOME."
    # By its name: the database's library is loaded only where one was opened.
    if (
        type(error).__module__.startswith("sqlalchemy")
        and (cause := getattr(error, "orig", None)) is not None
    ):
        why = " ".join(str(cause).split())
        return (
            f"The database cannot be used: {why}. It is named by HEADRACE_DATABASE_URL, otherwise it is headrace.db "
            "in the home folder."
        )
    return (
        f"this should not happen: {type(error).__name__}: {error}\n"
        "Run the same command as `headrace --traceback ...` and report what it prints."
    )
