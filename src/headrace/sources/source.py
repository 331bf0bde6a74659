"""Gets the folder that holds the code of a deployment, for one run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from .. import settings
from ..errors import LoadError
from ..model.orders import DeploymentCode, Job
from .git import TIMEOUT_S
from .steps import run_steps


def fetch(
    deployment: DeploymentCode | None,
    job: Job,
    into: Path,
    *,
    environ: Mapping[str, str] | None = None,
    mirrors: Path | None = None,
    say: Callable[[str], None] = lambda _: None,
    timeout_s: float = TIMEOUT_S,
) -> Path:
    """Return the folder of a deployment's code; what its pull steps bring is put below ``into``, made if needed.

    Pull steps go first, then the deployment's path (a relative one begins in the job's folder), then the job's
    working folder, then ``into``. ``mirrors`` holds the copies of repositories that runs share; ``None``: the
    folder ``sources`` of the home folder. ``say`` is told a line for each step. ``environ`` as in ``run_steps``.

    Raises:
        LoadError: a step fails, or the folder is not there; ``tried`` says which.
    """
    if deployment is not None and deployment.pull_steps:
        place = mirrors or settings.load().home_path / "sources"
        try:
            into.mkdir(parents=True, exist_ok=True)
            return run_steps(
                deployment.pull_steps, into, mirrors=place, environ=environ, say=say, timeout_s=timeout_s
            )
        except OSError as error:
            raise LoadError(
                f"The code cannot be put into {into}: {error}. Is there room, and may it be written?",
                tried=str(into),
            ) from error
    base = Path(job.working_dir).expanduser().absolute() if job.working_dir else None
    if deployment is not None and deployment.path:
        return _present((base or Path.cwd()) / Path(deployment.path).expanduser(), "the deployment's path")
    if base is not None:
        return _present(base, "the job's working_dir")
    into.mkdir(parents=True, exist_ok=True)
    return into


def _present(folder: Path, whose: str) -> Path:
    if folder.is_dir():
        return folder.resolve()
    state = "is a file" if folder.exists() else "is not there"
    raise LoadError(
        f"The folder of the code, {folder} ({whose}), {state}. Is the worker on the machine that has it? Code from "
        "git comes to any machine: see pull steps.",
        tried=str(folder),
    )
