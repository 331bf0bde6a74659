"""Deployments and their schedules: put, found, changed, gone; and the runs that are made of them."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import update

from headrace.server.store import planning as store
from headrace.server.store.tables import flow_runs
from tests.server.serving import Api

MISSING = "01a20879-4912-75ac-8e3e-000000000000"
SCHEMA = {
    "title": "Parameters",
    "type": "object",
    "properties": {
        "n": {"title": "n", "type": "integer"},
        "who": {"title": "who", "$ref": "#/definitions/Person"},
        "note": {"title": "note", "type": "string", "default": None},
    },
    "required": ["n"],
    "definitions": {
        "Person": {"type": "object", "properties": {"age": {"type": "integer"}}, "required": ["age"]}
    },
}
DAILY = {"schedule": {"cron": "0 6 * * *", "timezone": "Europe/Berlin"}}


def deploy(api: Api, name: str = "nightly", *, flow: str = "etl", **fields: Any) -> dict[str, Any]:
    """Put a deployment."""
    answer = put(api, name, flow=flow, **fields)
    assert answer.status_code in (200, 201), answer.text
    return dict(answer.json())


def put(api: Api, name: str = "nightly", *, flow: str = "etl", **fields: Any) -> Any:
    """Ask for a deployment."""
    flow_id = api.post("/flows/", json={"name": flow}).json()["id"]
    return api.post("/deployments/", json={"name": name, "flow_id": flow_id, **fields})


def run(api: Api, id: str, **fields: Any) -> Any:
    """Ask for a run of a deployment."""
    return api.post(f"/deployments/{id}/create_flow_run", json=fields)


def get(api: Api, id: str) -> dict[str, Any]:
    """Return a deployment."""
    return dict(api.get(f"/deployments/{id}").json())


def pool(api: Api, name: str = "alpha") -> None:
    """Make a work pool."""
    assert api.post("/work_pools/", json={"name": name, "type": "process"}).status_code == 201


def test_a_deployment_is_put_by_flow_and_name(api: Api) -> None:
    """201 for a new one; then 200 for the same, changed in what the request names and nothing else."""
    first = put(api, tags=["a", "a"], version="1", parameters={"x": 1}, description="d", paused=True)
    again = put(api, version="2", tags=[])
    made, changed = first.json(), again.json()

    assert (first.status_code, again.status_code) == (201, 200)
    assert (made["tags"], made["version"], made["paused"]) == (["a"], "1", True)
    assert (changed["id"], changed["created"]) == (made["id"], made["created"])
    assert (changed["version"], changed["tags"], changed["parameters"]) == ("2", [], {"x": 1})
    assert (changed["description"], changed["paused"]) == ("d", True)
    assert changed == get(api, made["id"]) == api.get("/deployments/name/etl/nightly").json()
    assert put(api, "other").status_code == put(api, flow="elt").status_code == 201
    assert api.post("/deployments/count").json() == 3


def test_a_deployment_needs_its_flow(api: Api) -> None:
    """409; a name that is not there is 404."""
    answer = api.post("/deployments/", json={"name": "a", "flow_id": MISSING})

    assert (answer.status_code, MISSING in answer.json()["detail"]) == (409, True)
    assert api.get("/deployments/name/etl/a").status_code == 404


def test_a_deployment_is_given_to_a_queue_by_names(api: Api) -> None:
    """The default queue if none is named; a queue is made, a pool is not; null takes it away."""
    pool(api)
    id = deploy(api, work_pool_name="alpha")["id"]
    default = get(api, id)
    api.patch(f"/deployments/{id}", json={"work_queue_name": "fast"})
    fast = get(api, id)
    refused = put(api, "b", work_pool_name="nowhere")
    api.patch(f"/deployments/{id}", json={"work_pool_name": None})
    agent = deploy(api, "c", work_queue_name="old")

    assert (default["work_pool_name"], default["work_queue_name"]) == ("alpha", "default")
    assert (fast["work_pool_name"], fast["work_queue_name"]) == ("alpha", "fast")
    assert api.get("/work_pools/alpha/queues/fast").json()["id"] == fast["work_queue_id"]
    assert (refused.status_code, "nowhere" in refused.json()["detail"]) == (404, True)
    assert (get(api, id)["work_pool_name"], get(api, id)["work_queue_id"]) == (None, None)
    assert (agent["work_pool_name"], agent["work_queue_name"]) == ("default-agent-pool", "old")


def test_a_deployment_outlives_its_queue_and_pool(api: Api) -> None:
    """It is then given to nobody."""
    pool(api)
    id = deploy(api, work_pool_name="alpha", work_queue_name="fast")["id"]
    api.delete("/work_pools/alpha/queues/fast")
    assert get(api, id)["work_queue_id"] is None
    api.patch(f"/deployments/{id}", json={"work_pool_name": "alpha"})
    assert get(api, id)["work_queue_name"] == "default"
    api.delete("/work_pools/alpha")
    assert get(api, id)["work_pool_name"] is None


def test_absent_leaves_and_null_clears(api: Api) -> None:
    """Field by field."""
    given = {
        "version": "1",
        "description": "d",
        "concurrency_limit": 2,
        "concurrency_options": {"collision_strategy": "CANCEL_NEW"},
        "parameters": {"x": 1},
        "job_variables": {"env": {"A": "1"}},
        "pull_steps": [{"step": {"a": 1}}],
        "path": "/srv",
        "entrypoint": "f.py:f",
    }
    id = deploy(api, **given)["id"]
    api.patch(f"/deployments/{id}", json={"tags": ["x"]})
    kept = get(api, id)
    api.patch(f"/deployments/{id}", json=dict.fromkeys([*given, "enforce_parameter_schema"]))
    cleared = get(api, id)

    assert {name: kept[name] for name in ("version", "description", "path", "entrypoint", "pull_steps")} == {
        name: given[name] for name in ("version", "description", "path", "entrypoint", "pull_steps")
    }
    assert kept["concurrency_options"] == {"collision_strategy": "CANCEL_NEW", "grace_period_seconds": None}
    assert (kept["parameters"], kept["job_variables"]) == ({"x": 1}, {"env": {"A": "1"}})
    assert [cleared[name] for name in ("version", "description", "path", "pull_steps")] == [None] * 4
    assert (cleared["parameters"], cleared["job_variables"], cleared["tags"]) == ({}, {}, ["x"])
    assert (cleared["global_concurrency_limit"], cleared["concurrency_options"]) == (None, None)
    assert cleared["enforce_parameter_schema"] is True


def test_the_limit_is_told_as_a_limit_of_its_own(api: Api) -> None:
    """``concurrency_limit`` reads back as null; what lives of it is counted."""
    id = deploy(api, concurrency_limit=2)["id"]
    run(api, id)
    pending = run(api, id, state={"type": "PENDING"}).json()["id"]
    limit = get(api, id)["global_concurrency_limit"]

    assert get(api, id)["concurrency_limit"] is None
    assert (limit["name"], limit["limit"], limit["active_slots"]) == (f"deployment:{id}", 2, 1)
    api.propose("flow_runs", pending, "CANCELLED")
    assert get(api, id)["global_concurrency_limit"]["active_slots"] == 0


def test_a_version_can_be_told_with_its_kind(api: Api) -> None:
    """An explicit ``version`` counts more; limits that do not exist cannot be named."""
    assert deploy(api, version_info={"type": "git", "version": "abc"})["version"] == "abc"
    assert deploy(api, version="1", version_info={"type": "git", "version": "abc"})["version"] == "1"
    assert put(api, global_concurrency_limit_id=MISSING).status_code == 404


def test_schedules_come_with_their_deployment(api: Api) -> None:
    """In the contract's form, whatever the form they were sent in; those named in a request are all there are."""
    anchor = "2026-01-01T00:00:00+01:00"
    id = deploy(
        api,
        schedules=[
            {**DAILY, "slug": "daily", "max_scheduled_runs": 5, "parameters": {"n": 1}},
            {"schedule": {"interval": "PT1H30M", "anchor_date": anchor}, "active": False, "slug": "often"},
            {"schedule": {"interval": 60}, "slug": "minutes"},
            {"schedule": {"rrule": "FREQ=DAILY;COUNT=3"}, "slug": "thrice"},
        ],
    )["id"]
    found = {each["slug"]: each for each in get(api, id)["schedules"]}

    assert found["daily"]["schedule"] == {"cron": "0 6 * * *", "timezone": "Europe/Berlin", "day_or": True}
    assert (found["daily"]["max_scheduled_runs"], found["daily"]["parameters"]) == (5, {"n": 1})
    often = {"interval": 5400.0, "anchor_date": "2025-12-31T23:00:00.000000Z", "timezone": None}
    assert (found["often"]["schedule"], found["often"]["active"]) == (often, False)
    assert found["minutes"]["schedule"]["anchor_date"].startswith("2026-09-21T14:13:20")
    assert found["thrice"]["schedule"] == {"rrule": "FREQ=DAILY;COUNT=3", "timezone": "UTC"}
    deploy(api, description="schedules are left alone")
    assert len(get(api, id)["schedules"]) == 4
    deploy(api, schedules=[{"schedule": {"cron": "@daily"}, "slug": "daily"}])
    [daily] = get(api, id)["schedules"]
    assert (daily["id"], daily["schedule"]["cron"]) == (found["daily"]["id"], "@daily")
    assert api.patch(f"/deployments/{id}", json={"schedules": []}).status_code == 204
    assert get(api, id)["schedules"] == []


