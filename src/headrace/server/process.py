"""A server as a process: one for a home folder, found by its address file, ended by SIGTERM."""

from __future__ import annotations

import contextlib
import fcntl
import gc
import http.client
import ipaddress
import json
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

from headrace.errors import ServerUnavailable, SettingError
from headrace.journal.spool import boot_id, start_ticks
from headrace.settings import Settings

if TYPE_CHECKING:
    from fastapi import FastAPI

_log = logging.getLogger("headrace.server")

ADDRESS_FILE = "server.json"
"""In the home folder while a server is healthy: ``{"url", "pid", "started", "boot", "version"}``."""

LOCK_FILE = "server.lock"
"""Held (flock) by a home's server as long as it lives."""

LOG_FILE = "server.log"
"""What a server in the background writes."""

GRACE_S = 1
"""How long requests may go on after SIGTERM; long polls are told at once."""

MEMBER = "--member"
"""What a process is told that is one of several on a port, before two descriptors: of the listener and a tether."""

_BACKLOG = 2048
"""Connections that may wait to be taken: a load balancer's, while a server starts again."""

START_S = 60.0
"""How long a server in the background may take until it is healthy: a migration may be under way."""

STOP_S = 15.0

Address = dict[str, Any]


class Status(NamedTuple):
    """What is known of a home's server."""

    address: Address | None
    """What its address file says; ``None`` when no server runs."""
    healthy: bool
    """Whether it answers."""


def serve(settings: Settings, *, allow_unauthenticated: bool = False) -> None:
    """Run a server until it is told to end (SIGTERM, SIGINT).

    Port 0 takes a free one; the address file says which. ``allow_unauthenticated`` lets other hosts in
    without ``server_auth_string``.

    Raises:
        SettingError: the address cannot be used, a server runs for this home, or the database is not for us.
    """
    check_host(settings, allow_unauthenticated=allow_unauthenticated)
    home = settings.home_path
    home.mkdir(parents=True, exist_ok=True, mode=0o700)
    count = _checked_count(settings)
    with _only_one(home), contextlib.closing(_listen(settings)) as listener:
        _log_to_stderr()
        if count > 1:
            _run_fleet(settings, listener, count)
        else:
            url = _url_of(listener)
            _run(
                _load(settings),
                settings,
                listener,
                up=lambda: _say_where(home, url),
                going=lambda: _leave(home),
            )


def serve_as_member(settings: Settings, listener_fd: int, tether_fd: int) -> None:
    """Be one of the processes of a server that share its port; the fleet's process tells when to end.

    Raises:
        SettingError: the database is not for us.
    """
    from .fleet import Tether  # here: few servers are one of several

    _log_to_stderr()
    tether = Tether(fileno=tether_fd)
    tether.when_cut(lambda: os.kill(os.getpid(), signal.SIGTERM))
    with contextlib.closing(socket.socket(fileno=listener_fd)) as listener:
        _run(_load(settings), settings, listener, up=tether.serves, going=lambda: None)


def _checked_count(settings: Settings) -> int:
    count: int = settings.server_workers
    if count < 1:
        raise SettingError(f"server_workers is {count}; a server needs one process at least.")
    from .store.database import read_url  # here: it loads the database's library

    url = read_url(settings.database_url or None, settings.home_path)
    if count > 1 and url.get_backend_name() == "sqlite":
        raise SettingError(
            f"server_workers is {count}, and the database is an SQLite file, which takes one writer at a time: more "
            "processes would only wait for each other. Leave server_workers at 1, or name a PostgreSQL database with "
            "HEADRACE_DATABASE_URL."
        )
    return count


def _run_fleet(settings: Settings, listener: socket.socket, count: int) -> None:
    from .fleet import Fleet  # here: few servers are several processes
    from .store.database import Database  # as above

    home, url = settings.home_path, _url_of(listener)
    # Here, once: so that what is wrong with it is said once, and its tables are made before anybody serves.
    connections: int = settings.database_connections
    Database.open(settings.database_url, home, direct=True, connections=connections).close()
    listener.listen(_BACKLOG)
    os.environ.update(settings.environment())
    command = [sys.executable, "-m", "headrace.server", MEMBER]
    fleet = Fleet(command, listener, count, drain_s=settings.server_drain_seconds)
    fleet.run(lambda: _say_where(home, url), lambda: _leave(home))


