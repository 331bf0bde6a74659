"""Runs of deployments started from code: made once, waited for through trouble, and shown below their caller."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from headrace import flow
from headrace.client.connection import Connection
from headrace.client.waiting import Wait
from headrace.connect import connect
from headrace.deployments import arun_deployment, run_deployment
from headrace.errors import (
    DeploymentError,
    ObjectNotFound,
    ParameterTypeError,
    ServerUnavailable,
    UnfinishedRun,
)
from headrace.server import process
from headrace.settings import Settings, load

Json = dict[str, Any]

_DEADLINE_S = 20.0


@flow
def etl(region: str = "north", days: int = 7) -> None: ...


@pytest.fixture
def deployed(connection: Connection) -> str:
    """The name of a deployment in the home folder's database."""
    etl.deploy("d", work_pool_name="main", tags=["own"], parameters={"days": 3}, print_next_steps=False)
    return "etl/d"


def until(seen: Callable[[], Any]) -> Any:
    """Return what ``seen`` returns, once that is something."""
    deadline = time.monotonic() + _DEADLINE_S
    while not (found := seen()):
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.02)
    return found


def end(connection: Connection, id: str, state: str = "COMPLETED") -> None:
    """End a run as somebody who carries it out would."""
    for kind in ("PENDING", "RUNNING", state):
        body = {"state": {"type": kind, "message": f"{kind} here"}, "force": True}
        connection.request("POST", f"/flow_runs/{id}/set_state", json=body, repeatable=True)


def runs(connection: Connection) -> list[Json]:
    return list(connection.post("/flow_runs/filter", {}, repeatable=True))


def test_a_run_is_made_of_what_the_deployment_and_the_call_say(connection: Connection, deployed: str) -> None:
    due = datetime.now(timezone.utc) + timedelta(hours=1)
    made = run_deployment(
        deployed,
        parameters={"region": "south"},
        scheduled_time=due,
        flow_run_name="mine",
        timeout=0,
        tags=["extra"],
        work_queue_name="fast",
        job_variables={"memory_limit": "1GiB"},
    )

    assert (made.name, made.parameters) == ("mine", {"days": 3, "region": "south"})
    assert made.tags == ["own", "extra"]
    assert (made.work_queue_name, made.job_variables) == ("fast", {"memory_limit": "1GiB"})
    assert made.state is not None and made.state.is_scheduled()
    assert made.state.state_details.scheduled_time == due
    assert made.expected_start_time == due
    assert made.parent_task_run_id is None
    assert str(made.id) == runs(connection)[0]["id"]
    assert str(made.deployment_id) == made.to_dict()["deployment_id"]
    with pytest.raises(UnfinishedRun):
        made.state.result()
    with pytest.raises(AttributeError, match="colour"):
        made.colour  # noqa: B018  # asking is the test


def test_a_deployment_is_known_by_its_id_too(connection: Connection, deployed: str) -> None:
    first = run_deployment(deployed, timeout=0)

    assert run_deployment(first.deployment_id, timeout=0).deployment_id == first.deployment_id


@pytest.mark.parametrize("name", ["on demand", "what?", "a#b", "ümläut"])
def test_any_name_of_a_deployment_is_found(connection: Connection, name: str) -> None:
    etl.deploy(name, work_pool_name="main", print_next_steps=False)

    assert run_deployment(f"etl/{name}", timeout=0).deployment_id is not None


def test_a_key_makes_one_run(connection: Connection, deployed: str) -> None:
    first = run_deployment(deployed, timeout=0, idempotency_key="once")
    again = run_deployment(deployed, timeout=0, idempotency_key="once")

    assert first.id == again.id
    assert run_deployment(deployed, timeout=0).id != run_deployment(deployed, timeout=0).id