def test_a_deployments_schedules_are_changed_by_slug(api: Api) -> None:
    """One that is there may leave out what stays; a new one has to say when."""
    id = deploy(api, schedules=[{**DAILY, "slug": "daily"}])["id"]
    [daily] = get(api, id)["schedules"]
    changes = [{"slug": "daily", "active": False}, {"replaces": "daily", "slug": "x"}]
    refused = api.patch(f"/deployments/{id}", json={"schedules": [{"slug": "new", "active": True}]})
    twice = api.patch(f"/deployments/{id}", json={"schedules": [changes[0], changes[0]]})
    api.patch(f"/deployments/{id}", json={"schedules": changes[:1]})
    [paused] = get(api, id)["schedules"]
    api.patch(f"/deployments/{id}", json={"schedules": changes[1:]})
    [renamed] = get(api, id)["schedules"]

    assert (refused.status_code, "schedule" in refused.text) == (422, True)
    assert (twice.status_code, "'daily'" in twice.text) == (422, True)
    assert (paused["id"], paused["active"], paused["schedule"]) == (daily["id"], False, daily["schedule"])
    assert (renamed["id"], renamed["slug"], renamed["active"]) == (daily["id"], "x", False)


def test_schedules_are_added_changed_and_deleted_one_by_one(api: Api) -> None:
    """A slug is had once in a deployment; ``replaces`` takes the place of the one it names."""
    id = deploy(api)["id"]
    path = f"/deployments/{id}/schedules"
    made = api.post(path, json=[{**DAILY, "slug": "daily"}, {"schedule": {"cron": "0 * * * *"}}])
    daily, hourly = made.json()

    assert (made.status_code, daily["deployment_id"], hourly["slug"]) == (201, id, None)
    assert {each["id"] for each in api.get(path).json()} == {daily["id"], hourly["id"]}
    assert api.post(path, json=[{**DAILY, "slug": "daily"}]).status_code == 409
    [replaced] = api.post(path, json=[{"schedule": {"cron": "1 1 * * *"}, "replaces": "daily"}]).json()
    assert (replaced["id"], replaced["schedule"]["cron"]) == (daily["id"], "1 1 * * *")
    one = f"{path}/{hourly['id']}"
    assert api.patch(one, json={"slug": "daily"}).status_code == 409
    assert api.patch(one, json={"active": False, "max_scheduled_runs": 3}).status_code == 204
    [told] = [each for each in api.get(path).json() if each["id"] == hourly["id"]]
    assert (told["active"], told["max_scheduled_runs"], told["schedule"]["cron"]) == (False, 3, "0 * * * *")
    assert api.patch(one, json={"max_scheduled_runs": None, "active": None}).status_code == 204
    [told] = [each for each in api.get(path).json() if each["id"] == hourly["id"]]
    assert (told["active"], told["max_scheduled_runs"]) == (False, None)
    assert api.delete(one).status_code == 204
    assert api.delete(one).status_code == api.patch(one, json={}).status_code == 404
    other = deploy(api, "other")["id"]
    assert api.delete(f"/deployments/{other}/schedules/{daily['id']}").status_code == 404


