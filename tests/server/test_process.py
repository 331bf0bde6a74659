"""A server as a process: started, found, told to end, and never two for one home."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from headrace.errors import ServerUnavailable, SettingError
from headrace.journal.spool import start_ticks
from headrace.server import process
from headrace.settings import Settings, load
from headrace.testing.postgres import Cluster


@pytest.fixture
def plain(home: Path) -> Iterator[Settings]:
    """Settings with a free port, for what no database has to do with; what was started is ended."""
    settings = load().replace(server_port=0)
    yield settings
    process.stop(settings)


@pytest.fixture(params=["sqlite", "postgres"])
def settings(request: pytest.FixtureRequest, plain: Settings) -> Iterator[Settings]:
    """Settings with a free port and either database, a new one; what was started is ended."""
    if request.param == "sqlite":
        yield plain
        return
    cluster: Cluster = request.getfixturevalue("postgres")
    with cluster.database() as url:
        settings = plain.replace(database_url=url)
        yield settings
        process.stop(settings)


def test_a_server_starts_is_found_and_ends(settings: Settings, home: Path) -> None:
    """Its address file names the process for ever; nothing of it is left at the end but its data and log."""
    address = process.start_in_background(settings)
    assert process.Status(address, True) == process.status(settings)
    assert address == process.start_in_background(settings)  # it runs already
    assert start_ticks(address["pid"]) == address["started"]
    assert httpx.get(address["url"] + "/health").json() is True
    assert address == process.stop(settings)

    assert process.Status(None, False) == process.status(settings)
    assert None is process.stop(settings)
    assert not (home / "server.json").exists()


def test_sigterm_ends_it_at_once_though_polls_are_open(settings: Settings) -> None:
    """Within two seconds, and the polls get their answer."""
    address = process.start_in_background(settings)
    path = "/journals/01a20879-4912-75ac-8e3e-b5bcc94ae52f/commands?wait=25"
    answers: list[int] = []
    polls = [
        threading.Thread(
            target=lambda: answers.append(httpx.get(address["url"] + path, timeout=30).status_code)
        )
        for _ in range(5)
    ]
    for poll in polls:
        poll.start()
    _wait_for(lambda: _connections(address["pid"]) >= 5)
    start = time.monotonic()
    process.stop(settings)
    took = time.monotonic() - start
    for poll in polls:
        poll.join(timeout=10)

    assert took < 10, "a poll waits 25 s when it is not let go"
    assert answers == [200] * 5


def _connections(pid: int) -> int:
    return sum(each.status == psutil.CONN_ESTABLISHED for each in psutil.Process(pid).net_connections())


def _wait_for(condition: object, seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]  # a function
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_killed_server_is_not_found_and_another_takes_its_place(settings: Settings, home: Path) -> None:
    """Its address file stays behind and deceives nobody."""
    first = process.start_in_background(settings)
    os.kill(first["pid"], signal.SIGKILL)
    _wait_for(lambda: process.read_address(home) is None)
    assert (home / "server.json").exists()
    assert process.Status(None, False) == process.status(settings)
    second = process.start_in_background(settings)

    assert first["pid"] != second["pid"]
    assert second == json.loads((home / "server.json").read_text())


def test_a_home_has_one_server(settings: Settings) -> None:
    """A second one is told where the first is, and leaves it alone."""
    address = process.start_in_background(settings)
    with pytest.raises(SettingError, match=f"pid {address['pid']}"):
        process.serve(settings)

    assert process.status(settings).healthy


def test_a_port_that_is_taken_is_said_so(plain: Settings) -> None:
    """With the way out; also when it is started behind."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        busy = plain.replace(server_port=taken.getsockname()[1])
        with pytest.raises(SettingError, match="--port"):
            process.serve(busy)
        with pytest.raises(ServerUnavailable, match="--port"):
            process.start_in_background(busy)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.com"])
def test_others_are_let_in_only_when_they_are_asked_who_they_are(plain: Settings, host: str) -> None:
    """Without an auth setting another address is refused before anything is opened."""
    open_to_all = plain.replace(server_host=host)
    with pytest.raises(SettingError, match="server_auth_string"):
        process.serve(open_to_all)

    process.check_host(open_to_all, allow_unauthenticated=True)
    process.check_host(open_to_all.replace(server_auth_string="a:b"), allow_unauthenticated=False)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "127.1.2.3"])
def test_loopback_needs_no_word(plain: Settings, host: str) -> None:
    """Only this machine reaches it."""
    process.check_host(plain.replace(server_host=host), allow_unauthenticated=False)


def test_the_foreground_server_says_what_is_wrong_without_a_traceback(home: Path) -> None:
    """``python -m headrace.server`` with a setting that cannot be read."""
    ended = subprocess.run(
        [sys.executable, "-m", "headrace.server"],
        env={**os.environ, "HEADRACE_SERVER_PORT": "many"},
        capture_output=True,
        text=True,
        timeout=30,
    )

    assert ended.returncode == 1
    assert "HEADRACE_SERVER_PORT" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_server_with_a_word_asks_for_it(plain: Settings) -> None:
    """Settings that code changed reach the process behind."""
    address = process.start_in_background(plain.replace(server_auth_string="ada:secret"))

    assert httpx.post(address["url"] + "/flows/count").status_code == 401
    assert httpx.post(address["url"] + "/flows/count", auth=("ada", "secret")).status_code == 200


def test_many_idle_polls_cost_next_to_nothing(settings: Settings) -> None:
    """300 supervisors wait; in three seconds the server uses less than a third of one of processor time."""
    address = process.start_in_background(settings)
    host, port = address["url"].split("//")[1].split("/")[0].split(":")
    sockets = [socket.create_connection((host, int(port))) for _ in range(300)]
    try:
        for number, each in enumerate(sockets):
            path = f"/api/journals/01a20879-4912-75ac-8e3e-{number:012x}/commands?wait=25"
            each.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        _wait_for(lambda: _connections(address["pid"]) >= 300)
        _settled(address["pid"])
        before = _cpu_s(address["pid"])
        deadline = time.monotonic() + 3
        _wait_for(lambda: time.monotonic() > deadline)

        assert _cpu_s(address["pid"]) - before < 1
    finally:
        for each in sockets:
            each.close()


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _settled(pid: int) -> None:
    """Wait until the server has taken the requests in: a tenth of a second without work."""
    last, quiet_since = _cpu_s(pid), time.monotonic()
    deadline = time.monotonic() + 20
    while time.monotonic() - quiet_since < 0.1:
        assert time.monotonic() < deadline
        time.sleep(0.02)
        now = _cpu_s(pid)
        if now != last:
            last, quiet_since = now, time.monotonic()
