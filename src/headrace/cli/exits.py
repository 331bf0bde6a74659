"""What a command's exit code says, and the errors that end a command."""

from __future__ import annotations

from enum import IntEnum

import click


class Code(IntEnum):
    """The exit codes of every command."""

    OK = 0
    FAILED = 1
    USAGE = 2
    UNAVAILABLE = 3
    CRASHED = 4
    CANCELLED = 5
    INTERRUPTED = 130
    PIPE_CLOSED = 141


MEANINGS: dict[Code, str] = {
    Code.OK: "It was done. For `flow-run watch` and `deployment run --watch`: the run ended as Completed.",
    Code.FAILED: "It could not be done: not found, refused, or an error. For those two: the run ended as Failed.",
    Code.USAGE: "The command or a setting is not understood: nothing was done.",
    Code.UNAVAILABLE: "The server gave no answer.",
    Code.CRASHED: "For those two: the run ended as Crashed.",
    Code.CANCELLED: "For those two: the run ended as Cancelled.",
    Code.INTERRUPTED: "Ctrl-C ended the command.",
    Code.PIPE_CLOSED: "Whoever read the output closed it, as `head` does.",
}
"""One sentence for each code; ``docs/reference/cli.md`` is made from it."""

OF_STATE: dict[str, Code] = {
    "COMPLETED": Code.OK,
    "FAILED": Code.FAILED,
    "CRASHED": Code.CRASHED,
    "CANCELLED": Code.CANCELLED,
}
"""The exit code of a command that waits for a run, by the type of its last state."""


class Refusal(click.ClickException):
    """A command cannot do what was asked; the text says why and what to do next."""

    exit_code = Code.FAILED


class Misuse(click.ClickException):
    """A command was asked in a way that has no meaning."""

    exit_code = Code.USAGE