def test_a_run_takes_what_its_deployment_says(api: Api) -> None:
    """Under what the request says: parameters, tags, labels, place, version; it is due now."""
    pool(api)
    deployed = deploy(
        api,
        work_pool_name="alpha",
        parameters={"a": 1, "b": 2},
        tags=["x"],
        labels={"team": "blue", "tier": 1},
        version="7",
    )
    answer = run(
        api, deployed["id"], parameters={"b": 3}, tags=["y", "x"], labels={"tier": 2}, job_variables={"k": 1}
    )
    made = answer.json()

    assert answer.status_code == 201
    assert (made["parameters"], made["tags"]) == ({"a": 1, "b": 3}, ["x", "y"])
    assert (made["state_type"], made["state_name"], made["flow_name"]) == ("SCHEDULED", "Scheduled", "etl")
    assert made["next_scheduled_start_time"] == made["state"]["state_details"]["scheduled_time"]
    assert (made["work_pool_name"], made["work_queue_name"]) == ("alpha", "default")
    assert (made["work_queue_id"], made["deployment_version"]) == (deployed["work_queue_id"], "7")
    assert made["labels"] == {
        "prefect.flow.id": made["flow_id"],
        "prefect.deployment.id": deployed["id"],
        "team": "blue",
        "tier": 2,
    }
    assert (made["job_variables"], made["auto_scheduled"]) == ({"k": 1}, False)
    assert made["name"].count("-") == 1


