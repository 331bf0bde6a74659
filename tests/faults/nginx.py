"""A real nginx before a server, in a folder of its own, on loopback ports of its own."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from .trial import wait_until

_CONFIG = """
daemon off;
worker_processes 1;
pid {folder}/pid;
error_log {folder}/error.log warn;
{user}
events {{ worker_connections 512; }}
http {{
    log_format told '$server_port $status $request_time $request_method $uri';
    access_log {folder}/access.log told;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    {servers}
}}
"""

_SERVER = """
    server {{
        listen 127.0.0.1:{port};
        location / {{
            proxy_pass http://127.0.0.1:{target};
            proxy_read_timeout {patience};
        }}
    }}
"""


class Asked(NamedTuple):
    """One request as nginx tells of it."""

    port: int
    status: int
    seconds: float
    method: str
    path: str


class Nginx:
    """Stands before ``target``, a port of this host; ``patience`` names its ways: ``{"5s": ...}``."""

    def __init__(self, program: str, folder: Path, target: int, patience: tuple[str, ...]) -> None:
        self.ports: Mapping[str, int] = dict(zip(patience, free_ports(len(patience)), strict=True))
        self._folder = folder
        folder.mkdir(parents=True)
        servers = "".join(
            _SERVER.format(port=port, target=target, patience=one) for one, port in self.ports.items()
        )
        user = "user root;" if os.geteuid() == 0 else ""
        config = folder / "nginx.conf"
        config.write_text(_CONFIG.format(folder=folder, user=user, servers=servers), encoding="utf-8")
        self._output = (folder / "output").open("wb")
        self._process = subprocess.Popen(
            [program, "-p", str(folder), "-c", str(config), "-e", str(folder / "error.log")],
            stdin=subprocess.DEVNULL,
            stdout=self._output,
            stderr=self._output,
            start_new_session=True,
        )
        wait_until(self._takes_connections, f"nginx to listen: {self.told()}", 20.0)

    def url(self, patience: str) -> str:
        """The server's base URL by one of the ways, with ``/api``."""
        return f"http://127.0.0.1:{self.ports[patience]}/api"

    def asked(self, patience: str) -> list[Asked]:
        """Return the requests that came by one of the ways and are answered, oldest first."""
        path = self._folder / "access.log"
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        found = [line.split(" ", 4) for line in lines]
        every = [Asked(int(p), int(s), float(t), method, uri) for p, s, t, method, uri in found]
        return [one for one in every if one.port == self.ports[patience]]

    def told(self) -> str:
        """Return what it says of itself."""
        logs = (self._folder / "output", self._folder / "error.log")
        return "\n".join(log.read_text(errors="replace") for log in logs if log.exists())

    def close(self) -> None:
        """End it."""
        self._process.send_signal(signal.SIGTERM)
        self._process.wait(20)
        self._output.close()

    def _takes_connections(self) -> bool:
        assert self._process.poll() is None, f"nginx ended.\n{self.told()}"
        try:
            for port in self.ports.values():
                socket.create_connection(("127.0.0.1", port), timeout=5).close()
        except OSError:
            return False
        return True


def free_ports(number: int) -> list[int]:
    """Return ports of loopback on which nobody listens now."""
    listeners = [socket.create_server(("127.0.0.1", 0)) for _ in range(number)]
    found = [listener.getsockname()[1] for listener in listeners]
    for listener in listeners:
        listener.close()
    return found
