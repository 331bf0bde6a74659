"""What one call of the command line shares: its settings and its connection, each made when first needed."""

from __future__ import annotations

import os
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import click

from headrace.settings import BY_NAME, Settings, load

from . import profiles_file

if TYPE_CHECKING:
    from headrace.client.connection import Connection


class Session:
    """The settings and the connection of one command."""

    def __init__(self, profile: str | None = None, *, show_tracebacks: bool = False) -> None:
        self.show_tracebacks = show_tracebacks
        self._profile = profile
        self._connection: Connection | None = None

    @property
    def environ(self) -> dict[str, str]:
        """The environment as this command sees it: with the profile that was chosen for it."""
        return {**os.environ, **({"HEADRACE_PROFILE": self._profile} if self._profile else {})}

    @cached_property
    def settings(self) -> Settings:
        """The settings in force; a value that cannot be read raises ``SettingError``."""
        return load(self.environ)

    @property
    def home(self) -> Path:
        """The home folder, known even while some setting cannot be read: that is where it is corrected."""
        return Path(self.environ.get("HEADRACE_HOME") or BY_NAME["home"].default).expanduser().absolute()

    def profile_in_use(self) -> str:
        """Return the name of the profile that is read: the one asked for, else the one chosen, else ``default``."""
        return self.environ.get("HEADRACE_PROFILE", "").strip() or profiles_file.read(self.home)[0]

    @property
    def connection(self) -> Connection:
        """A connection to wherever runs are recorded; journals left behind on this host are shipped first."""
        if self._connection is None:
            from headrace.connect import connect  # here: HTTP costs 100 ms that `--help` must not pay

            from .left_behind import recover_first

            recover_first(self.settings)
            self._connection = connect(self.settings)
        return self._connection

    def look_again(self) -> None:
        """Ship journals that were left behind since the last look; for commands that go on for long."""
        from .left_behind import recover_first  # as above

        recover_first(self.settings)

    def close(self) -> None:
        """Give the connection back."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def current() -> Session:
    """Return the session of the command that is being carried out."""
    session = click.get_current_context().find_object(Session)
    assert session is not None
    return session
