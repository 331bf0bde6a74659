"""A real server process on a free port, with a private home."""

from __future__ import annotations

import http.client
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from .side import Side

_LONGEST_START = 120.0


class Server(NamedTuple):
    """A server that has answered."""

    port: int
    seconds: float
    """From its start to its first healthy answer."""
    pid: int

    @property
    def api(self) -> str:
        """Its base URL, with ``/api``."""
        return f"http://127.0.0.1:{self.port}/api"


@contextmanager
def serving(
    side: Side, home: Path, command: list[str] | None = None, *, database_url: str | None = None
) -> Iterator[Server]:
    """Start ``PACKAGE server start``, wait until it is healthy, and stop it afterwards.

    ``command`` starts another server of ours instead, one that takes its port from the environment.
    ``database_url`` is where ours keeps its data, if not in the home folder.

    Raises:
        RuntimeError: it ended or was not healthy in two minutes; the text holds what it wrote.
    """
    port = _free_port()
    environ = side.environment(home)
    if command is None:
        command = [side.python, "-m", side.package, "server", "start", "--port", str(port)]
    else:
        environ["HEADRACE_SERVER_PORT"] = str(port)
    if database_url is not None:
        environ["HEADRACE_DATABASE_URL"] = database_url
    with tempfile.TemporaryFile() as output:
        begin = time.perf_counter()
        process = subprocess.Popen(
            command,
            env=environ,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=home,
            start_new_session=True,
        )
        try:
            if not _wait_until_healthy(process, port, begin):
                output.seek(0)
                raise RuntimeError(
                    f"{' '.join(command)} was not healthy:\n{output.read().decode(errors='replace')[-3000:]}"
                )
            yield Server(port, time.perf_counter() - begin, process.pid)
        finally:
            _stop(process)


def _wait_until_healthy(process: subprocess.Popen[bytes], port: int, begin: float) -> bool:
    while process.poll() is None and time.perf_counter() - begin < _LONGEST_START:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        try:
            connection.request("GET", "/api/health")
            if connection.getresponse().status == 200:
                return True
        except (OSError, http.client.HTTPException):
            time.sleep(0.005)  # how finely the start is timed
        finally:
            connection.close()
    return False


def _stop(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
    process.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port