def test_a_run_may_say_its_name_time_state_queue_and_key(api: Api) -> None:
    """Asked for twice with one key it is made once."""
    pool(api)
    id = deploy(api, work_pool_name="alpha")["id"]
    later = {"type": "SCHEDULED", "state_details": {"scheduled_time": "2099-01-01T00:00:00Z"}}
    first = run(
        api, id, name="mine", state=later, work_queue_name="slow", idempotency_key="k", context={"c": 1}
    )
    again = run(api, id, idempotency_key="k")
    made = first.json()

    assert (first.status_code, again.status_code, again.json()["id"]) == (201, 200, made["id"])
    assert (made["name"], made["work_queue_name"], made["context"]) == ("mine", "slow", {"c": 1})
    assert made["next_scheduled_start_time"].startswith("2099-01-01")


def test_a_subflows_run_of_a_deployment_knows_its_parent(api: Api) -> None:
    """The task run that stands for it is told; one that is not there is 409 and nothing is made."""
    parent = api.flow_run(flow="parent")["id"]
    stand_in = api.post(
        "/task_runs/", json={"flow_run_id": parent, "task_key": "t", "dynamic_key": "0"}
    ).json()["id"]
    id = deploy(api)["id"]
    made = run(api, id, parent_task_run_id=stand_in).json()

    assert (made["parent_task_run_id"], made["parent_flow_run_id"]) == (stand_in, parent)
    assert run(api, id, parent_task_run_id=MISSING).status_code == 409
    assert api.post("/flow_runs/count", json={"deployments": {}}).json() == 1


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ({}, "n"),
        ({"n": "x"}, "n"),
        ({"n": None}, "n"),
        ({"n": 1, "who": {"age": "old"}}, "who.age"),
        ({"n": 1, "who": {}}, "age"),
        ({"n": 1, "note": 5}, "note"),
    ],
)
def test_a_wrong_parameter_is_409_and_no_run_is_made(api: Api, parameters: Any, said: str) -> None:
    """In the contract's first words, naming the field."""
    id = deploy(api, parameter_openapi_schema=SCHEMA)["id"]
    answer = run(api, id, parameters=parameters)

    assert answer.status_code == 409
    assert answer.json()["detail"].startswith("Error creating flow run: Validation failed")
    assert said in answer.json()["detail"].split("parameters:", 1)[1]
    assert api.post("/flow_runs/count").json() == 0
    assert run(api, id, parameters=parameters, enforce_parameter_schema=False).status_code == 201


def test_parameters_that_fit_are_taken(api: Api) -> None:
    """The deployment's fill in; null fits where it is the default; without a schema anything does."""
    id = deploy(api, parameter_openapi_schema=SCHEMA, parameters={"n": 1})["id"]
    lax = deploy(api, "lax", parameter_openapi_schema=SCHEMA, enforce_parameter_schema=False)["id"]

    assert run(api, id, parameters={"note": None, "who": {"age": 3}}).status_code == 201
    assert run(api, id, parameters={"n": "x"}).status_code == 409
    assert run(api, lax, parameters={"n": "x"}).status_code == 201
    assert run(api, lax, enforce_parameter_schema=True).status_code == 409
    assert run(api, deploy(api, "free")["id"], parameters={"any": ["thing"]}).status_code == 201


def test_a_deployments_own_parameters_have_to_fit(api: Api) -> None:
    """422 naming them; what is missing may still come with the run."""
    wrong = put(api, parameter_openapi_schema=SCHEMA, parameters={"n": "x"})
    id = deploy(api, parameter_openapi_schema=SCHEMA, parameters={"note": "y"})["id"]
    changed = api.patch(f"/deployments/{id}", json={"parameters": {"n": "x"}})
    again = put(api, parameters={"n": []})

    for answer in (wrong, changed, again):
        [error] = answer.json()["exception_detail"]
        assert (answer.status_code, error["loc"], error["msg"][:2]) == (422, ["body", "parameters"], "n:")
    assert get(api, id)["parameters"] == {"note": "y"}


@pytest.mark.parametrize(
    "schema",
    [{"type": "nope"}, {"properties": 5}, {"$ref": "http://127.0.0.1:1/x"}, {"$ref": "file:///etc/x"}],
)
def test_a_schema_that_is_none_is_422(api: Api, schema: Any) -> None:
    """And the server asks nobody else for a part of it."""
    answer = put(api, parameter_openapi_schema=schema)
    [error] = answer.json()["exception_detail"]

    assert (answer.status_code, error["loc"]) == (422, ["body", "parameter_openapi_schema"])
    assert api.post("/deployments/count").json() == 0


