"""Runs git so that it never asks, never waits for ever and never shows a password."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit, urlunsplit

from ..errors import LoadError

TIMEOUT_S = 600.0
"""How long fetching one repository may take, in seconds."""

_OF_ANOTHER_REPOSITORY = (
    "GIT_DIR",
    "GIT_WORK_TREE",
    "GIT_INDEX_FILE",
    "GIT_OBJECT_DIRECTORY",
    "GIT_ALTERNATE_OBJECT_DIRECTORIES",
    "GIT_COMMON_DIR",
    "GIT_NAMESPACE",
    "GIT_PREFIX",
    "GIT_SHALLOW_FILE",
)
"""Set where a worker was started from a git hook; they would send our commands to that repository."""

# The shell's own printf writes to a pipe: the password is in the environment of git and in no command line.
# Git calls a helper also to keep or to forget a password; then this one does nothing.
_HELPER = (
    '!f() { if test "$1" = get; then '
    'printf "username=%s\\npassword=%s\\n" "$HEADRACE_GIT_USERNAME" "$HEADRACE_GIT_PASSWORD"; fi; }; f'
)


@dataclass(frozen=True)
class Credentials:
    """A user name and a password or token for a repository over HTTP."""

    username: str
    password: str = field(repr=False)

    @classmethod
    def of_token(cls, token: str, url: str) -> Credentials:
        """Return the credentials that a token means: ``user:password``, or a bare token with its host's user name."""
        username, colon, password = token.partition(":")
        if colon:
            return cls(username, password)
        host = urlsplit(url).hostname or ""
        names = {"gitlab": "oauth2", "bitbucket": "x-token-auth"}
        return cls(next((name for part, name in names.items() if part in host), "x-access-token"), token)

    def shapes(self) -> list[str]:
        """Return the texts in which the password could be shown."""
        both = b64encode(f"{self.username}:{self.password}".encode()).decode()
        secret = self.password or self.username  # some hosts take a token for the user name
        return [secret, quote(secret, safe=""), quote(secret), both]


def split_url(url: str, *, name_is_secret: bool = False) -> tuple[str, Credentials | None]:
    """Return a URL without the password in it, and the credentials that were in it.

    A user name alone stays, since hosts use it to tell who asks, unless with ``name_is_secret``: some are tokens.

    Raises:
        LoadError: it is no URL.
    """
    try:
        parts = urlsplit(url)
        _ = parts.port  # looked at when asked for: "https://me:a/b@host" has none that is a number
    except ValueError:  # neither the text nor the reason is told: both may hold a password
        raise LoadError(
            "The address of a repository cannot be read as a URL. In a password, characters like / @ # ? have to be "
            "percent-encoded."
        ) from None
    secret = parts.password is not None or (name_is_secret and parts.username is not None)
    if parts.scheme not in ("http", "https") or not secret:
        return url, None
    credentials = Credentials(unquote(parts.username or ""), unquote(parts.password or ""))
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2])), credentials


class GitFailed(Exception):
    """A git command failed; the text is git's last line, without secrets."""


class Git:
    """Git's commands for one repository: its environment, its deadline, its secrets."""

    def __init__(
        self,
        url: str,
        *,
        credentials: Credentials | None = None,
        timeout_s: float = TIMEOUT_S,
        environ: Mapping[str, str] | None = None,
    ) -> None:
        self.url = url
        self._secrets = [text for text in (credentials.shapes() if credentials else []) if text]
        self._environ = _environment(os.environ if environ is None else environ, url, credentials)
        self._timeout_s = timeout_s
        self.deadline = time.monotonic() + timeout_s

    def __call__(self, *arguments: str, cwd: Path, keep_open: Sequence[int] = ()) -> str:
        """Run a git command in a folder and return what it printed, stripped.

        ``keep_open`` are descriptors that live on in git: a lock held by them ends with the last of its users.

        Raises:
            GitFailed: git said no.
            LoadError: there is no git, or the time is over.
        """
        try:
            process = subprocess.Popen(
                ["git", *arguments],
                cwd=cwd,
                env=self._environ,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                pass_fds=keep_open,
                start_new_session=True,  # no terminal to ask at; and the whole group can be ended
            )
        except FileNotFoundError as error:
            raise LoadError(
                f"{self.shown(self.url)} needs git, and there is no `git` on this machine's PATH. Install it where "
                "the worker runs.",
                tried=self.shown(self.url),
            ) from error
        out, err = self._finish(process)
        if process.returncode != 0:
            raise GitFailed(self.shown(_last_line(err) or f"git ended with exit code {process.returncode}"))
        return out.decode(errors="replace").strip()

    def shown(self, text: str) -> str:
        """Return a text with every secret masked."""
        for secret in self._secrets:
            text = text.replace(secret, "***")
        return text

    def _finish(self, process: subprocess.Popen[bytes]) -> tuple[bytes, bytes]:
        try:
            return process.communicate(timeout=max(self.deadline - time.monotonic(), 0.0))
        except subprocess.TimeoutExpired as error:
            raise LoadError(
                f"Getting {self.shown(self.url)} took longer than {self._timeout_s:g} s and was given up. Is its host "
                "reachable from where the worker runs?",
                tried=self.shown(self.url),
            ) from error
        finally:  # also when the run is told to end meanwhile
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.communicate()


def _environment(environ: Mapping[str, str], url: str, credentials: Credentials | None) -> dict[str, str]:
    made = {name: value for name, value in environ.items() if name not in _OF_ANOTHER_REPOSITORY}
    made.update(GIT_TERMINAL_PROMPT="0", SSH_ASKPASS_REQUIRE="never", GIT_OPTIONAL_LOCKS="0")
    settings = [("gc.auto", "0"), ("maintenance.auto", "false"), ("advice.detachedHead", "false")]
    if credentials is None:
        made.setdefault("GIT_ASKPASS", "")  # a program that the user chose may stay; a window must not open
    else:
        parts = urlsplit(url)
        place = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
        # An empty helper forgets those of the user's own configuration: none of them gets to keep the password.
        settings += [("credential.helper", ""), (f"credential.{place}.helper", _HELPER)]
        made.update(GIT_ASKPASS="", HEADRACE_GIT_USERNAME=credentials.username)
        made["HEADRACE_GIT_PASSWORD"] = credentials.password
    _add_settings(made, settings)
    return made


def _add_settings(environ: dict[str, str], settings: list[tuple[str, str]]) -> None:
    """Add settings for git to those that the environment has already."""
    given = environ.get("GIT_CONFIG_COUNT", "0")
    first = int(given) if given.isdigit() else 0
    for index, (name, value) in enumerate(settings, start=first):
        environ[f"GIT_CONFIG_KEY_{index}"] = name
        environ[f"GIT_CONFIG_VALUE_{index}"] = value
    environ["GIT_CONFIG_COUNT"] = str(first + len(settings))


def _last_line(text: bytes) -> str:
    lines = [line.strip() for line in text.decode(errors="replace").splitlines()]
    return next((line for line in reversed(lines) if line), "")
