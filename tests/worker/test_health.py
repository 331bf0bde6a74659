"""A worker's health: stuck is stuck, a missing server is not."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import httpx
import pytest

from headrace.errors import SettingError
from headrace.worker.health import Health, HealthEndpoint


class Clock:
    """Seconds, turned by hand."""

    now = 1000.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now


@pytest.fixture
def clock() -> Clock:
    """A clock turned by hand."""
    return Clock()


@pytest.fixture
def health(clock: Clock) -> Health:
    """The health of a worker with two runs that polls for 10 s at a time."""
    return Health("w-1", "alpha", wait_s=10.0, runs=lambda: 2, now=clock)


@pytest.fixture
def endpoint(health: Health) -> Iterator[HealthEndpoint]:
    """Its health over HTTP."""
    made = HealthEndpoint(health, "127.0.0.1", 0)
    made.start()
    yield made
    made.stop()


def test_a_worker_that_polls_is_well(health: Health, clock: Clock) -> None:
    """It says who it is, how many runs it has, when the server last answered."""
    assert health.report()[1]["server"] == "unknown"
    health.beat(True)
    clock.now += 4.21
    well = {"status": "ok", "worker": "w-1", "pool": "alpha", "runs": 2, "server": "here"}
    assert health.report() == (200, {**well, "last_poll_seconds": 4.2})


def test_a_worker_whose_server_is_away_is_not_restarted(health: Health, clock: Clock) -> None:
    """However long: its runs go on, and a new worker would find no server either."""
    health.beat(True)
    for _ in range(100):
        clock.now += 10
        health.beat(False)
    status, said = health.report()
    assert (status, said["status"], said["server"], said["last_poll_seconds"]) == (200, "ok", "away", 1000.0)
    health.beat(True)
    assert health.report()[1]["server"] == "here"


def test_a_worker_that_is_full_asks_nothing_and_is_well(health: Health, clock: Clock) -> None:
    """A turn without a poll counts, and changes nothing of what is known of the server."""
    health.beat(False)
    for _ in range(10):
        clock.now += 29
        health.beat()
    assert (health.report()[0], health.report()[1]["server"]) == (200, "away")


def test_a_loop_that_does_not_turn_is_stuck(health: Health, clock: Clock) -> None:
    """After three polls' time, not before; also when it has never turned; and it may come back."""
    clock.now += 30
    assert health.report()[0] == 200
    clock.now += 0.1
    assert (health.report()[0], health.report()[1]["status"]) == (503, "stuck")
    health.beat(False)
    assert health.report()[0] == 200


def test_it_is_served_over_http(endpoint: HealthEndpoint, clock: Clock) -> None:
    """With a body, without one, with a query; and nothing else is."""
    well = httpx.get(endpoint.url, params={"probe": "1"})
    head = httpx.head(endpoint.url)
    clock.now += 31

    assert (well.status_code, well.headers["content-type"]) == (200, "application/json")
    assert well.json()["worker"] == "w-1"
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-length"] == str(len(well.content))
    assert httpx.get(endpoint.url).status_code == 503
    assert httpx.get(endpoint.url + "/other").status_code == 404
    assert httpx.post(endpoint.url).status_code == 501


def test_watchers_that_hang_hold_up_nobody(
    endpoint: HealthEndpoint, capfd: pytest.CaptureFixture[str]
) -> None:
    """Others are answered, and the worker can end; it says nothing about those that leave in the middle."""
    port = httpx.URL(endpoint.url).port
    hanging = [socket.create_connection(("127.0.0.1", port)) for _ in range(20)]
    for connection in hanging:
        connection.sendall(b"GET /hea")
    assert httpx.get(endpoint.url).status_code == 200
    endpoint.stop()
    for connection in hanging:
        connection.close()
    with pytest.raises(httpx.ConnectError):
        httpx.get(endpoint.url)
    assert capfd.readouterr() == ("", "")


def test_the_port_is_free_again_after_the_end(health: Health) -> None:
    """Stopping twice, starting twice, and stopping without a start are fine."""
    first = HealthEndpoint(health, "127.0.0.1", 0)
    port = httpx.URL(first.url).port
    assert port is not None
    first.stop()
    second = HealthEndpoint(health, "127.0.0.1", port)
    second.start()
    second.start()
    assert httpx.get(second.url).status_code == 200
    second.stop()
    second.stop()
    assert [thread.name for thread in threading.enumerate() if thread.name == "health"] == []


@pytest.mark.parametrize(("host", "port"), [("192.0.2.1", 0), ("127.0.0.1", 99999), ("127.0.0.1", -1)])
def test_where_nothing_can_listen_the_settings_are_named(health: Health, host: str, port: int) -> None:
    """An address of another host, a port that is none."""
    with pytest.raises(SettingError, match="worker_webserver_port"):
        HealthEndpoint(health, host, port)


def test_a_port_in_use_is_told(endpoint: HealthEndpoint, health: Health) -> None:
    """Two workers on one host need two ports."""
    port = httpx.URL(endpoint.url).port
    assert port is not None
    with pytest.raises(SettingError, match=f"port {port}"):
        HealthEndpoint(health, "127.0.0.1", port)


def test_it_listens_on_ipv6_too(health: Health) -> None:
    """The address is written in brackets."""
    try:
        endpoint = HealthEndpoint(health, "::1", 0)
    except SettingError as error:
        pytest.skip(f"no IPv6 here: {error}")
    endpoint.start()
    assert httpx.get(endpoint.url).status_code == 200
    endpoint.stop()


def test_prometheus_is_told_the_same(endpoint: HealthEndpoint, health: Health, clock: Clock) -> None:
    """Runs, polls by whether they were answered, and when the last was."""
    health.beat(True)
    health.beat(False)
    health.beat(True)
    clock.now += 2
    answer = httpx.get(endpoint.url.replace("/health", "/metrics"))
    told = answer.text.splitlines()

    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert 'headrace_worker_healthy{work_pool="alpha",worker="w-1"} 1.0' in told
    assert 'headrace_worker_runs{work_pool="alpha",worker="w-1"} 2.0' in told
    assert 'headrace_worker_last_poll_seconds{work_pool="alpha",worker="w-1"} 2.0' in told
    assert 'headrace_worker_polls_total{answered="true",work_pool="alpha",worker="w-1"} 2.0' in told
    assert 'headrace_worker_polls_total{answered="false",work_pool="alpha",worker="w-1"} 1.0' in told
    assert any(line.startswith("process_resident_memory_bytes ") for line in told)