def test_many_runs_are_made_at_once(api: Api) -> None:
    """One that cannot be made is told of, and the others are made."""
    id = deploy(api, parameter_openapi_schema=SCHEMA)["id"]
    body = [{"parameters": {"n": 1}}, {}, {"parameters": {"n": 2}}]
    results = api.post(f"/deployments/{id}/create_flow_run/bulk", json=body).json()["results"]

    assert [each["status"] for each in results] == ["CREATED", "FAILED", "CREATED"]
    assert (results[1]["flow_run_id"], '"n"' in results[1]["error"]) == (None, True)
    assert api.get(f"/flow_runs/{results[2]['flow_run_id']}").json()["parameters"] == {"n": 2}
    path = f"/deployments/{MISSING}/create_flow_run/bulk"
    assert api.post(path, json=body).status_code == 404
    assert api.post(f"/deployments/{id}/create_flow_run/bulk", json=[{}] * 201).status_code == 422


def test_many_runs_of_every_kind_are_made_at_once(api: Api) -> None:
    """Each as if it were alone: in its own state and queue, once by a key, in the order in which they are asked for."""
    pool(api)
    id = deploy(api, work_pool_name="alpha", tags=["t"])["id"]
    states = [{"type": "PENDING"}, {"type": "SCHEDULED"}, {"type": "RUNNING"}, None]
    plain = [{"parameters": {"n": n}, "state": states[n % 4]} for n in range(120)]
    keyed = [{"idempotency_key": "k", "name": name} for name in ("first", "second")]
    missing = {"parent_task_run_id": MISSING}
    body = [*plain, *keyed, missing, {"work_queue_name": "fast"}, {"name": "last"}]
    results = api.post(f"/deployments/{id}/create_flow_run/bulk", json=body).json()["results"]
    made = [one["flow_run_id"] and api.get(f"/flow_runs/{one['flow_run_id']}").json() for one in results]

    assert [one["status"] for one in results] == ["CREATED"] * 122 + ["FAILED"] + ["CREATED"] * 2
    assert "parent_task_run_id" in results[122]["error"]
    assert [run["parameters"]["n"] for run in made[:120]] == list(range(120))
    assert [run["state_type"] for run in made[:4]] == ["PENDING", "SCHEDULED", "RUNNING", "SCHEDULED"]
    assert (made[120]["id"], made[120]["name"]) == (made[121]["id"], "first")
    assert (made[123]["work_queue_name"], made[124]["work_queue_name"]) == ("fast", "default")
    assert (made[124]["name"], made[124]["tags"]) == ("last", ["t"])
    due = [run["next_scheduled_start_time"] for run in made[1:48:2]]
    assert due == sorted(set(due))


def test_a_deployment_is_paused_and_goes_on(api: Api) -> None:
    """Paused, it can still be run by hand."""
    id = deploy(api)["id"]

    assert api.post(f"/deployments/{id}/pause_deployment").status_code == 200
    assert (get(api, id)["paused"], run(api, id).status_code) == (True, 201)
    assert api.post(f"/deployments/{id}/resume_deployment").status_code == 200
    assert get(api, id)["paused"] is False
    api.patch(f"/deployments/{id}", json={"paused": True})
    assert get(api, id)["paused"] is True


@pytest.mark.parametrize(
    "change", ["pause", "patch", "schedules", "replace", "edit", "remove", "tags", "queue"]
)
def test_what_was_planned_goes_when_the_plan_changes(api: Api, change: str) -> None:
    """What somebody asked for stays, and what has begun."""
    id = deploy(api, schedules=[{**DAILY, "slug": "daily"}])["id"]
    schedule = get(api, id)["schedules"][0]["id"]
    asked, planned, begun = (run(api, id).json()["id"] for _ in range(3))
    planned_by_schedule(api, [planned, begun], schedule)
    api.propose("flow_runs", begun, "PENDING")
    path = f"/deployments/{id}"
    calls = {
        "pause": lambda: api.post(f"{path}/pause_deployment"),
        "patch": lambda: api.patch(path, json={"paused": True}),
        "schedules": lambda: api.patch(path, json={"schedules": []}),
        "replace": lambda: api.post(f"{path}/schedules", json=[{**DAILY, "replaces": "daily"}]),
        "edit": lambda: api.patch(f"{path}/schedules/{schedule}", json={"active": False}),
        "remove": lambda: api.delete(f"{path}/schedules/{schedule}"),
        "tags": lambda: api.patch(path, json={"tags": ["x"]}),
        "queue": lambda: api.patch(path, json={"work_queue_name": "another"}),
    }
    assert api.patch(path, json={"description": "x"}).status_code == 204
    assert api.post(f"{path}/resume_deployment").status_code == 200  # it was not paused
    assert (
        api.patch(path, json={"schedules": [{**DAILY, "slug": "daily"}]}).status_code == 204
    )  # the same one
    assert api.post(f"{path}/schedules", json=[{**DAILY, "slug": "other"}]).status_code == 201
    assert api.post("/flow_runs/count").json() == 3
    assert calls[change]().status_code < 300

    assert {each["id"] for each in api.post("/flow_runs/filter").json()} == {asked, begun}


