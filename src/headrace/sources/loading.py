"""Loads a flow from the place its entrypoint names: always from the source as it is now.

An entrypoint is ``path/to/file.py:function`` or ``package.module:function``; the function may be dotted
(``Reports.monthly``). A file becomes a module named like it, so that what it defines can be pickled.
"""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import re
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.machinery import (
    BYTECODE_SUFFIXES,
    EXTENSION_SUFFIXES,
    SOURCE_SUFFIXES,
    ExtensionFileLoader,
    FileFinder,
    SourceFileLoader,
    SourcelessFileLoader,
)
from pathlib import Path
from types import CodeType, ModuleType, TracebackType
from typing import Any

from ..errors import LoadError
from .finding import flows_of

_FROM_BESIDE = re.compile(rb"^\s*from\s+\.", re.MULTILINE)
"""An import of a sibling with a dot, which works only in a module that was loaded here."""

_COARSE_S = 2.0
"""Compiled code is matched to its source by whole seconds and size: nearer than this it cannot be trusted."""


def load_flow(entrypoint: str, folder: Path, is_flow: Callable[[Any], bool] | None = None) -> Any:
    """Load the flow that an entrypoint names; relative paths begin in ``folder``, where modules are found too.

    ``folder`` and, for a file, the folder it is in go to the front of ``sys.path`` and stay there: the flow may
    import more while it runs. ``is_flow`` says what counts as a flow; ``None``: an instance of Headrace's class.

    Raises:
        LoadError: no file, module or flow is there, or loading it raised; what was raised is the cause, with the
            user's frames only.
    """
    place, _, name = entrypoint.strip().rpartition(":")
    if not place and name.endswith(".py"):
        place, name = name, ""
    elif not place:
        place, _, name = name.rpartition(".")  # package.module.function
    if not place or not (name or place.endswith(".py")):
        raise LoadError(_malformed(entrypoint), tried=entrypoint)
    folder = folder.absolute()
    if _is_file(place):
        path = (folder / Path(place).expanduser()).absolute()
        if not name:
            raise LoadError(_nameless(entrypoint, path), tried=str(path))
        module = _load_file(path, folder)
    else:
        module = _load_module(place, folder)
    return _pick(module, name, is_flow or is_headrace_flow)


def is_headrace_flow(value: object) -> bool:
    """Say whether a value is a flow of Headrace, without loading the engine for it."""
    return any(
        kind.__name__ == "Flow" and kind.__module__.partition(".")[0] == "headrace"
        for kind in type(value).__mro__
    )


def _malformed(entrypoint: str) -> str:
    return (
        f"{entrypoint!r} is no entrypoint. Write path/to/file.py:function, or package.module:function, relative to "
        "the code's folder."
    )


def _nameless(entrypoint: str, path: Path) -> str:
    flows = flows_of(path) if path.is_file() else []
    hint = f" Flows in the file: {', '.join(flows)}." if flows else ""
    return f"{entrypoint!r} names a file and no function. Write {path.name}:function.{hint}"


def _is_file(place: str) -> bool:
    return place.endswith(".py") or "/" in place


# -- a file


def _load_file(path: Path, folder: Path) -> ModuleType:
    if not path.is_file():
        raise LoadError(_no_file(path), tried=str(path))
    name = _module_name(path)
    _prepend(folder, path.parent)
    # With a place to search, `from .sibling import x` finds what lies beside the file.
    spec = importlib.util.spec_from_file_location(
        name, path, loader=_Entry(name, str(path)), submodule_search_locations=[str(path.parent)]
    )
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    _forget(name)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        sys.modules.pop(name, None)
        raise _broken(str(path), error) from error
    if name != path.stem or _FROM_BESIDE.search(path.read_bytes()):
        _pickle_by_value(module)
    return module


def _pickle_by_value(module: ModuleType) -> None:
    """Let what a module defines be pickled whole: another process cannot import it by this name, or not alone."""
    import cloudpickle  # here, for few runs need it

    cloudpickle.register_pickle_by_value(module)


def _no_file(path: Path) -> str:
    if path.is_dir():
        return f"{path} is a folder: an entrypoint names a file in it."
    parent = path.parent
    while not parent.is_dir() and parent != parent.parent:
        parent = parent.parent
    there = sorted(item.name + "/" * item.is_dir() for item in parent.iterdir() if item.name[0] not in "._")
    near = difflib.get_close_matches(path.name, there, n=3) or there[:8]
    more = ", ..." if len(there) > len(near) else "."
    return f"There is no file {path}. {parent} holds {', '.join(near) or 'nothing'}{more}"


def _module_name(path: Path) -> str:
    """Return the file's stem, or another name where that one belongs to a module which others rely on."""
    stem = path.stem
    if stem in sys.stdlib_module_names and stem != "__main__":
        # Whoever asks for it from now on must not be given the user's file, which is first on the path.
        try:
            importlib.import_module(stem)
        except ImportError:
            return stem  # listed, and not on this platform: nobody relies on it
        return f"{stem}_flow"
    there = sys.modules.get(stem)
    if there is None or _file_of(there) == path:
        return stem
    return f"{stem}_flow"


def _file_of(module: ModuleType) -> Path | None:
    file = getattr(module, "__file__", None)
    return Path(file).absolute() if file else None


class _Fresh(SourceFileLoader):
    """Reads compiled code only where it cannot be older than its source."""

    def get_code(self, fullname: str) -> CodeType | None:
        path = self.get_filename(fullname)
        return _compile(self, path) if _uncertain(Path(path)) else super().get_code(fullname)


class _Entry(SourceFileLoader):
    """Compiles the source, whatever compiled code lies beside it."""

    def get_code(self, fullname: str) -> CodeType | None:
        return _compile(self, self.get_filename(fullname))


