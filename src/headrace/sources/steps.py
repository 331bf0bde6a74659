"""Carries out a deployment's pull steps, which bring its code to where a run can load it.

A step is a dict with one key, the step's name, and its inputs; ``id`` names its output for later steps,
``requires`` is taken and not needed.
"""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import os
import shutil
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import LoadError
from ..model.orders import Json
from . import commands
from .git import TIMEOUT_S, Credentials, split_url
from .repository import Repository, clone
from .templates import Template, is_reference

_PREFIXES = (
    "headrace.deployments.steps.",
    "prefect.deployments.steps.",
    "prefect.deployments.steps.pull.",
    "prefect.deployments.steps.utility.",
)

_NOT_HERE = {
    "pull_from_remote_storage": "Remote storage is not read yet; fetch the files with run_shell_script.",
    "pull_with_block": "There are no blocks; use git_clone, or run_shell_script.",
}


@dataclass
class Scene:
    """What steps share: where they work, what they refer to, what they tell."""

    folder: Path
    """Where a relative path begins; ``set_working_directory`` moves it."""
    mirrors: Path
    """The folder of the copies of repositories that all runs share."""
    environ: Mapping[str, str]
    say: Callable[[str], None]
    timeout_s: float
    template: Template = field(init=False)
    code: Path | None = None
    """The folder that the last step which gives one gave."""

    def __post_init__(self) -> None:
        self.template = Template(self.environ)

    def path(self, directory: str | None) -> Path:
        """Return a folder that a step names.

        Raises:
            LoadError: there is none.
        """
        path = self.folder if directory is None else (self.folder / Path(directory).expanduser()).resolve()
        if not path.is_dir():
            raise LoadError(f"There is no folder {path}.", tried=str(path))
        return path


def run_steps(
    steps: list[Json],
    folder: Path,
    *,
    mirrors: Path,
    environ: Mapping[str, str] | None = None,
    say: Callable[[str], None] = lambda _: None,
    timeout_s: float = TIMEOUT_S,
) -> Path:
    """Carry out steps one after the other, beginning in ``folder``, and return the folder of the code.

    That is the last ``directory`` that a step gave, else ``folder``. ``say`` is told a line for each step, without
    secrets; ``timeout_s`` is for each repository. ``environ`` (the process's own, if ``None``) is what references
    are looked up in and what commands get.

    Raises:
        LoadError: a step is unknown, has wrong inputs or fails; the message names it.
    """
    scene = Scene(folder.resolve(), mirrors, os.environ if environ is None else environ, say, timeout_s)
    for number, step in enumerate(steps, start=1):
        name, inputs = _open(step, number)
        output = _carry_out(name, inputs, scene)
        if "directory" in output:
            scene.code = Path(output["directory"])
        scene.template.add(output, inputs.get("id"))
    return scene.code or scene.folder


def check(steps: list[Json]) -> None:
    """Refuse steps that could not be carried out, before a run has to find out.

    Raises:
        LoadError: a step is unknown, has wrong inputs, or holds a secret in clear; the message names it.
    """
    for number, step in enumerate(steps, start=1):
        _inputs_of(*_open(step, number))


def _open(step: Json, number: int) -> tuple[str, Json]:
    """Return a step's name, without its module, and its inputs."""
    if not isinstance(step, dict) or len(step) != 1:
        raise LoadError(f"Pull step {number} is no dict with one key, the step's name: {_outline(step)}.")
    name, inputs = next(iter(step.items()))
    if inputs is not None and not isinstance(inputs, dict):
        raise LoadError(f"Pull step {number}, {name}, needs a dict of inputs, not {type(inputs).__name__}.")
    prefix, dot, short = name.rpartition(".")
    if prefix + dot not in _PREFIXES or short not in _STEPS:
        raise LoadError(_unknown(name, short), tried=name)
    return short, inputs or {}


def _outline(step: object) -> str:
    """Show a step's shape and none of its values, which may be secret."""
    return (
        f"it has {', '.join(map(str, step)) or 'no key'}" if isinstance(step, dict) else f"it is {type(step)}"
    )


def _unknown(name: str, short: str) -> str:
    if short in _NOT_HERE:
        return f"The pull step {name} is not to be had here. {_NOT_HERE[short]}"
    near = difflib.get_close_matches(short, _STEPS, n=1)
    hint = f"Did you mean {_PREFIXES[0]}{near[0]}? " if near else ""
    return f"There is no pull step {name}. {hint}There are {', '.join(_STEPS)}, under {_PREFIXES[0]}* or {_PREFIXES[1]}*."


def _inputs_of(name: str, inputs: Json) -> Json:
    """Return what a step is given, when it is neither too little nor too much."""
    _, needed, others = _STEPS[name]
    given = {key: value for key, value in inputs.items() if key not in ("id", "requires")}
    missing = [key for key in needed if given.get(key) in (None, "")]
    strange = [key for key in given if key not in (*needed, *others)]
    if missing:
        raise LoadError(f"The pull step {name} needs {', '.join(missing)}.", tried=name)
    if strange:
        raise LoadError(
            f"The pull step {name} does not know {', '.join(strange)}; it takes {', '.join((*needed, *others))}.",
            tried=name,
        )
    _refuse_secrets(name, given)
    return given


def _carry_out(name: str, inputs: Json, scene: Scene) -> Mapping[str, Any]:
    function = _STEPS[name][0]
    given = _inputs_of(name, inputs)
    filled = scene.template.fill(given)
    try:
        return function(scene, filled)
    except LoadError as error:  # what came from the environment is not told, whoever says it
        message, tried = scene.template.shown(str(error)), scene.template.shown(error.tried)
        raise LoadError(f"The pull step {name} failed. {message}", tried=tried) from error.__cause__