def test_what_other_schedules_planned_stays(api: Api) -> None:
    """Whether one is changed by itself or with all of them, named by a slug or only by its times."""
    hourly = {"schedule": {"cron": "0 * * * *"}}
    id = deploy(api, schedules=[{**DAILY, "slug": "daily"}, hourly])["id"]
    path, schedules = f"/deployments/{id}", get(api, id)["schedules"]
    daily, other = sorted(
        (each["id"] for each in schedules), key=lambda each: each != schedule_of(api, id, "daily")
    )
    first, second = (run(api, id).json()["id"] for _ in range(2))
    planned_by_schedule(api, [first], daily)
    planned_by_schedule(api, [second], other)

    wanted = [{**DAILY, "slug": "daily", "parameters": {"x": 1}}, hourly]
    assert api.patch(path, json={"schedules": wanted}).status_code == 204
    assert {each["id"] for each in get(api, id)["schedules"]} == {daily, other}
    assert {each["id"] for each in api.post("/flow_runs/filter").json()} == {second}
    assert api.patch(f"{path}/schedules/{other}", json={"active": False}).status_code == 204
    assert api.post("/flow_runs/count").json() == 0


def schedule_of(api: Api, id: str, slug: str) -> str:
    """Return the id of a deployment's schedule."""
    return next(str(each["id"]) for each in get(api, id)["schedules"] if each["slug"] == slug)


def planned_by_schedule(api: Api, ids: list[str], schedule: str | None = None) -> None:
    """Mark runs as planned by a schedule."""
    planned = {"auto_scheduled": True, "schedule_id": schedule}
    statement = update(flow_runs).where(flow_runs.c.id.in_(ids)).values(**planned)
    api.app.state.context.database.write(lambda connection: connection.execute(statement))


def test_a_deployment_goes_with_the_runs_that_never_began(api: Api) -> None:
    """What began stays, with its id; and a flow takes its deployments along."""
    id = deploy(api, schedules=[DAILY])["id"]
    run(api, id)
    begun = run(api, id, state={"type": "RUNNING"}).json()["id"]
    done = run(api, id, state={"type": "SCHEDULED"}).json()["id"]
    api.propose("flow_runs", done, "CANCELLED")

    assert api.delete(f"/deployments/{id}").status_code == 204
    assert {each["id"] for each in api.post("/flow_runs/filter").json()} == {begun, done}
    assert api.get(f"/flow_runs/{begun}").json()["deployment_id"] == id
    other = deploy(api, schedules=[DAILY])
    assert api.delete(f"/flows/{other['flow_id']}").status_code == 204
    assert api.get(f"/deployments/{other['id']}").status_code == 404


def test_deployments_are_listed_in_order_in_pages_and_deleted_together(api: Api) -> None:
    """By name unless said otherwise."""
    for name in ("b", "a", "c"):
        deploy(api, name)
    deploy(api, "b", version="2")

    def names(sort: str | None = None, **body: Any) -> list[str]:
        return [each["name"] for each in api.post("/deployments/filter", json={"sort": sort, **body}).json()]

    assert (names(), names("NAME_DESC")) == (["a", "b", "c"], ["c", "b", "a"])
    assert (names("CREATED_DESC"), names("UPDATED_DESC")) == (["c", "a", "b"], ["b", "c", "a"])
    assert names(limit=1, offset=1) == ["b"]
    page = api.post("/deployments/paginate", json={"limit": 2, "page": 2}).json()
    assert ([each["name"] for each in page["results"]], page["count"], page["pages"]) == (["c"], 3, 2)
    body = {"deployments": {"name": {"any_": ["a", "c"]}}}
    assert len(api.post("/deployments/bulk_delete", json=body).json()["deleted"]) == 2
    assert names() == ["b"]


