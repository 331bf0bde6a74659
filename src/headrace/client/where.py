"""Where the server is: a configured one, else a live local one, else none and the home folder's database itself."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal, NamedTuple

from headrace.settings import Settings

ADDRESS_FILE = "server.json"
"""In the home folder; a local server writes it when it is healthy and removes it at its end."""


class Location(NamedTuple):
    """Where requests go."""

    kind: Literal["network", "local", "embedded"]
    """``network``: configured; ``local``: found by its address file; ``embedded``: no server runs."""
    url: str
    """Base URL with ``/api`` and without a slash at its end; empty when embedded."""


def locate(settings: Settings) -> Location:
    """Find the server that these settings speak to; costs one small file read, no request.

    ``HEADRACE_API_URL`` comes first and is not tried out. A local server counts when the process in its
    address file still is the one that wrote it.
    """
    if settings.api_url:
        return Location("network", settings.api_url.rstrip("/"))
    address = read_address(settings.home_path)
    if address is not None and _is_alive(address):
        return Location("local", _api_url(str(address["url"])))
    return Location("embedded", "")


def read_address(home: Path) -> dict[str, Any] | None:
    """Return what a local server wrote about itself, dead or alive; ``None`` when there is nothing readable."""
    try:
        address = json.loads((home / ADDRESS_FILE).read_bytes())
    except (OSError, ValueError):
        return None
    return address if isinstance(address, dict) and address.get("url") else None


def _api_url(url: str) -> str:
    url = url.rstrip("/")
    return url if url.endswith("/api") else url + "/api"


def _is_alive(address: dict[str, Any]) -> bool:
    # The same three facts as in journal.spool name a process for ever; client and journal are strangers, and
    # asking /health instead would cost a request in every command and believe whoever has the port by now.
    pid = address.get("pid")
    if not isinstance(pid, int) or address.get("boot") != _boot():
        return False
    return _started(pid) == address.get("started")


def _boot() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        import psutil  # macOS: heavy, and only needed there

        return str(int(psutil.boot_time()))


def _started(pid: int) -> int | None:
    """Return a process's start time as the kernel counts it; ``None`` for none, and for a zombie."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return None if Path("/proc/self").exists() else _started_without_proc(pid)
    fields = stat[stat.rindex(b")") + 2 :].split()
    return None if fields[0] in (b"Z", b"X") else int(fields[19])


def _started_without_proc(pid: int) -> int | None:
    import psutil  # macOS, as above

    try:
        return int(psutil.Process(pid).create_time() * 1000)
    except psutil.NoSuchProcess:
        return None