@pytest.mark.parametrize(
    ("wrong", "kind", "told"),
    [
        ({"name": "etl/dd"}, ObjectNotFound, "'etl/dd'; near it: etl/d"),
        ({"name": "01890a5d-ac96-774b-bcce-b302099a8057"}, ObjectNotFound, "deployment ls"),
        ({"parameters": {"days": "many"}}, ParameterTypeError, "days"),
        ({"parameters": {"days": object()}}, DeploymentError, "parameter days"),
        ({"job_variables": {"memory_limit": "lots"}}, DeploymentError, "memory_limit"),
    ],
)
def test_what_cannot_be_is_refused_before_a_run_exists(
    connection: Connection, deployed: str, wrong: Json, kind: type[Exception], told: str
) -> None:
    with pytest.raises(kind, match=told):
        run_deployment(**{"name": deployed, "timeout": 0, **wrong})

    assert runs(connection) == []


def test_the_end_of_the_time_is_not_the_end_of_the_run(connection: Connection, deployed: str) -> None:
    begun = time.monotonic()
    found = run_deployment(deployed, timeout=0.3)

    assert 0.3 <= time.monotonic() - begun < 5
    assert found.state is not None and not found.state.is_final()


@pytest.mark.parametrize("state", ["COMPLETED", "FAILED", "CANCELLED"])
def test_a_run_is_returned_as_it_ended(connection: Connection, deployed: str, state: str) -> None:
    """Nothing is raised for it: the state says how."""
    ender = threading.Thread(target=lambda: end(connection, until(lambda: runs(connection))[0]["id"], state))
    ender.start()
    found = run_deployment(deployed, poll_interval=0.2)
    ender.join()

    assert found.state is not None
    assert (found.state.type.value, found.state.message) == (state, f"{state} here")


def test_async_code_awaits_and_its_loop_goes_on(connection: Connection, deployed: str) -> None:
    """The run is ended by the loop that waits for it: were that held up, it would wait for ever."""

    def end_it() -> None:
        end(connection, until(lambda: runs(connection))[0]["id"], "COMPLETED")

    async def tick_and_end() -> None:
        for _ in range(20):
            await asyncio.sleep(0.01)
        await asyncio.to_thread(end_it)

    async def main() -> tuple[Any, Any]:
        ending = asyncio.create_task(tick_and_end())
        first = await run_deployment(deployed, poll_interval=0.2)  # type: ignore[misc]  # typed as sync callers see it
        await ending
        return first, await arun_deployment(deployed, timeout=0)

    first, second = asyncio.run(main())

    assert first.state.type.value == "COMPLETED"
    assert first.id != second.id


def test_a_server_that_restarts_only_takes_time(server: Settings) -> None:
    """The wait is as long as the run; the server was away in the middle of it."""
    etl.deploy("d", work_pool_name="main", print_next_steps=False)
    found: list[Any] = []
    waiter = threading.Thread(target=lambda: found.append(run_deployment("etl/d", poll_interval=0.2)))
    with connect(server) as connection:
        waiter.start()
        (run,) = until(lambda: runs(connection))
        process.stop(server)
        time.sleep(0.5)  # the outage itself: some questions are to fall into it
        assert waiter.is_alive()
        port = connection.url.rsplit(":", 1)[1].partition("/")[0]
        process.start_in_background(server.replace(server_port=int(port)))
        end(connection, run["id"])
        waiter.join(_DEADLINE_S)

    assert not waiter.is_alive()
    assert found[0].state.is_completed()


