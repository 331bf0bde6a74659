"""Deployments as a project's file tells them: ``headrace.yaml``, or a ``prefect.yaml`` as it is."""

from __future__ import annotations

import difflib
import fnmatch
import os
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ..errors import DeploymentError, LoadError
from ..sources.steps import check
from .entrypoints import Code
from .runner import RunnerDeployment
from .storage import LocalStorage, refuse_secrets

Json = dict[str, Any]

FILES = ("headrace.yaml", "prefect.yaml")
"""The names of a project's file; the first one that is there counts."""

_TOP = ("name", "headrace-version", "prefect-version", "definitions", "build", "push", "pull", "deployments")
_KEYS = (
    "name", "entrypoint", "description", "version", "version_type", "tags", "parameters", "schedule", "schedules",
    "paused", "concurrency_limit", "crash_brake", "enforce_parameter_schema", "work_pool", "pull", "build", "push", "triggers", "sla",
    "flow_name",
)  # fmt: skip
_POOL_KEYS = ("name", "work_queue_name", "job_variables")
_LATER = {
    "build": "Images are not built here: container pools come later.",
    "push": "Images are not pushed from here: container pools come later.",
    "triggers": "Triggers come with automations, which this release does not have.",
    "sla": "There are no service levels here.",
    "flow_name": "The flow's name is the one in its code.",
}
_VARIABLE = re.compile(r"\{\{\s*\$(\w+)\s*\}\}")


@dataclass(frozen=True)
class Entry:
    """One deployment of a project, as its file has it."""

    values: Json
    """What stands below ``deployments``, and what the command line says over it."""
    pull: list[Json] | None = None
    """The steps that fetch its code, of its own or of the file's top."""

    @property
    def name(self) -> str | None:
        """Its name, if it has one."""
        return self.values.get("name")

    @property
    def entrypoint(self) -> str | None:
        """Its entrypoint, if it has one."""
        return self.values.get("entrypoint")

    @property
    def work_pool_name(self) -> str | None:
        """Its work pool's name, if it has one."""
        return (self.values.get("work_pool") or {}).get("name")

    def over(self, values: Json) -> Entry:
        """Return it with other values over its own; parameters, and what belongs to the work pool, are merged."""
        merged = {**self.values, **values}
        for name in ("parameters", "work_pool"):
            merged[name] = _merged(self.values.get(name), values.get(name))
        return replace(self, values={name: value for name, value in merged.items() if value != {}})


@dataclass(frozen=True)
class Project:
    """A folder of flows, and what its file says of their deployments."""

    folder: Path
    file: Path | None = None
    entries: list[Entry] = field(default_factory=list)
    pull: list[Json] | None = None

    def select(self, patterns: Iterable[str], flow_of: Callable[[Entry], str]) -> list[Entry]:
        """Return the entries that any of the patterns names: ``name``, ``flow/name``, each with ``*`` and ``?``.

        ``flow_of`` tells an entry's flow name; it is asked only where the rest of a pattern fits.

        Raises:
            DeploymentError: a pattern names none.
        """
        found: list[Entry] = []
        for pattern in patterns:
            flow, slash, name = pattern.rpartition("/")
            fits = [each for each in self.entries if fnmatch.fnmatchcase(each.name or "", name)]
            if slash:
                fits = [each for each in fits if fnmatch.fnmatchcase(flow_of(each), flow)]
            if not fits:
                raise DeploymentError(self._nothing(pattern))
            found += [each for each in fits if each not in found]
        return found

    def named(self, name: str) -> Entry | None:
        """Return the first entry of a name."""
        return next((each for each in self.entries if each.name == name), None)

    def _nothing(self, pattern: str) -> str:
        names = [each.name for each in self.entries if each.name]
        near = difflib.get_close_matches(pattern, names, n=2)
        hint = f" Did you mean {' or '.join(near)}?" if near else f" It has: {', '.join(names) or 'none'}."
        return f"{self.file or 'This folder'} has no deployment {pattern!r}.{hint}"


def _merged(own: Json | None, over: Json | None) -> Json:
    """Return a mapping over another; job variables are merged name by name."""
    own, over = own or {}, over or {}
    both = {**own, **over}
    if own.get("job_variables") and over.get("job_variables"):
        both["job_variables"] = {**own["job_variables"], **over["job_variables"]}
    return both


def find(folder: Path) -> Project:
    """Return the project in a folder, which may have no file at all; raises as :func:`read`."""
    for name in FILES:
        if (folder / name).is_file():
            return read(folder / name)
    return Project(folder)


def read(file: Path) -> Project:
    """Return the project of a file.

    Raises:
        DeploymentError: it cannot be read, or says something that has no meaning; the text says where.
    """
    document = _document(file)
    _refuse_unknown(document, _TOP, str(file))
    entries = document.get("deployments") or []
    if not isinstance(entries, list) or not all(isinstance(each, dict) for each in entries):
        raise DeploymentError(
            f"deployments in {file} is no list of deployments. `headrace init` writes an example."
        )
    pull = _steps(document.get("pull"), str(file))
    made = [
        _entry(each, pull, f"{file}, deployment {each.get('name') or number}")
        for number, each in enumerate(entries, 1)
    ]
    return Project(file.parent, file, made, pull)


