"""What really is answered has every field of the contract, of its type, with its status."""

from __future__ import annotations

import json
from string import Template
from typing import Any

import pytest

from tests.server.serving import Api

from .facts import ENDPOINTS, misfit

TIME = "2026-11-23T12:00:00.000001Z"


@pytest.fixture
def things(api: Api) -> dict[str, Any]:
    """A flow with a run that has states, a task run, a log line and an input."""
    run = api.flow_run(
        name="brisk-otter", tags=["a"], parameters={"n": 1}, idempotency_key="once", labels={"team": "x"}
    )
    task = api.post(
        "/task_runs/",
        json={
            "flow_run_id": run["id"],
            "task_key": "load-1",
            "dynamic_key": "0",
            "task_inputs": {"a": [{"input_type": "parameter", "name": "n"}]},
        },
    ).json()
    api.propose("flow_runs", run["id"], "RUNNING")
    api.propose("task_runs", task["id"], "RUNNING")
    line = {"name": "x", "level": 20, "message": "hello", "timestamp": TIME, "flow_run_id": run["id"]}
    api.post("/logs/", json=[line])
    api.post(f"/flow_runs/{run['id']}/input", json={"key": "k", "value": "1"})
    deployed = _deployment(api, run["flow_id"])
    api.post(f"/deployments/{deployed['id']}/create_flow_run", json={})
    return {
        "flow": run["flow_id"],
        "run": run["id"],
        "task": task["id"],
        "state": run["state_id"],
        "deployment": deployed["id"],
        "queue": deployed["work_queue_id"],
    }


def _deployment(api: Api, flow_id: str) -> dict[str, Any]:
    """Make a deployment with a schedule of each kind, in a pool that has a worker."""
    api.post("/work_pools/", json={"name": "alpha", "type": "process", "concurrency_limit": 2})
    api.post("/work_pools/alpha/workers/heartbeat", json={"name": "w", "heartbeat_interval_seconds": 30})
    rules = ({"cron": "0 6 * * *"}, {"interval": 60}, {"rrule": "FREQ=DAILY"})
    body = {
        "name": "nightly",
        "flow_id": flow_id,
        "work_pool_name": "alpha",
        "schedules": [{"schedule": rule, "slug": next(iter(rule))} for rule in rules],
        "concurrency_limit": 1,
        "concurrency_options": {"collision_strategy": "ENQUEUE"},
        "pull_steps": [{"step": {}}],
    }
    return dict(api.post("/deployments/", json=body).json())


def check(operation: str, answer: Any, status: int = 200) -> None:
    """Compare an answer with the facts; 201 has the schema of 200."""
    assert status == answer.status_code, answer.text
    responses = ENDPOINTS[operation]["responses"]
    text = responses.get(str(status), responses.get("200"))

    assert None is misfit(text, answer.json())


READS = [
    ("GET /health", None),
    ("GET /hello", None),
    ("GET /version", None),
    ("GET /admin/version", None),
    ("GET /admin/storage", None),
    ("GET /flows/{flow}", None),
    ("GET /flows/name/etl", None),
    ("POST /flows/filter", {}),
    ("POST /flows/count", {}),
    ("POST /flows/paginate", {}),
    ("GET /flow_runs/{run}", None),
    ("POST /flow_runs/filter", {}),
    ("POST /flow_runs/count", {}),
    ("POST /flow_runs/paginate", {}),
    ("POST /flow_runs/{run}/input/filter", {"prefix": ""}),
    ("GET /task_runs/{task}", None),
    ("POST /task_runs/filter", {}),
    ("POST /task_runs/count", {}),
    ("POST /task_runs/paginate", {}),
    ("POST /logs/filter", {}),
    ("GET /flow_run_states/?flow_run_id={run}", None),
    ("GET /flow_run_states/{state}", None),
    ("GET /task_run_states/?task_run_id={task}", None),
    ("GET /deployments/{deployment}", None),
    ("GET /deployments/name/etl/nightly", None),
    ("GET /deployments/{deployment}/schedules", None),
    ("POST /deployments/filter", {}),
    ("POST /deployments/count", {}),
    ("POST /deployments/paginate", {}),
    ("GET /work_pools/alpha", None),
    ("POST /work_pools/filter", {}),
    ("POST /work_pools/count", {}),
    ("POST /work_pools/alpha/queues/filter", {}),
    ("GET /work_pools/alpha/queues/default", None),
    ("POST /work_pools/alpha/workers/filter", {}),
    ("GET /work_queues/{queue}", None),
    ("GET /work_queues/{queue}/status", None),
    ("POST /work_queues/filter", {}),
    ("POST /work_pools/alpha/concurrency_status", {}),
    ("POST /work_queues/{queue}/concurrency_status", {}),
    ("POST /work_pools/alpha/get_scheduled_flow_runs", {}),
    ("POST /deployments/get_scheduled_flow_runs", {"deployment_ids": ["$deployment"]}),
    ("POST /work_queues/{queue}/get_runs", {}),
    ("GET /deployments/{deployment}/work_queue_check", None),
    ("GET /collections/views/aggregate-worker-metadata", None),
]