def test_no_server_is_told_where_no_run_waits_for_it(home: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADRACE_API_URL", "http://127.0.0.1:9/api")
    monkeypatch.setenv("HEADRACE_CLIENT_MAX_RETRIES", "0")
    with pytest.raises(ServerUnavailable, match="HEADRACE_API_URL"):
        run_deployment("etl/d", timeout=30)


def test_a_wait_that_never_hears_anything_ends_with_its_time() -> None:
    settings = load().replace(api_url="http://127.0.0.1:9/api")
    with Connection(settings, settings.api_url) as away:
        wait = Wait(away, "01890a5d-ac96-774b-bcce-b302099a8057", timeout=0.3, interval=0.1)
        with pytest.raises(ServerUnavailable):
            wait.sync()


# -- below the run that asks

CALLER = """
import asyncio, json, sys
from headrace import flow, task
from headrace.deployments import run_deployment

@flow
def caller():
    @task
    def day():
        return 5
    one = run_deployment("etl/d", timeout=0, parameters={"days": day.submit()}, flow_run_name="one")
    try:
        run_deployment("etl/d", timeout=0, parameters={"days": "many"})
    except Exception as error:
        print(type(error).__name__)
    alone = run_deployment("etl/d", timeout=0, as_subflow=False, flow_run_name="alone")
    for _ in range(2):
        run_deployment("etl/d", timeout=0, idempotency_key="k", flow_run_name="keyed")

@flow
async def acaller():
    await run_deployment("etl/d", timeout=0, flow_run_name="async")

caller()
asyncio.run(acaller())
"""


def children(connection: Connection, caller: str) -> tuple[dict[str, Json], list[Json]]:
    """Return a flow's run's children by name, and the task runs of that run."""
    body = {"flows": {"name": {"any_": [caller]}}}
    (parent,) = until(lambda: connection.post("/flow_runs/filter", body, repeatable=True))
    tasks = connection.post(
        "/task_runs/filter", {"flow_runs": {"id": {"any_": [parent["id"]]}}}, repeatable=True
    )
    ids = {task["id"] for task in tasks}
    found = {run["name"]: run for run in runs(connection) if run["parent_task_run_id"] in ids}
    return found, tasks


def test_a_run_is_shown_below_the_flow_that_started_it(
    connection: Connection, deployed: str, script: Callable[[str], str]
) -> None:
    """Without a server, in the home folder's database; what stands for no run is not left behind."""
    out = script(CALLER)
    below, tasks = children(connection, "caller")
    placeholders = [task for task in tasks if task["task_key"].startswith("run_deployment")]

    assert out.split() == ["ParameterTypeError"]
    assert set(below) == {"one", "keyed"}
    assert below["one"]["parameters"]["days"] == 5
    assert below["one"]["parent_task_run_id"] in {task["id"] for task in placeholders}
    assert len(placeholders) == 2
    assert next(task["task_inputs"] for task in placeholders if task["name"] == "one")["days"]
    assert "alone" in {run["name"] for run in runs(connection)}
    assert set(children(connection, "acaller")[0]) == {"async"}

    end(connection, below["one"]["id"], "FAILED")
    shown = connection.get(f"/task_runs/{below['one']['parent_task_run_id']}")
    assert shown["state_type"] == "FAILED"


def test_a_flow_waits_for_a_server_that_is_away(
    server: Settings, script: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Within a run nothing fails because the server does; it begins when the server is there again."""
    etl.deploy("d", work_pool_name="main", print_next_steps=False)
    with connect(server) as connection:
        url = connection.url
    process.stop(server)
    monkeypatch.setenv("HEADRACE_API_URL", url)
    monkeypatch.setenv("HEADRACE_CLIENT_MAX_RETRIES", "0")
    out: list[str] = []
    code = (
        "from headrace import flow\n"
        "from headrace.deployments import run_deployment\n"
        "@flow\n"
        "def caller():\n"
        "    print(run_deployment('etl/d', timeout=0, flow_run_name='late').name)\n"
        "caller()\n"
    )
    caller = threading.Thread(target=lambda: out.append(script(code)))
    caller.start()
    until(lambda: list((server.home_path / "spool").glob("*/journal*")))
    assert caller.is_alive()
    port = url.rsplit(":", 1)[1].partition("/")[0]
    process.start_in_background(server.replace(server_port=int(port)))
    caller.join(_DEADLINE_S * 2)

    assert out == ["late\n"], json.dumps(out)
