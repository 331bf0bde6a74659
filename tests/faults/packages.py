"""Programs of the system that tests need: found, else installed from Debian's packages by root, else not tested."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

_SBIN = "/usr/local/sbin:/usr/sbin:/sbin"
_INSTALL_S = 180.0
_LOCKED_S = 120
"""How long another apt may hold its lock."""

_POLICY = Path("/usr/sbin/policy-rc.d")


def find(program: str) -> str | None:
    """Return where a program is; daemons lie where not everybody looks."""
    return shutil.which(program, path=f"{os.environ.get('PATH', os.defpath)}:{_SBIN}")


def need(program: str, package: str) -> str:
    """Return where a program is, installing its package if that can be; skip the test otherwise, loudly."""
    found = find(program)
    if found is None and os.geteuid() == 0 and find("apt-get"):
        with _alone():
            if find(program) is None:
                _install(package)
        found = find(program)
    if found is None:
        pytest.skip(
            f"NOT TESTED WITH {program.upper()}: install {package} (as root, the tests do so themselves)"
        )
    return found


@contextlib.contextmanager
def _alone() -> Iterator[None]:
    """Let one process install at a time: tests run in several."""
    with (Path(tempfile.gettempdir()) / "headrace-tests-install.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _install(package: str) -> None:
    environ = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    apt = ["apt-get", "-q", "-o", f"DPkg::Lock::Timeout={_LOCKED_S}"]
    install = [*apt, "install", "-y", "--no-install-recommends", package]
    began = time.monotonic()
    with contextlib.suppress(subprocess.TimeoutExpired), _no_services():
        # What cannot be installed is skipped by the caller, whatever the reason: no network, no such package.
        if subprocess.run(install, env=environ, capture_output=True, timeout=_INSTALL_S).returncode:
            subprocess.run([*apt, "update"], env=environ, capture_output=True, timeout=_INSTALL_S)
            left = max(1.0, _INSTALL_S - (time.monotonic() - began))
            subprocess.run(install, env=environ, capture_output=True, timeout=left)


@contextlib.contextmanager
def _no_services() -> Iterator[None]:
    """Let the package start no service of its own: Debian asks this file."""
    if _POLICY.exists():
        yield
        return
    _POLICY.write_text("#!/bin/sh\nexit 101\n", encoding="ascii")
    _POLICY.chmod(0o755)
    try:
        yield
    finally:
        _POLICY.unlink()