_NAMES = {
    "/etl/nightly": "/{flow_name}/{deployment_name}",
    "/etl": "/{name}",
    "/alpha/concurrency": "/{name}/concurrency",
    "/alpha/get_scheduled": "/{name}/get_scheduled",
    "/alpha/": "/{work_pool_name}/",
    "/alpha": "/{name}",
    "/default": "/{name}",
    "aggregate-worker-metadata": "{view}",
}


def _as_in_the_facts(path: str) -> str:
    """Return a path with the names of its parameters."""
    for name in ("flow", "run", "task", "state", "deployment", "queue"):
        path = path.replace(f"{{{name}}}", "{id}")
    for value, name in _NAMES.items():
        path = path.replace(value, name)
    return path.split("?")[0]


@pytest.mark.parametrize(("call", "body"), READS, ids=[call for call, _ in READS])
def test_a_read_answers_as_the_contract_says(api: Api, things: dict[str, Any], call: str, body: Any) -> None:
    """Each read, with something there to be read; lists are not empty."""
    method, path = call.split()
    known = _as_in_the_facts(path)
    if body:
        body = json.loads(Template(json.dumps(body)).substitute(things))
    answer = api.request(method, path.format(**things), json=body)

    check(f"{method} {known}", answer)
    assert answer.json() != []


def test_creating_answers_201_and_then_200_for_what_is_there(api: Api) -> None:
    """Flows by name, flow runs by idempotency key, task runs by their keys."""
    flow = {"name": "etl", "tags": ["a"]}
    first = api.post("/flows/", json=flow)
    check("POST /flows/", first, 201)
    check("POST /flows/", api.post("/flows/", json=flow))
    run = {"flow_id": first.json()["id"], "idempotency_key": "once"}
    made = api.post("/flow_runs/", json=run)
    check("POST /flow_runs/", made, 201)
    again = api.post("/flow_runs/", json=run)
    check("POST /flow_runs/", again)
    assert made.json()["id"] == again.json()["id"]
    task = {"flow_run_id": made.json()["id"], "task_key": "t", "dynamic_key": "0"}
    check("POST /task_runs/", api.post("/task_runs/", json=task), 201)
    check("POST /task_runs/", api.post("/task_runs/", json=task))


def test_what_deployments_need_is_answered_as_the_contract_says(api: Api, things: dict[str, Any]) -> None:
    """Making a pool, a queue, a deployment (201, then 200), a schedule and runs of it."""
    check("POST /work_pools/", api.post("/work_pools/", json={"name": "beta"}), 201)
    queue = api.post("/work_pools/beta/queues", json={"name": "fast"})
    check("POST /work_pools/{work_pool_name}/queues", queue, 201)
    check("POST /work_queues/", api.post("/work_queues/", json={"name": "old"}), 201)
    body = {"name": "hourly", "flow_id": things["flow"]}
    check("POST /deployments/", api.post("/deployments/", json=body), 201)
    check("POST /deployments/", api.post("/deployments/", json=body))
    path = f"/deployments/{things['deployment']}"
    rules = [{"schedule": {"cron": "1 * * * *"}}, {"schedule": {"interval": "PT1H"}}]
    check("POST /deployments/{id}/schedules", api.post(f"{path}/schedules", json=rules), 201)
    check("POST /deployments/{id}/create_flow_run", api.post(f"{path}/create_flow_run", json={}), 201)
    many = api.post(f"{path}/create_flow_run/bulk", json=[{}])
    check("POST /deployments/{id}/create_flow_run/bulk", many)
    check("POST /deployments/bulk_delete", api.post("/deployments/bulk_delete"))