def _say_where(home: Path, url: str) -> None:
    _announce(home, url)
    _log.info("Headrace serves at %s (pid %d)", url, os.getpid())


def _leave(home: Path) -> None:
    (home / ADDRESS_FILE).unlink(missing_ok=True)


def _load(settings: Settings) -> FastAPI:
    """Load the app and put it together, and spare the garbage collector what never becomes garbage.

    A batch of a journal makes some ten thousand objects that reference counts free by themselves; looking
    through them and through all that is loaded every 700 took a fourth of ingest's time (benchmarks/ingest.py).
    """
    gc.disable()  # loading makes no garbage to speak of, and starts a tenth sooner so
    try:
        from .app import create_app  # here: it loads the web framework and the database's library

        return create_app(settings)
    finally:
        spare_the_collector()
        gc.enable()


def spare_the_collector() -> None:
    """Let the garbage collector look rarely, and never through what is loaded by now."""
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)


def _run(
    app: FastAPI,
    settings: Settings,
    listener: socket.socket,
    *,
    up: Callable[[], None],
    going: Callable[[], None],
) -> None:
    """Serve until a signal; ``up`` is called once the server answers, ``going`` when it is told to end."""
    import uvicorn
    import uvloop

    drain_s: float = settings.server_drain_seconds

    class Server(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            if self.started:
                up()

        def handle_exit(self, sig: int, frame: Any) -> None:
            going()  # first: nobody new should come
            if drain_s > 0 and not getattr(app.state, "ends", False):
                app.state.ends = True  # as `/api/ready` tells; a second signal ends it at once
                after = threading.Timer(drain_s, os.kill, (os.getpid(), signal.SIGTERM))
                after.daemon = True
                after.start()
                return
            app.state.context.openings.close()
            app.state.context.bells.close()  # those who wait for news go home; nobody waits for them
            super().handle_exit(sig, frame)

    server = Server(
        uvicorn.Config(
            app,
            loop="uvloop",
            http="httptools",
            ws="websockets-sansio",
            lifespan="on",
            log_config=None,
            access_log=False,
            # longer than clients keep idle connections: theirs is the side that closes, so no request is lost
            timeout_keep_alive=75,
            timeout_graceful_shutdown=GRACE_S,
            backlog=_BACKLOG,
            server_header=False,
        )
    )
    # uvicorn raises the signal again at its end, for whoever started it; to us it has done its work by then
    signal.signal(signal.SIGTERM, lambda *_: None)
    with contextlib.suppress(KeyboardInterrupt):
        uvloop.run(server.serve([listener]))


def check_host(settings: Settings, *, allow_unauthenticated: bool) -> None:
    """Refuse an address that others reach while nobody is asked who they are.

    Raises:
        SettingError: it is such an address.
    """
    host = settings.server_host
    if allow_unauthenticated or settings.server_auth_string or is_loopback(host):
        return
    raise SettingError(
        f"Other machines can reach {host}, and server_auth_string is not set: anybody there could read and "
        "change everything. Set HEADRACE_SERVER_AUTH_STRING to user:password, listen on 127.0.0.1, or say "
        "--allow-unauthenticated if the network is yours alone."
    )


def is_loopback(host: str) -> bool:
    """Say whether only this machine reaches an address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


@contextlib.contextmanager
def _only_one(home: Path) -> Iterator[None]:
    fd = os.open(home / LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(fd)
        address = read_address(home)
        where = f"at {address['url']} (pid {address['pid']})" if address else "and is starting"
        raise SettingError(
            f"A server runs for {home} already, {where}. Use it, stop it with `headrace server stop`, or give "
            "this one its own HEADRACE_HOME."
        ) from error
    try:
        yield
    finally:
        os.close(fd)


def _listen(settings: Settings) -> socket.socket:
    host, port = settings.server_host, settings.server_port
    try:
        family, kind, proto, _, where = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with contextlib.ExitStack() as undo:
            listener = undo.enter_context(socket.socket(family, kind, proto))
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(where)
            undo.pop_all()
    except (OSError, OverflowError) as error:
        raise SettingError(
            f"The server cannot listen on {host} port {port}: {getattr(error, 'strerror', None) or error}. "
            "Another program may have the port; choose one with --port, or 0 for any that is free."
        ) from error
    return listener


def _url_of(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"http://[{host}]:{port}/api" if ":" in host else f"http://{host}:{port}/api"


def _announce(home: Path, url: str) -> None:
    from importlib.metadata import version

    address = {
        "url": url,
        "pid": os.getpid(),
        "started": start_ticks(os.getpid()),
        "boot": boot_id(),
        "version": version("headrace"),
    }
    draft = home / f"{ADDRESS_FILE}.{os.getpid()}"
    draft.write_text(json.dumps(address), encoding="utf-8")
    draft.replace(home / ADDRESS_FILE)


def _log_to_stderr() -> None:
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)-7s %(message)s"))
    _log.addHandler(handler)
    _log.setLevel(logging.INFO)
    _log.propagate = False
    noise = logging.getLogger("uvicorn.error")
    noise.addHandler(handler)
    noise.setLevel(logging.WARNING)
    noise.propagate = False


def read_address(home: Path) -> Address | None:
    """Return what a home's living server says of itself, or ``None``."""
    try:
        address = json.loads((home / ADDRESS_FILE).read_bytes())
        return address if address["boot"] == boot_id() and _lives(address) else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _lives(address: Address) -> bool:
    pid: int = address["pid"]
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)  # a dead child of ours would stay a zombie until we look
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        stat = b") ?"  # not Linux
    return start_ticks(pid) == address["started"] and stat[stat.rindex(b")") + 2 :][:1] not in (b"Z", b"X")