def _refuse_secrets(name: str, given: Json) -> None:
    """Refuse a secret that is written out: it would stand in the database, in clear, for all to read."""
    written = [
        key for key in ("access_token", "credentials") if given.get(key) and not is_reference(given[key])
    ]
    url = given.get("repository")
    if isinstance(url, str) and not is_reference(url) and split_url(url)[1] is not None:
        written.append("repository")
    if written:
        raise LoadError(
            f"The pull step {name} holds a secret in clear in {', '.join(written)}. Put it into the worker's "
            'environment and refer to it: access_token: "{{ $NAME }}". Then change the secret, since it was stored.',
            tried=name,
        )


# -- the steps


def _git_clone(scene: Scene, given: Json) -> Json:
    # Where the address came from a reference, a user name alone may be a token.
    url, inside = split_url(
        _address(str(given["repository"]), scene), name_is_secret=scene.template.has_secrets
    )
    repository = Repository(
        url=url,
        ref=given.get("branch") or None,
        commit=given.get("commit_sha") or None,
        directories=tuple(given.get("directories") or ()),
        submodules=bool(given.get("include_submodules")),
    )
    name = str(given.get("clone_directory_name") or repository.folder_name)
    into = (scene.folder / name).resolve()
    if not into.is_relative_to(scene.folder):
        raise LoadError(f"git_clone may not write to {name!r}, outside of the run's folder.", tried=name)
    commit = clone(
        repository,
        into,
        mirrors=scene.mirrors,
        credentials=inside or _credentials(given, url),
        timeout_s=scene.timeout_s,
        environ=scene.environ,
    )
    scene.say(f"Cloned {scene.template.shown(url)} at commit {commit[:12]} into {into}")
    return {"directory": str(into), "commit_sha": commit}


def _address(url: str, scene: Scene) -> str:
    """Return a repository's address; a folder's is made absolute, since git runs elsewhere too."""
    if "://" in url:
        return url
    path = scene.folder / Path(url).expanduser()
    return str(path.resolve()) if path.exists() else url


def _credentials(given: Json, url: str) -> Credentials | None:
    found = given.get("access_token") or given.get("credentials")
    if not found:
        return None
    if not url.startswith(("http://", "https://")):
        raise LoadError(
            f"{url} was given credentials, which only http:// and https:// addresses take. For ssh, put a key where "
            "the worker runs.",
            tried=url,
        )
    if isinstance(found, str):
        return Credentials.of_token(found, url)
    secret = next((found[key] for key in ("token", "access_token", "password") if found.get(key)), None)
    if not isinstance(secret, str):
        raise LoadError("git_clone needs a `token` or a `password` in its credentials.", tried=url)
    user = found.get("username")
    return Credentials(str(user), secret) if user else Credentials.of_token(secret, url)


def _set_working_directory(scene: Scene, given: Json) -> Json:
    scene.folder = scene.path(str(given["directory"]))
    scene.say(f"Working in {scene.template.shown(str(scene.folder))}")
    return {"directory": str(scene.folder)}


def _run_shell_script(scene: Scene, given: Json) -> Mapping[str, Any]:
    script = str(given["script"])
    added = {str(name): str(value) for name, value in (given.get("env") or {}).items()}
    return commands.run(
        ["/bin/sh", "-e", "-c", script],
        what="The script",
        cwd=scene.path(given.get("directory")),
        environ={**scene.environ, **added},
        stream=bool(given.get("stream_output", True)),
    )


def _pip_install_requirements(scene: Scene, given: Json) -> Mapping[str, Any]:
    cwd = scene.path(given.get("directory"))
    file = str(given.get("requirements_file") or "requirements.txt")
    if not (cwd / file).is_file():
        raise LoadError(f"There is no {file} in {cwd} to install from.", tried=str(cwd / file))
    output = commands.run(
        [*_installer(), "-r", file],
        what=f"Installing {file}",
        cwd=cwd,
        environ=scene.environ,
        stream=bool(given.get("stream_output", True)),
    )
    importlib.invalidate_caches()  # what was installed just now is to be found
    return output


def _installer() -> list[str]:
    """Return the command that installs into this interpreter's environment; some environments have no pip."""
    uv = shutil.which("uv")
    if importlib.util.find_spec("pip") is None and uv is not None:
        return [uv, "pip", "install", "--python", sys.executable]
    return [sys.executable, "-m", "pip", "install", "--disable-pip-version-check", "--no-input"]


_Step = Callable[[Scene, Json], Mapping[str, Any]]

_STEPS: dict[str, tuple[_Step, tuple[str, ...], tuple[str, ...]]] = {
    "git_clone": (
        _git_clone,
        ("repository",),
        (
            "branch",
            "commit_sha",
            "include_submodules",
            "access_token",
            "credentials",
            "directories",
            "clone_directory_name",
        ),
    ),
    "set_working_directory": (_set_working_directory, ("directory",), ()),
    "run_shell_script": (
        _run_shell_script,
        ("script",),
        # A shell expands variables and knows pipes anyway: the last two change nothing here.
        ("directory", "env", "stream_output", "expand_env_vars", "shell"),
    ),
    "pip_install_requirements": (
        _pip_install_requirements,
        (),
        ("directory", "requirements_file", "stream_output"),
    ),
}
"""``{name: (function, inputs it needs, inputs it takes)}``."""
