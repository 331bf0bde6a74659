"""Write ``profiles.toml``, the file in the home folder that holds sets of settings."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable
from pathlib import Path

from headrace.settings import read_profiles

Profiles = dict[str, dict[str, str]]

NAME = "profiles.toml"


def read(home: Path) -> tuple[str, Profiles]:
    """Return the active profile's name and ``{profile: {setting: text}}``; there always is ``default``."""
    path = home / NAME
    return read_profiles(path) if path.exists() else ("default", {"default": {}})


def change(home: Path, edit: Callable[[str, Profiles], str]) -> None:
    """Let ``edit`` change the profiles and return the name of the active one; then write them in one step.

    Two commands at once do not undo each other's work. The file is for its owner's eyes: it may hold secrets.
    """
    home.mkdir(parents=True, exist_ok=True, mode=0o700)
    with (home / f"{NAME}.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        active, profiles = read(home)
        active = edit(active, profiles)
        _write(home / NAME, active, profiles)


def _write(path: Path, active: str, profiles: Profiles) -> None:
    import tomli_w  # here: reading needs none of it

    text = tomli_w.dumps({"active": active, "profiles": profiles})
    fresh = path.with_suffix(".new")
    fresh.unlink(missing_ok=True)
    with os.fdopen(
        os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8"
    ) as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)