FILTERS: list[tuple[dict[str, Any], str]] = [
    ({"deployments": {"name": {"any_": ["a", "x"]}}}, "a"),
    ({"deployments": {"name": {"like_": "A"}}}, "a"),
    ({"deployments": {"flow_or_deployment_name": {"like_": "ETL"}}}, "ab"),
    ({"deployments": {"paused": {"eq_": True}}}, "b"),
    ({"deployments": {"paused": {"eq_": False}}}, "ac"),
    ({"deployments": {"tags": {"all_": ["x", "y"]}}}, "a"),
    ({"deployments": {"tags": {"any_": ["x"]}}}, "ab"),
    ({"deployments": {"tags": {"is_null_": True}}}, "c"),
    ({"deployments": {"work_queue_name": {"any_": ["fast"]}}}, "b"),
    ({"deployments": {"concurrency_limit": {"ge_": 2}}}, "a"),
    ({"deployments": {"concurrency_limit": {"is_null_": True}}}, "bc"),
    ({"deployments": {"operator": "or_", "paused": {"eq_": True}, "name": {"any_": ["c"]}}}, "bc"),
    ({"flows": {"name": {"any_": ["elt"]}}}, "c"),
    ({"flow_runs": {"tags": {"all_": ["hot"]}}}, "c"),
    ({"task_runs": {"name": {"like_": "load"}}}, "c"),
    ({"work_pools": {"name": {"any_": ["alpha"]}}}, "ab"),
    ({"work_pools": {}}, "ab"),
    ({"work_pool_queues": {"name": {"any_": ["default"]}}}, "a"),
    ({"work_pools": {"type": {"any_": ["docker"]}}}, ""),
    ({}, "abc"),
]


@pytest.fixture
def three(api: Api) -> Api:
    """Three deployments: ``a`` and ``b`` of one flow in one pool, ``c`` of another with a run and a task."""
    pool(api)
    deploy(api, "a", work_pool_name="alpha", tags=["x", "y"], concurrency_limit=3)
    deploy(api, "b", work_pool_name="alpha", work_queue_name="fast", tags=["x"], paused=True)
    id = deploy(api, "c", flow="elt")["id"]
    hot = run(api, id, tags=["hot"]).json()["id"]
    keys = {"task_key": "load", "dynamic_key": "0", "name": "load-0"}
    api.post("/task_runs/", json={"flow_run_id": hot, **keys})
    return api


@pytest.mark.parametrize(("filters", "expected"), FILTERS, ids=[str(filters) for filters, _ in FILTERS])
def test_deployments_are_found(three: Api, filters: Any, expected: str) -> None:
    """By what they are, and by what belongs to them."""
    found = "".join(each["name"] for each in three.post("/deployments/filter", json=filters).json())

    assert found == expected
    assert three.post("/deployments/count", json=filters).json() == len(expected)


def test_flows_and_runs_are_found_by_deployment_pool_and_queue(three: Api) -> None:
    """Each kind by each."""
    a = three.post("/deployments/filter", json={"deployments": {"name": {"any_": ["a"]}}}).json()[0]["id"]
    run(three, a)

    def count(kind: str, **filters: Any) -> int:
        return int(three.post(f"/{kind}/count", json=filters).json())

    elsewhere = {"name": {"any_": ["c"]}}
    assert count("flows", deployments=elsewhere) == 1
    assert count("flows", flows={"deployment": {"is_null_": False}}) == 2
    assert count("flows", flows={"deployment": {"is_null_": True}}) == 0
    assert count("flows", work_pools={"name": {"any_": ["alpha"]}}) == 1
    assert count("flow_runs", deployments=elsewhere) == 1
    assert count("flow_runs", flow_runs={"deployment_id": {"any_": [a]}}) == 1
    assert count("flow_runs", work_pools={"name": {"any_": ["alpha"]}}) == 1
    assert count("flow_runs", work_pool_queues={"name": {"any_": ["fast"]}}) == 0
    assert count("flow_runs", flow_runs={"work_queue_name": {"any_": ["default"]}}) == 1
    assert count("task_runs", deployments=elsewhere) == 1
    assert count("task_runs", deployments={"name": {"any_": ["a"]}}) == 0


def test_a_deployment_is_ready_while_somebody_asks_for_its_runs(api: Api) -> None:
    """Its queue counts; a minute later it is not."""
    pool(api)
    deployed = deploy(api, work_pool_name="alpha")
    assert (deployed["status"], deployed["last_polled"]) == ("NOT_READY", None)
    api.patch(f"/work_queues/{deployed['work_queue_id']}", json={"last_polled": "2026-09-21T14:13:20Z"})
    assert get(api, deployed["id"])["status"] == "READY"
    api.clock.pass_s(61)
    assert get(api, deployed["id"])["status"] == "NOT_READY"


