"""The peer: Prefect from the package index, in an environment of its own beside ours."""

from __future__ import annotations

import re
import subprocess
import sys
import zipfile
from email.parser import HeaderParser
from pathlib import Path

from .machine import ROOT

FOLDER = ROOT / ".venv-prefect"

VERSIONS = ("3.9.1", "3.8.8")
"""Tried in this order: the one that the REST contract was read from, then one that older indexes can resolve."""

_RELAXED = {"certifi": "certifi"}
"""Requirements whose floor is newer than what an index may hold; the measured paths make no TLS connection."""


class PeerMissing(Exception):
    """The peer could not be installed; the text says why."""


def python() -> Path:
    """Return the peer's interpreter, installing the peer (once, about a minute) when it is not there.

    Raises:
        PeerMissing: no version could be installed.
    """
    interpreter = FOLDER / "bin" / "python"
    if version() is not None:
        return interpreter
    print(f"Installing Prefect in {FOLDER.name} (once) ...", file=sys.stderr)
    _run(sys.executable, "-m", "venv", "--clear", str(FOLDER))
    reasons = []
    for wanted in VERSIONS:
        try:
            _install(interpreter, wanted)
        except PeerMissing as error:
            reasons.append(f"{wanted}: {error}")
        else:
            (FOLDER / "peer-version").write_text(wanted, encoding="ascii")
            return interpreter
    raise PeerMissing("; ".join(reasons))


def version() -> str | None:
    """Return the installed peer's version, or ``None`` when there is none."""
    try:
        return (FOLDER / "peer-version").read_text(encoding="ascii")
    except OSError:
        return None


def _install(interpreter: Path, wanted: str) -> None:
    wheels = FOLDER / "wheels"
    pip = (str(interpreter), "-m", "pip", "--quiet", "--disable-pip-version-check")
    _run(*pip, "download", "--no-deps", "--dest", str(wheels), f"prefect=={wanted}")
    wheel = next(wheels.glob(f"prefect-{wanted}-*.whl"))
    _run(*pip, "install", "--no-deps", str(wheel))
    _run(*pip, "install", *_requirements(wheel))
    _run(str(interpreter), "-c", "import prefect")


def _requirements(wheel: Path) -> list[str]:
    """Return what the wheel requires (no extras), with the floors that an index may not reach left out."""
    with zipfile.ZipFile(wheel) as archive:
        name = next(name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        metadata = HeaderParser().parsestr(archive.read(name).decode())
    wanted = [line for line in metadata.get_all("Requires-Dist") or [] if "extra ==" not in line]
    return [_RELAXED.get(_name_of(line), line) for line in wanted]


def _name_of(requirement: str) -> str:
    return re.split(r"[^A-Za-z0-9._-]", requirement, maxsplit=1)[0].lower()


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        lines = [line for line in done.stderr.splitlines() if line.strip()] or ["no reason given"]
        raise PeerMissing(lines[-1].strip())
