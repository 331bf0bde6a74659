"""The contract's websockets over a real server: the handshake, events in and out, logs out."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from headrace.server import process
from headrace.settings import load
from headrace.testing.postgres import Cluster

TASK = "01a20879-4912-75ac-8e3e-b5bcc94ae52f"
TOKEN = "ada:secret"


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The base URL of a server that asks for a word, on either database."""
    home: Path = tmp_path_factory.mktemp("websockets")
    settings = load({"HEADRACE_HOME": str(home)}).replace(server_port=0, server_auth_string=TOKEN)
    with contextlib.ExitStack() as closing:
        if request.param == "postgres":
            cluster: Cluster = request.getfixturevalue("postgres")
            settings = settings.replace(database_url=closing.enter_context(cluster.database()))
        closing.callback(process.stop, settings)
        yield process.start_in_background(settings)["url"]


@pytest.fixture
def http(server: str) -> Iterator[httpx.Client]:
    """A client of its API."""
    with httpx.Client(base_url=server, auth=("ada", "secret")) as client:
        yield client


@contextmanager
def open_socket(server: str, path: str, token: str | None = TOKEN) -> Iterator[ClientConnection]:
    """Connect and say who we are."""
    url = server.replace("http", "ws", 1) + path
    with connect(url, subprotocols=["prefect"]) as socket:  # type: ignore[list-item]  # a NewType
        socket.send(json.dumps({"type": "auth", "token": token}))
        yield socket


@contextmanager
def greeted(server: str, path: str) -> Iterator[ClientConnection]:
    """Connect, and take the greeting."""
    with open_socket(server, path) as socket:
        assert json.loads(socket.recv(timeout=10)) == {"type": "auth_success"}
        assert socket.subprotocol == "prefect"
        yield socket


def eventually(read: Callable[[], Any], expected: Any) -> None:
    """Read until it is as expected; what comes over a websocket has no answer to wait for."""
    deadline = time.monotonic() + 30
    while (found := read()) != expected:
        assert time.monotonic() < deadline, f"{found} is not {expected}"
        time.sleep(0.02)


@pytest.mark.parametrize("path", ["/events/in", "/events/out", "/logs/out"])
def test_each_socket_opens_with_the_same_handshake(server: str, path: str) -> None:
    """A wrong word, or none, closes it with 1008; so does a first message that is something else."""
    with greeted(server, path):
        pass
    for token in ("wrong", None):
        with open_socket(server, path, token) as socket, pytest.raises(ConnectionClosed) as closed:
            socket.recv(timeout=10)
        assert closed.value.rcvd.code == 1008  # type: ignore[union-attr]  # the server closed it
    with connect(server.replace("http", "ws", 1) + path) as socket, pytest.raises(ConnectionClosed):
        socket.send("nonsense")
        socket.recv(timeout=10)


def event(number: int, type: str, name: str, *, flow_run: str | None = None, at: int = 0, **run: Any) -> str:
    """Return the event of a task run's state as a client sends it."""
    occurred = f"2026-01-01T00:00:{at:02}.000000Z"
    related = [{"prefect.resource.id": f"prefect.flow-run.{flow_run}", "prefect.resource.role": "flow-run"}]
    return json.dumps(
        {
            "id": f"00000000-0000-7000-8000-{number:012x}",
            "occurred": occurred,
            "event": f"prefect.task-run.{name}",
            "resource": {
                "prefect.resource.id": f"prefect.task-run.{run.pop('id', TASK)}",
                "prefect.orchestration": "client",
            },
            "related": related if flow_run else [],
            "payload": {
                "validated_state": {
                    "type": type,
                    "name": name,
                    "message": None,
                    "state_details": {"retriable": None},
                },
                "task_run": {
                    "task_key": "load-1",
                    "dynamic_key": "0",
                    "name": "load-0",
                    "tags": ["t"],
                    **run,
                },
            },
            "follows": None,
        }
    )


@pytest.fixture
def flow_run(http: httpx.Client) -> Iterator[str]:
    """A flow run that goes with its tasks at the end."""
    flow = http.post("/flows/", json={"name": "etl"}).json()["id"]
    run: str = http.post("/flow_runs/", json={"flow_id": flow}).json()["id"]
    yield run
    http.delete(f"/flow_runs/{run}")


def names(http: httpx.Client) -> list[str] | None:
    """Return the history of the task run, ``None`` while it is not there."""
    answer = http.get(f"/task_runs/{TASK}")
    if answer.status_code == 404:
        return None
    return [each["name"] for each in answer.json()["state_history"]]