def remarks(entries: Iterable[Entry]) -> list[str]:
    """Return what of the chosen entries has no effect here, a sentence each."""
    ignored = {name for each in entries for name in _LATER if each.values.get(name)}
    return [f"{name} is passed over. {why}" for name, why in _LATER.items() if name in ignored]


def deployment_of(entry: Entry, folder: Path) -> RunnerDeployment:
    """Return the deployment that an entry of a project in ``folder`` tells; its flow is loaded from there.

    Raises:
        DeploymentError: it says too little, or something that cannot be.
        LoadError: there is no such flow, or its code cannot be loaded.
        ParameterBindError, ParameterTypeError, ScheduleError: as for :meth:`Flow.to_deployment`.
    """
    from .fetching import flow_from

    if not entry.name or not entry.entrypoint:
        lacks = "name" if not entry.name else "entrypoint"
        raise DeploymentError(
            f"A deployment {entry.name or entry.entrypoint or ''!r} has no {lacks}. Give it one."
        )
    values = filled({name: value for name, value in entry.values.items() if name != "work_pool"}, entry.name)
    pool = entry.values.get("work_pool") or {}
    made = RunnerDeployment.from_flow(
        flow_from(LocalStorage(folder), values["entrypoint"]),
        values["name"],
        filled(pool.get("name"), entry.name),
        work_queue_name=filled(pool.get("work_queue_name"), entry.name),
        # What it refers to is looked up where a run starts: a secret is not to lie in the database.
        job_variables=pool.get("job_variables"),
        schedule=values.get("schedule") or None,  # an empty one stands in the files that others' init writes
        schedules=values.get("schedules"),
        **{name: values[name] for name in _PLAIN if values.get(name) is not None},
    )
    if entry.pull:
        made.code = Code(values["entrypoint"], None, entry.pull)
    return made


_PLAIN = (
    "parameters", "description", "tags", "version", "paused", "concurrency_limit", "crash_brake",
    "enforce_parameter_schema",
)  # fmt: skip


def filled(value: Any, whose: str) -> Any:
    """Return a value in which ``{{ $NAME }}`` is the environment variable's text, at any depth.

    Raises:
        DeploymentError: the variable is not set.
    """
    if isinstance(value, str):
        return _VARIABLE.sub(lambda found: _variable(found[1], whose), value)
    if isinstance(value, list):
        return [filled(each, whose) for each in value]
    if isinstance(value, dict):
        return {name: filled(each, whose) for name, each in value.items()}
    return value


def _variable(name: str, whose: str) -> str:
    try:
        return os.environ[name]
    except KeyError:
        raise DeploymentError(
            f"Deployment {whose} refers to the environment variable {name}, which is not set. Set it for this command."
        ) from None


def _document(file: Path) -> Json:
    import yaml  # here: only who has a file needs its parser

    try:
        document = yaml.safe_load(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise DeploymentError(f"{file} cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise DeploymentError(f"{file} is no text in UTF-8.") from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}, column {mark.column + 1}" if mark is not None else ""
        raise DeploymentError(
            f"{file}{where} is not YAML: {getattr(error, 'problem', None) or error}."
        ) from error
    if document is None:
        return {}
    if not isinstance(document, dict):
        raise DeploymentError(f"{file} holds no mapping. `headrace init` writes an example.")
    return document


def _entry(values: Json, pull: list[Json] | None, where: str) -> Entry:
    _refuse_unknown(values, _KEYS, where)
    pool = values.get("work_pool")
    if pool is not None and not isinstance(pool, dict):
        raise DeploymentError(f"work_pool in {where} is {pool!r}. Write `work_pool: {{name: ...}}`.")
    _refuse_unknown(pool or {}, _POOL_KEYS, f"work_pool of {where}")
    kept = {name: value for name, value in values.items() if value is not None and name != "pull"}
    return Entry(kept, _steps(values.get("pull"), where) or pull)


def _refuse_unknown(values: Mapping[str, Any], known: tuple[str, ...], where: str) -> None:
    for name in values:
        if name not in known:
            near = difflib.get_close_matches(str(name), known, n=1)
            hint = f"Did you mean {near[0]}?" if near else f"It may have: {', '.join(known)}."
            raise DeploymentError(f"{where} has {name!r}, which means nothing there. {hint}")


def _steps(steps: Any, where: str) -> list[Json] | None:
    if not steps:
        return None
    if not isinstance(steps, list):
        raise DeploymentError(f"pull in {where} is no list of steps.")
    for step in steps:
        if isinstance(step, dict):
            for name, inputs in step.items():
                refuse_secrets(inputs or {}, f"The pull step {name} in {where}")
    try:
        check(steps)
    except LoadError as error:
        raise DeploymentError(f"pull in {where}: {error}") from error
    return steps
