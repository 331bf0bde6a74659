"""Every setting once: name, type, default, unit and what it is for.

A setting is read from ``HEADRACE_<NAME>``, then from ``PREFECT_<NAME>`` where users have one, then from
the profile in use (``profiles.toml`` in the home folder), then its default. :func:`load` reads them all
once at the edge of a process; what it returns is passed on as a value.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from .errors import SettingError


class Size(int):
    """A number of bytes, written as people do: ``10 GB``, ``512 MiB``, ``1.5 TB``, or a plain number."""

    def __new__(cls, written: str | int = 0) -> Size:
        """Read it; ``ValueError`` when it is none."""
        if isinstance(written, int):
            return super().__new__(cls, written)
        text = written.strip().lower()
        unit, factor = next(
            ((unit, factor) for unit, factor in _UNITS.items() if text.endswith(unit)), ("", 1)
        )
        number = float(text.removesuffix(unit)) * factor
        if not 0 <= number < 1e18:
            raise ValueError("not a size")
        return super().__new__(cls, number)


_UNITS = {
    "kib": 1_024, "mib": 1_024**2, "gib": 1_024**3, "tib": 1_024**4,
    "kb": 1_000, "mb": 1_000**2, "gb": 1_000**3, "tb": 1_000**4, "b": 1,
}  # fmt: skip


class Setting(NamedTuple):
    """One row of the table of settings."""

    name: str
    """Its attribute; the environment variable is ``HEADRACE_`` and the name in capitals."""
    type: type
    default: Any
    unit: str
    """``seconds``, ``bytes``, ``count``, or empty."""
    sentence: str
    alias: str | None = None
    """A name of the field's older tools that is read when ours is not set."""
    secret: bool = False