def test_a_task_run_is_built_from_its_events_in_any_order(
    server: str, http: httpx.Client, flow_run: str
) -> None:
    """Late, twice, and with nonsense between: the newest by its own time stands, the history is in order."""
    running = event(
        2, "RUNNING", "Running", flow_run=flow_run, at=2, run_count=1, start_time="2026-01-01T00:00:02Z"
    )
    completed = event(
        3,
        "COMPLETED",
        "Completed",
        flow_run=flow_run,
        at=5,
        run_count=1,
        start_time="2026-01-01T00:00:02Z",
        end_time="2026-01-01T00:00:05Z",
        total_run_time=3.0,
    )
    pending = event(1, "PENDING", "Pending", flow_run=flow_run, at=1)
    with greeted(server, "/events/in") as socket:
        broken = [event(9, "NO_STATE", "X"), '{"event": 1}', "[]", "{", '{"resource": {}}']
        for text in (running, running, *broken, completed, pending, completed):
            socket.send(text)
    eventually(lambda: names(http), ["Pending", "Running", "Completed"])
    told = http.get(f"/task_runs/{TASK}").json()

    assert ("COMPLETED", 1, 3.0, "load-0", flow_run) == tuple(
        told[name] for name in ("state_type", "run_count", "total_run_time", "name", "flow_run_id")
    )
    assert tuple(told[name] for name in ("start_time", "end_time", "tags", "flow_name")) == (
        "2026-01-01T00:00:02.000000Z",
        "2026-01-01T00:00:05.000000Z",
        ["t"],
        "etl",
    )


def test_a_thousand_events_are_all_written_though_the_client_goes_at_once(
    server: str, http: httpx.Client, flow_run: str
) -> None:
    """What was taken in is kept."""
    with greeted(server, "/events/in") as socket:
        for number in range(1_000):
            id = f"00000000-0000-7000-9000-{number:012x}"
            socket.send(
                event(number, "COMPLETED", "Completed", flow_run=flow_run, id=id, dynamic_key=str(number))
            )
    wanted = {"flow_runs": {"id": {"any_": [flow_run]}}}
    eventually(lambda: http.post("/task_runs/count", json=wanted).json(), 1_000)


@contextmanager
def asked(server: str, path: str, filter: Any, **more: Any) -> Iterator[ClientConnection]:
    """Open a socket that sends what fits a filter."""
    with greeted(server, path) as socket:
        socket.send(json.dumps({"type": "filter", "filter": filter, **more}))
        yield socket


def test_a_listener_hears_of_a_flow_runs_states(server: str, http: httpx.Client, flow_run: str) -> None:
    """Those of the last moments first, then new ones; only those that fit, and each names its run."""
    wanted = {
        "event": {"name": ["prefect.flow-run.Pending", "prefect.flow-run.Cancelling"]},
        "any_resource": {"id": [f"prefect.flow-run.{flow_run}"]},
        "occurred": {"since": "2020-01-01T00:00:00Z", "until": "2100-01-01T00:00:00Z"},
        "resource": None,
        "id": {"id": []},
    }
    with asked(server, "/events/out", wanted) as socket:
        first = json.loads(socket.recv(timeout=10))
        for type in ("RUNNING", "CANCELLING"):
            http.post(f"/flow_runs/{flow_run}/set_state", json={"state": {"type": type}})
        second = json.loads(socket.recv(timeout=10))

    assert [first["type"], first["event"]["event"]] == ["event", "prefect.flow-run.Pending"]
    assert second["event"]["event"] == "prefect.flow-run.Cancelling"
    assert f"prefect.flow-run.{flow_run}" == second["event"]["resource"]["prefect.resource.id"]
    assert second["event"]["payload"]["intended"] == {"from": "RUNNING", "to": "CANCELLING"}


def test_a_listener_may_do_without_what_has_been(server: str, http: httpx.Client, flow_run: str) -> None:
    """``backfill: false``"""
    wanted = {"any_resource": {"id": [f"prefect.flow-run.{flow_run}"]}}
    with asked(server, "/events/out", wanted, backfill=False) as socket:
        socket.ping().wait(10)  # the filter is read by then, or the news come to nobody
        deadline = time.monotonic() + 10
        heard: list[str] = []
        while not heard:
            assert time.monotonic() < deadline
            http.post(f"/flow_runs/{flow_run}/set_state", json={"state": {"type": "RUNNING"}})
            try:
                heard.append(json.loads(socket.recv(timeout=0.2))["event"]["event"])
            except TimeoutError:
                continue

    assert heard == ["prefect.flow-run.Running"]


def test_a_filter_that_cannot_be_read_closes_the_socket(server: str) -> None:
    """With the reason."""
    for path in ("/events/out", "/logs/out"):
        with (
            asked(server, path, {"event": 5, "level": 5}) as socket,
            pytest.raises(ConnectionClosed, match="filter"),
        ):
            socket.recv(timeout=10)


def test_log_lines_are_followed(server: str, http: httpx.Client, flow_run: str) -> None:
    """Those from the filter's time on, then new ones, each once."""
    line = {"name": "x", "level": 20, "timestamp": "2026-01-01T00:00:00Z", "flow_run_id": flow_run}
    wanted = {
        "flow_run_id": {"any_": [flow_run]},
        "timestamp": {"after_": "2025-01-01T00:00:00Z"},
        "level": {"ge_": 20},
    }
    http.post("/logs/", json=[{**line, "message": "one"}, {**line, "message": "quiet", "level": 10}])
    with asked(server, "/logs/out", wanted) as socket:
        heard = [json.loads(socket.recv(timeout=10))["log"]["message"]]
        http.post("/logs/", json=[{**line, "message": "two", "timestamp": "2026-01-01T00:00:01Z"}])
        heard.append(json.loads(socket.recv(timeout=10))["log"]["message"])

    assert heard == ["one", "two"]