def _compile(loader: SourceFileLoader, path: str) -> CodeType:
    code = loader.source_to_code(loader.get_data(path), path)
    assert isinstance(code, CodeType)
    return code


def _uncertain(source: Path) -> bool:
    """Say whether compiled code may be of an earlier version that was saved within the same second."""
    try:
        saved = source.stat().st_mtime
        compiled = Path(importlib.util.cache_from_source(str(source))).stat().st_mtime
    except FileNotFoundError:
        return saved > time.time() - _COARSE_S
    except (OSError, NotImplementedError):
        return True
    return compiled < saved + _COARSE_S


# -- a module


def _load_module(name: str, folder: Path) -> ModuleType:
    _prepend(folder)
    top = name.partition(".")[0]
    ours = top == "headrace" or top in sys.stdlib_module_names
    if not ours and ((folder / top).is_dir() or (folder / f"{top}.py").is_file()):
        _forget(top)
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and (name == error.name or name.startswith(error.name + ".")):
            there = _modules_in(folder)
            near = difflib.get_close_matches(top, there, n=3) or there[:8]
            hint = f" {folder} holds {', '.join(near)}." if near else f" {folder} holds no Python module."
            raise LoadError(
                f"There is no module {error.name} in {folder} or among what is installed.{hint}", tried=name
            ) from error
        raise _broken(name, error) from error
    except (Exception, SystemExit) as error:
        raise _broken(name, error) from error


def _modules_in(folder: Path) -> list[str]:
    if not folder.is_dir():
        return []
    files = {path.stem for path in folder.glob("*.py")}
    return sorted(files | {path.parent.name for path in folder.glob("*/__init__.py")})


# -- both


def _prepend(*folders: Path) -> None:
    """Put folders in front of ``sys.path``, the last one first, and read what lies there freshly."""
    for folder in folders:
        text = str(folder)
        while text in sys.path:
            sys.path.remove(text)
        sys.path.insert(0, text)
        hook = _Hook(folder)
        if hook not in sys.path_hooks:
            sys.path_hooks.insert(0, hook)
        for place in list(sys.path_importer_cache):  # finders that were made by other hooks
            if Path(place).is_relative_to(folder):
                del sys.path_importer_cache[place]
    importlib.invalidate_caches()


@dataclass(frozen=True)
class _Hook:
    """Finds what lies in a folder of the user's code and in the packages there."""

    root: Path

    def __call__(self, path: str) -> FileFinder:
        place = Path(path)
        if not place.is_relative_to(self.root) or "site-packages" in place.parts or not place.is_dir():
            raise ImportError(path)
        loaders: Sequence[Any] = (
            (ExtensionFileLoader, EXTENSION_SUFFIXES),
            (_Fresh, SOURCE_SUFFIXES),
            (SourcelessFileLoader, BYTECODE_SUFFIXES),
        )
        return FileFinder(path, *loaders)


def _forget(name: str) -> None:
    """Drop a module and what is in it from those loaded: it may have been edited, or be another folder's."""
    for loaded in list(sys.modules):
        if loaded == name or loaded.startswith(name + "."):
            del sys.modules[loaded]


def _broken(tried: str, error: BaseException) -> LoadError:
    """Return the error for user code that raised while it was loaded, and cut our frames from its traceback."""
    trace = _users_part(error.__traceback__)
    error.__traceback__ = trace
    if isinstance(error, SyntaxError):
        where = f"{error.filename}, line {error.lineno}"
        return LoadError(f"{where} is not valid Python: {error.msg}.", tried=tried)
    line = f" at line {trace.tb_lineno} of {trace.tb_frame.f_code.co_filename}" if trace else ""
    raised = type(error).__name__
    try:
        text = str(error)
    except Exception:  # noqa: BLE001 - an exception of the user's that cannot be shown
        text = "(its text cannot be shown)"
    above = "beyond top-level package" in text
    advice = ". A file that imports from above its folder needs an entrypoint package.module:function" * above
    return LoadError(f"Loading {tried} raised {raised}{line}: {text}{advice}", tried=tried)


def _users_part(trace: TracebackType | None) -> TracebackType | None:
    while trace is not None:
        file = trace.tb_frame.f_code.co_filename
        if file != __file__ and not file.startswith("<frozen importlib") and file != importlib.__file__:
            return trace
        trace = trace.tb_next
    return None


def _pick(module: ModuleType, name: str, is_flow: Callable[[Any], bool]) -> Any:
    where = getattr(module, "__file__", None) or module.__name__
    found: Any = module
    for part in name.split("."):
        if not hasattr(found, part):
            raise LoadError(_no_flow(module, name, where, is_flow), tried=f"{where}:{name}")
        found = getattr(found, part)
    if is_flow(found):
        return found
    raise LoadError(_not_a_flow(found, name, where), tried=f"{where}:{name}")


def _no_flow(module: ModuleType, name: str, where: str, is_flow: Callable[[Any], bool]) -> str:
    flows = [key for key, value in vars(module).items() if is_flow(value)]
    near = difflib.get_close_matches(name, flows or [key for key in vars(module) if key[0] != "_"], n=1)
    hint = f" Did you mean {near[0]}?" if near else ""
    return f"{where} has no {name!r}.{hint} Flows in it: {', '.join(flows) or 'none'}."


def _not_a_flow(found: object, name: str, where: str) -> str:
    home = type(found).__module__.partition(".")[0]
    if type(found).__name__ == "Flow" and home != "headrace":
        return f"{name!r} in {where} is a flow of {home}. Import `flow` from headrace instead."
    kind = type(found).__name__
    advice = "Decorate it with @flow." if callable(found) else "Name a function that is decorated with @flow."
    return f"{name!r} in {where} is no flow but a {kind}. {advice}"