# A table reads best with a row a line.
# fmt: off
TABLE: tuple[Setting, ...] = (
    Setting("home", str, "~/.headrace", "", "The folder that holds the database, journals, profiles and addresses."),
    Setting("profile", str, "", "", "The profile whose settings are used; empty: the one chosen with `profile use`."),
    Setting("api_url", str, "", "", "Base URL of a server, with /api; empty: a local server, else the home folder's database.", "PREFECT_API_URL"),
    Setting("api_auth_string", str, "", "", "user:password sent to the server as basic authentication.", "PREFECT_API_AUTH_STRING", True),
    Setting("api_key", str, "", "", "A key sent to the server as a bearer token.", "PREFECT_API_KEY", True),
    Setting("api_request_timeout", float, 60.0, "seconds", "How long one HTTP request may take.", "PREFECT_API_REQUEST_TIMEOUT"),
    Setting("client_max_retries", int, 5, "count", "How often a request is tried again after a passing fault.", "PREFECT_CLIENT_MAX_RETRIES"),
    Setting("record", bool, True, "", "Whether runs are recorded; without it no process is started and nothing is written."),
    Setting("wait_for_shipping", float, -1.0, "seconds", "How long a script's exit waits until its journal is on the server; -1: only where its companion would die with it, then 30."),
    Setting("ship_patience", float, 3600.0, "seconds", "How long a companion goes on trying to ship the journal of a script that has ended."),
    Setting("spool_limit", int, 1_000_000_000, "bytes", "How large one journal may grow before debug logs, then logs, are left out."),
    Setting("journals_keep", int, 7, "days", "How long shipped journals are kept on this host."),
    Setting("grace_seconds", float, 10.0, "seconds", "How long a run may take to end after it was told to, before it is killed."),
    Setting("logging_level", str, "INFO", "", "The lowest level of log records that are recorded and shown.", "PREFECT_LOGGING_LEVEL"),
    Setting("logging_extra_loggers", str, "", "", "Names of loggers, separated by commas, whose records belong to the run's log too.", "PREFECT_LOGGING_EXTRA_LOGGERS"),
    Setting("logging_console", bool, True, "", "Whether run logs are also written to standard error."),
    Setting("logging_log_prints", bool, False, "", "Whether print() in flows and tasks is logged unless they say otherwise.", "PREFECT_LOGGING_LOG_PRINTS"),
    Setting("progress", bool, True, "", "Whether a long flow shows its progress at a terminal."),
    Setting("flow_default_retries", int, 0, "count", "Retries of a flow that sets none.", "PREFECT_FLOWS_DEFAULT_RETRIES"),
    Setting("flow_default_retry_delay_seconds", float, 0.0, "seconds", "Delay before a retry of a flow that sets none.", "PREFECT_FLOWS_DEFAULT_RETRY_DELAY_SECONDS"),
    Setting("task_default_retries", int, 0, "count", "Retries of a task that sets none.", "PREFECT_TASKS_DEFAULT_RETRIES"),
    Setting("task_default_retry_delay_seconds", float, 0.0, "seconds", "Delay before a retry of a task that sets none.", "PREFECT_TASKS_DEFAULT_RETRY_DELAY_SECONDS"),
    Setting("server_host", str, "127.0.0.1", "", "The address on which a server listens.", "PREFECT_SERVER_API_HOST"),
    Setting("server_port", int, 4200, "", "The port on which a server listens.", "PREFECT_SERVER_API_PORT"),
    Setting("server_auth_string", str, "", "", "user:password that the server asks of its clients.", "PREFECT_SERVER_API_AUTH_STRING", True),
    Setting("server_lease_seconds", float, 30.0, "seconds", "How long a run may show no sign of life before it is presumed lost."),
    Setting("scheduler_horizon_seconds", float, 3600.0, "seconds", "How far ahead runs of schedules are planned: all times up to then, at least 3, at most 100 a schedule."),
    Setting("scheduler_catchup", str, "latest", "", "Which runs are made up for when no server was up at their time: none, latest (one a schedule) or all."),
    Setting("late_after_seconds", float, 15.0, "seconds", "How long after its time a run that nobody took is Late.", "PREFECT_SERVER_SERVICES_LATE_RUNS_AFTER_SECONDS"),
    Setting("retention_runs_days", float, 90.0, "days", "How long flow runs are kept after they have ended, with their task runs and logs; 0: for ever."),
    Setting("retention_logs_days", float, 30.0, "days", "How long lines of logs are kept; 0: as long as their runs."),
    Setting("retention_events_days", float, 7.0, "days", "How long events are kept; 0: as long as their runs, or for ever."),
    Setting("retention_runs_size", Size, Size(), "", "How much room flow runs and task runs may take before the oldest of those that have ended go, as 10 GB; 0: as much as they need."),
    Setting("retention_logs_size", Size, Size(), "", "How much room lines of logs may take before the oldest go; 0: as much as they need."),
    Setting("retention_events_size", Size, Size(), "", "How much room events may take before the oldest go; 0: as much as they need."),
    Setting("server_workers", int, 1, "count", "How many processes of a server share its port; more than one needs PostgreSQL."),
    Setting("server_drain_seconds", float, 0.0, "seconds", "How long a server that was told to end goes on while /api/ready says that it ends, so that a load balancer sends nobody new."),
    Setting("server_notify", bool, True, "", "Whether servers on one PostgreSQL wake each other's polls at once (LISTEN); without it they look every second or two."),
    Setting("server_body_limit", int, 32_000_000, "bytes", "The largest request body that is taken."),
    Setting("worker_webserver_host", str, "127.0.0.1", "", "The address on which a worker's health endpoint listens.", "PREFECT_WORKER_WEBSERVER_HOST"),
    Setting("worker_webserver_port", int, 8080, "", "The port on which a worker's health endpoint listens; 0: a free one.", "PREFECT_WORKER_WEBSERVER_PORT"),
    Setting("database_connections", int, 24, "count", "How many connections a server process opens to PostgreSQL at most, beside one that listens: a third of them to write, the others to read; 6 at least."),
    Setting("database_url", str, "", "", "SQLAlchemy URL of the server's database; empty: SQLite in the home folder.", "PREFECT_API_DATABASE_CONNECTION_URL", True),
)
# fmt: on

BY_NAME: dict[str, Setting] = {setting.name: setting for setting in TABLE}

_TRUE = {"1", "true", "yes", "on", "t", "y"}
_FALSE = {"0", "false", "no", "off", "f", "n", ""}


class Settings:
    """The settings of one process, as attributes; ``source_of(name)`` says where each came from."""

    def __init__(self, values: Mapping[str, Any], sources: Mapping[str, str] | None = None) -> None:
        self._values = dict(values)
        self._sources = dict(sources or {})

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):  # a copy that is being unpickled has no values yet
            raise AttributeError(name)
        try:
            return self._values[name]
        except KeyError:
            raise AttributeError(
                f"There is no setting {name!r}. `headrace config view --all` lists them."
            ) from None

    def source_of(self, name: str) -> str:
        """Return ``default``, ``profile`` or the name of the environment variable."""
        return self._sources.get(name, "default")

    def replace(self, **values: Any) -> Settings:
        """Return a copy with some values changed; unknown names raise :class:`SettingError`."""
        for name in values:
            if name not in BY_NAME:
                raise SettingError(f"There is no setting {name!r}.")
        return Settings({**self._values, **values}, {**self._sources, **dict.fromkeys(values, "code")})

    def environment(self) -> dict[str, str]:
        """Return the variables by which another process has these settings, wherever they were said here."""
        said = {name: text for name, text in self._values.items() if self.source_of(name) != "default"}
        said["home"] = self.home_path
        return {f"HEADRACE_{name.upper()}": str(value) for name, value in said.items()}

    @property
    def home_path(self) -> Path:
        """The home folder, absolute."""
        return Path(self._values["home"]).expanduser().absolute()