def test_proposals_answer_as_the_contract_says(api: Api, things: dict[str, Any]) -> None:
    """ACCEPT with 201 and ABORT with 200 have the same shape."""
    id = things["run"]
    check("POST /flow_runs/{id}/set_state", api.propose("flow_runs", id, "COMPLETED"), 201)
    check("POST /flow_runs/{id}/set_state", api.propose("flow_runs", id, "CRASHED"))
    check("POST /task_runs/{id}/set_state", api.propose("task_runs", things["task"], "COMPLETED"), 201)
    check("POST /flow_runs/{id}/resume", api.post(f"/flow_runs/{id}/resume"))
    check(
        "POST /flow_runs/bulk_set_state",
        api.post("/flow_runs/bulk_set_state", json={"state": {"type": "RUNNING"}}),
    )


def test_slots_are_granted_since_no_limit_has_a_name_of_its_own(api: Api) -> None:
    """A task with tags asks for slots; unknown names are no error."""
    body = {"names": ["tag:x"], "slots": 1}
    taken = api.post("/v2/concurrency_limits/increment-with-lease", json=body)
    check("POST /v2/concurrency_limits/increment-with-lease", taken)
    lease = taken.json()["lease_id"]

    assert api.post(f"/v2/concurrency_limits/leases/{lease}/renew").status_code == 204
    assert (
        api.post("/v2/concurrency_limits/decrement-with-lease", json={"lease_id": lease}).status_code == 204
    )


MISSING = "01a20879-4912-75ac-8e3e-000000000000"


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/flows/{}"),
        ("PATCH", "/flows/{}"),
        ("DELETE", "/flows/{}"),
        ("GET", "/flow_runs/{}"),
        ("PATCH", "/flow_runs/{}"),
        ("PATCH", "/flow_runs/{}/labels"),
        ("DELETE", "/flow_runs/{}"),
        ("POST", "/flow_runs/{}/resume"),
        ("GET", "/flow_runs/{}/input/k"),
        ("DELETE", "/flow_runs/{}/input/k"),
        ("GET", "/task_runs/{}"),
        ("PATCH", "/task_runs/{}"),
        ("DELETE", "/task_runs/{}"),
        ("GET", "/flow_run_states/{}"),
        ("GET", "/task_run_states/{}"),
    ],
)
def test_what_is_not_there_is_404_with_its_name(api: Api, method: str, path: str) -> None:
    """``{"detail": "<Thing> not found"}``; a malformed id is 404 too."""
    answer = api.request(method, path.format(MISSING), json={} if method in ("POST", "PATCH") else None)

    assert answer.status_code == 404
    assert answer.json()["detail"].endswith("not found")
    assert api.request(method, path.format("no-uuid")).status_code == 404


@pytest.mark.parametrize("kind", ["flow_runs", "task_runs"])
def test_a_proposal_for_a_missing_run_is_404_with_a_message(api: Api, kind: str) -> None:
    """``exception_message`` instead of ``detail``: the contract's exception."""
    answer = api.propose(kind, MISSING, "RUNNING")

    assert answer.status_code == 404
    assert "not found" in answer.json()["exception_message"]


def test_tokens_against_forgery_are_off_in_the_words_that_clients_match(api: Api) -> None:
    """422 with the fixed text."""
    answer = api.get("/csrf-token", params={"client": MISSING})

    assert (answer.status_code, answer.json()) == (422, {"detail": "CSRF protection is disabled."})


def test_the_versions_are_the_contracts(api: Api) -> None:
    """A client compares the release's major with its own."""
    assert (api.get("/version").json(), api.get("/admin/version").json()) == ("0.8.4", "3.9.1")
    assert api.get("/ready").json() == {"message": "OK"}


@pytest.mark.parametrize(
    ("version", "status"), [("0.8.4", 200), ("0.9.0", 200), ("0.7.9", 400), ("x", 400), ("1.2", 400)]
)
def test_an_api_version_is_compared(api: Api, version: str, status: int) -> None:
    """Older than 0.8.0 or unreadable: 400 with a detail; newer is fine."""
    answer = api.get("/hello", headers={"x-prefect-api-version": version})

    assert status == answer.status_code
    assert status == 200 or version in answer.json()["detail"]