def test_listeners_hear_of_a_run_and_of_what_it_belongs_to(api: Api) -> None:
    """Its deployment and its queue are related resources."""
    pool(api)
    deployed = deploy(api, work_pool_name="alpha")
    run(api, deployed["id"])
    [event] = api.app.state.context.feed.recent()
    roles = {each["prefect.resource.role"]: each["prefect.resource.id"] for each in event["related"]}

    assert event["event"] == "prefect.flow-run.Scheduled"
    assert roles["deployment"] == f"prefect.deployment.{deployed['id']}"
    assert roles["work-queue"] == f"prefect.work-queue.{deployed['work_queue_id']}"


def test_deploying_may_ask_for_automations(api: Api) -> None:
    """There are none, and that is the answer."""
    resource = f"prefect.deployment.{MISSING}"

    assert api.delete(f"/automations/owned-by/{resource}").status_code == 202
    assert api.get(f"/automations/related-to/{resource}").json() == []


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", ""),
        ("PATCH", ""),
        ("DELETE", ""),
        ("POST", "/create_flow_run"),
        ("POST", "/pause_deployment"),
        ("POST", "/resume_deployment"),
        ("GET", "/schedules"),
        ("PATCH", f"/schedules/{MISSING}"),
        ("DELETE", f"/schedules/{MISSING}"),
    ],
)
def test_what_is_not_there_is_404(api: Api, method: str, path: str) -> None:
    """Said in a sentence; a malformed id is 404 too."""
    body = {} if method in ("POST", "PATCH") else None
    answer = api.request(method, f"/deployments/{MISSING}{path}", json=body)

    assert (answer.status_code, answer.json()["detail"][-9:]) == (404, "not found")
    assert api.post(f"/deployments/{MISSING}/schedules", json=[]).status_code == 404
    assert api.request(method, f"/deployments/x{path}", json=body).status_code == 404


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"name": 5}, "name"),
    ({"name": "x" * 501}, "name"),
    ({"name": "\x00"}, "name"),
    ({"colour": "red"}, "colour"),
    ({"flow_id": "x"}, "flow_id"),
    ({"concurrency_limit": 0}, "concurrency_limit"),
    ({"concurrency_limit": 2**31}, "concurrency_limit"),
    ({"concurrency_options": {"collision_strategy": "WAIT"}}, "concurrency_options"),
    (
        {"concurrency_options": {"collision_strategy": "ENQUEUE", "grace_period_seconds": 5}},
        "concurrency_options",
    ),
    ({"parameters": None}, "parameters"),
    ({"parameters": []}, "parameters"),
    ({"pull_steps": {}}, "pull_steps"),
    ({"work_queue_name": "a/b"}, "work_queue_name"),
    ({"schedules": [{}]}, "schedules"),
    ({"schedules": [{"schedule": {}}]}, "schedules"),
    ({"schedules": [{"schedule": {"cron": "61 * * * *"}}]}, "schedules"),
    ({"schedules": [{"schedule": {"cron": "* * * * *", "timezone": "Mars/Base"}}]}, "schedules"),
    ({"schedules": [{"schedule": {"cron": "* * * * *", "interval": 5}}]}, "schedules"),
    ({"schedules": [{"schedule": {"interval": 0}}]}, "schedules"),
    ({"schedules": [{"schedule": {"interval": 1e300}}]}, "schedules"),
    ({"schedules": [{"schedule": {"interval": "soon"}}]}, "schedules"),
    ({"schedules": [{"schedule": {"rrule": "FREQ=SOMETIMES"}}]}, "schedules"),
    ({"schedules": [{**DAILY, "max_scheduled_runs": 0}]}, "schedules"),
    ({"schedules": [{**DAILY, "slug": "a"}, {**DAILY, "slug": "a"}]}, "schedules"),
]


@pytest.mark.parametrize(("fields", "named"), WRONG, ids=[str(fields)[:60] for fields, _ in WRONG])
def test_a_field_that_does_not_fit_is_named(api: Api, fields: dict[str, Any], named: str) -> None:
    """422, and nothing is made."""
    answer = put(api, **{"name": "a", **fields}) if "flow_id" not in fields else None
    if answer is None:
        answer = api.post("/deployments/", json={"name": "a", **fields})

    assert answer.status_code == 422, answer.text
    assert any(each["loc"][:2] == ["body", named] for each in answer.json()["exception_detail"])
    assert api.post("/deployments/count").json() == 0


def test_the_store_counts_what_it_drops(api: Api) -> None:
    """So that a caller can tell whether there was anything."""
    id = deploy(api)["id"]
    planned_by_schedule(api, [run(api, id).json()["id"]])
    database = api.app.state.context.database

    assert database.write(lambda connection: store.drop_planned(connection, id)) == 1
    assert database.write(lambda connection: store.drop_planned(connection, id)) == 0