KINDS: dict[type, str] = {
    str: "text", bool: "true or false", int: "a whole number", float: "a number", Size: "a size such as 10 GB",
}  # fmt: skip
"""What a setting of a type takes, in words."""


def parse(setting: Setting, text: str, where: str) -> Any:
    """Return the value that ``text`` means for a setting.

    Raises:
        SettingError: it means none; the message names ``where`` it was found.
    """
    try:
        if setting.type is bool:
            word = text.strip().lower()
            if word not in _TRUE and word not in _FALSE:
                raise ValueError("expected true or false")
            return word in _TRUE
        value = setting.type(text.strip())
        if value != value:
            raise ValueError("not a number")
    except ValueError as error:
        kind = KINDS[setting.type]
        raise SettingError(
            f"{where} is {text!r}, but {setting.name} takes {kind}. Correct or unset it."
        ) from error
    if setting.name == "logging_level":
        value = value.upper()
    allowed = _CHOICES.get(setting.name)
    if allowed is not None and value not in allowed:
        raise SettingError(f"{where} is {text!r}, but {setting.name} takes one of {', '.join(allowed)}.")
    return value


LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")

_CHOICES = {"logging_level": LEVELS, "scheduler_catchup": ("none", "latest", "all")}


def load(environ: Mapping[str, str] | None = None) -> Settings:
    """Read every setting from the environment and the profile in use.

    Raises:
        SettingError: a value cannot be read; the message names the variable or the key.
    """
    environ = os.environ if environ is None else environ
    values = {setting.name: setting.default for setting in TABLE}
    sources: dict[str, str] = {}
    home = environ.get("HEADRACE_HOME") or values["home"]
    values["home"] = home
    for name, text in _profile_values(Path(home).expanduser(), environ).items():
        setting = BY_NAME.get(name)
        if setting is not None:
            values[name], sources[name] = parse(setting, text, f"{name} in the profile"), "profile"
    for setting in TABLE:
        for variable in ("HEADRACE_" + setting.name.upper(), setting.alias):
            found = environ.get(variable) if variable else None
            # Empty means "unset", but for texts that may be empty: there it overrides the profile.
            if variable and found is not None and (found != "" or setting.default == ""):
                values[setting.name], sources[setting.name] = parse(setting, found, variable), variable
                break
    return Settings(values, sources)


def _profile_values(home: Path, environ: Mapping[str, str]) -> dict[str, str]:
    path = home / "profiles.toml"
    asked = environ.get("HEADRACE_PROFILE", "").strip()
    if not path.exists():  # the common case costs one stat, and no TOML parser is loaded
        if asked in ("", "default"):
            return {}
        raise SettingError(
            f"HEADRACE_PROFILE is {asked!r}, but there is no {path}. Make the profile with "
            f"`headrace profile create {asked}`, or unset HEADRACE_PROFILE."
        )
    active, profiles = read_profiles(path)
    chosen = asked or active
    if chosen not in profiles:
        raise SettingError(
            f"The profile {chosen!r} is not in {path}. Choose one of {', '.join(sorted(profiles)) or 'none'} "
            "with `headrace profile use`, or unset HEADRACE_PROFILE."
        )
    return profiles[chosen]


def read_profiles(path: Path) -> tuple[str, dict[str, dict[str, str]]]:
    """Return the active profile's name and ``{profile: {setting: text}}`` of a ``profiles.toml``.

    Raises:
        SettingError: the file is not TOML.
    """
    import sys  # here, so that a process without profiles loads no parser

    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingError(f"{path} cannot be read as TOML: {error}. Correct it or move it away.") from error
    tables = data.get("profiles", {})
    if not isinstance(tables, dict):
        raise SettingError(f"{path} holds no table [profiles.NAME]. Correct it or move it away.")
    profiles = {
        name: {str(key): _as_text(value) for key, value in table.items()}
        for name, table in tables.items()
        if isinstance(table, dict)
    }
    profiles.setdefault("default", {})
    return str(data.get("active", "default")), profiles


def _as_text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
