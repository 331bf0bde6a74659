"""Where a flow that is at hand can be found again by another process."""

from __future__ import annotations

import inspect
import sys
from pathlib import Path
from typing import Any, NamedTuple

from ..errors import DeploymentError

Json = dict[str, Any]


class Code(NamedTuple):
    """What of a deployment says where its code is."""

    entrypoint: str
    """``path/to/file.py:name``, or ``package.module:name``."""
    path: str | None = None
    """The folder to which the file's path is relative."""
    pull_steps: list[Json] | None = None


def code_of(flow: Any, kind: Any = None) -> Code:
    """Return where a flow's code is: where :meth:`Flow.from_source` found it, else its file below this folder.

    ``kind`` is ``"file_path"`` (as when ``None``) or ``"module_path"``.

    Raises:
        DeploymentError: no other process could find it: it has no file, or no name within its module.
    """
    if flow.source is not None:
        storage, entrypoint = flow.source
        path, steps = storage.code()
        return Code(entrypoint, path, steps)
    name = _name_of(flow)
    if _wants_module(kind):
        module = inspect.unwrap(flow.fn).__module__
        if module == "__main__":
            raise DeploymentError(
                f"Flow {flow.name!r} is in the script that runs, which no other process can import by name. "
                "Leave entrypoint_type out, or move the flow into a module."
            )
        return Code(f"{module}:{name}")
    file = _file_of(flow)
    here = Path.cwd()
    folder = here if file.is_relative_to(here) else file.parent
    return Code(f"{file.relative_to(folder).as_posix()}:{name}", str(folder))


def _wants_module(kind: Any) -> bool:
    text = str(getattr(kind, "value", kind) or "file_path").lower()
    if text not in ("file_path", "module_path"):
        raise DeploymentError(f"entrypoint_type is {text!r}; it may be 'file_path' or 'module_path'.")
    return text == "module_path"


def _file_of(flow: Any) -> Path:
    try:
        file = inspect.getsourcefile(inspect.unwrap(flow.fn))
    except TypeError:
        file = None
    if file is None or not Path(file).is_file():
        raise DeploymentError(
            f"Flow {flow.name!r} is in no file, so no other process can load it. Write it into a file, or use "
            "flow.from_source(source=..., entrypoint='file.py:function')."
        )
    return Path(file).resolve()


def _name_of(flow: Any) -> str:
    """Return the name by which a flow's module holds it: its function's, unless it is bound to another one."""
    fn = inspect.unwrap(flow.fn)
    name = str(fn.__qualname__)
    module = sys.modules.get(fn.__module__)
    if "<" not in name and (module is None or getattr(_held(module, name), "fn", None) is flow.fn):
        return name
    for other, value in vars(module).items() if module is not None else ():
        if value is flow:
            return other
    if "<" not in name:
        return name  # deployed while its module is still being loaded, or as a changed copy of what the module holds
    raise DeploymentError(
        f"Flow {flow.name!r} is made within a function, so no other process can load it. Define it at the top of its "
        "file."
    )


def _held(module: Any, name: str) -> Any:
    found = module
    for part in name.split("."):
        found = getattr(found, part, None)
    return found