def status(settings: Settings) -> Status:
    """Say whether a server runs for this home, and whether it answers."""
    address = read_address(settings.home_path)
    return Status(address, address is not None and _is_healthy(address["url"]))


def _is_healthy(url: str, timeout_s: float = 5.0) -> bool:
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=timeout_s)
    try:
        connection.request("GET", parts.path + "/health")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def start_in_background(settings: Settings, *, allow_unauthenticated: bool = False) -> Address:
    """Start a server that goes on without this process, and return its address once it answers.

    What it writes goes to ``server.log`` in the home folder. A server that runs already is left alone and
    its address returned.

    Raises:
        SettingError: its settings cannot be used.
        ServerUnavailable: it ended, or did not become healthy in time; the text holds its last words.
    """
    check_host(settings, allow_unauthenticated=allow_unauthenticated)
    home = settings.home_path
    running = read_address(home)
    if running is not None:
        return running
    home.mkdir(parents=True, exist_ok=True, mode=0o700)
    flags = ["--allow-unauthenticated"] if allow_unauthenticated else []
    with (home / LOG_FILE).open("ab") as log:
        start = log.tell()
        process = subprocess.Popen(
            [sys.executable, "-m", "headrace.server", *flags],
            env={**os.environ, **settings.environment()},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=home,
            start_new_session=True,
        )
    return _wait_until_healthy(home, process, start)


def _wait_until_healthy(home: Path, process: subprocess.Popen[bytes], log_start: int) -> Address:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        ended = process.poll() is not None
        address = read_address(home)  # another one's, when two were started at once
        if address is not None and _is_healthy(address["url"]):
            process.returncode = 0  # it goes on without us: nobody waits for it, and that is no mistake
            return address
        if ended:
            break
        time.sleep(0.02)
    else:
        process.terminate()
    said = (home / LOG_FILE).read_bytes()[log_start:].decode(errors="replace").strip()
    raise ServerUnavailable(
        f"The server did not start; its log is {home / LOG_FILE}. It said: {said[-2000:] or '(nothing)'}"
    )


def stop(settings: Settings) -> Address | None:
    """End the home's server and wait until it is gone; return what its address was, ``None`` when none ran.

    Raises:
        ServerUnavailable: it is still there after 15 seconds; the text says what to do.
    """
    address = read_address(settings.home_path)
    if address is None:
        return None
    with contextlib.suppress(ProcessLookupError):
        os.kill(address["pid"], signal.SIGTERM)
    patience_s = STOP_S + settings.server_drain_seconds
    deadline = time.monotonic() + patience_s
    while _lives(address):
        if time.monotonic() > deadline:
            raise ServerUnavailable(
                f"The server (pid {address['pid']}) was told to end and is still there after {patience_s:g} s. "
                f"Look at its log, or end it with: kill -9 {address['pid']}"
            )
        time.sleep(0.02)
    return address
