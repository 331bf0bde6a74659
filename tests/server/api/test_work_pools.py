"""Work pools, their queues and workers: made, found, changed, gone; and what says who is there."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import update

from headrace.server.store import tables
from headrace.server.store.database import Database
from tests.server.serving import Api

MISSING = "01a20879-4912-75ac-8e3e-000000000000"


def pool(api: Api, name: str = "alpha", **fields: Any) -> dict[str, Any]:
    """Make a work pool."""
    answer = api.post("/work_pools/", json={"name": name, "type": "process", **fields})
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


def queue(api: Api, name: str, pool: str = "alpha", **fields: Any) -> dict[str, Any]:
    """Make a work queue."""
    answer = api.post(f"/work_pools/{pool}/queues", json={"name": name, **fields})
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


def order(api: Api, pool: str = "alpha") -> list[tuple[str, int]]:
    """Return the queues of a pool with their priorities, in the order in which they are served."""
    found = api.post(f"/work_pools/{pool}/queues/filter", json={}).json()
    return [(each["name"], each["priority"]) for each in found]


def test_a_pool_is_made_with_its_default_queue(api: Api) -> None:
    """Of priority 1; the pool names it."""
    made = pool(api, description="here", concurrency_limit=3)
    [default] = api.post("/work_pools/alpha/queues/filter", json={}).json()

    assert made == api.get("/work_pools/alpha").json()
    assert (made["description"], made["concurrency_limit"], made["is_paused"]) == ("here", 3, False)
    assert (default["name"], default["priority"], default["id"]) == ("default", 1, made["default_queue_id"])
    assert (default["work_pool_id"], default["work_pool_name"]) == (made["id"], "alpha")


def test_a_name_is_had_once_and_some_names_by_nobody(api: Api) -> None:
    """409 for a duplicate, 403 for a reserved name, whatever is to be done with it."""
    pool(api)
    again = api.post("/work_pools/", json={"name": "alpha"})

    assert (again.status_code, "alpha" in again.json()["detail"]) == (409, True)
    assert api.post("/work_pools/", json={"name": "Prefect-x"}).status_code == 403
    assert api.patch("/work_pools/prefect-x", json={}).status_code == 403
    assert api.delete("/work_pools/prefect-x").status_code == 403
    assert api.post("/work_pools/count").json() == 1


def test_absent_leaves_and_null_clears(api: Api) -> None:
    """Of a pool and of a queue; what cannot be cleared stays."""
    pool(api, description="here", concurrency_limit=3)
    api.patch("/work_pools/alpha", json={"is_paused": True})
    paused = api.get("/work_pools/alpha").json()
    api.patch("/work_pools/alpha", json={"concurrency_limit": None, "description": None, "is_paused": None})
    cleared = api.get("/work_pools/alpha").json()
    id = queue(api, "fast", concurrency_limit=2, description="x", filter={"tags": ["a"]})["id"]
    api.patch(f"/work_queues/{id}", json={"is_paused": True, "priority": None, "name": None})
    stopped = api.get(f"/work_queues/{id}").json()
    api.patch("/work_pools/alpha/queues/fast", json={"concurrency_limit": None, "filter": None})
    free = api.get("/work_pools/alpha/queues/fast").json()

    assert (paused["is_paused"], paused["description"], paused["concurrency_limit"]) == (True, "here", 3)
    assert (cleared["is_paused"], cleared["description"], cleared["concurrency_limit"]) == (True, None, None)
    assert (stopped["is_paused"], stopped["concurrency_limit"], stopped["name"]) == (True, 2, "fast")
    assert stopped["filter"] == {"tags": ["a"], "deployment_ids": None}
    assert (free["is_paused"], free["concurrency_limit"], free["filter"]) == (True, None, None)


def test_queues_come_by_priority_and_one_takes_anothers_place(api: Api) -> None:
    """What is in the way moves back as far as it has to, and no two have the same."""
    pool(api)
    queue(api, "b")
    queue(api, "far", priority=9)

    assert order(api) == [("default", 1), ("b", 2), ("far", 9)]
    queue(api, "first", priority=1)
    assert order(api) == [("first", 1), ("default", 2), ("b", 3), ("far", 9)]
    api.patch("/work_pools/alpha/queues/far", json={"priority": 2})
    assert order(api) == [("first", 1), ("far", 2), ("default", 3), ("b", 4)]
    api.patch("/work_pools/alpha/queues/far", json={"priority": 2})
    assert order(api) == [("first", 1), ("far", 2), ("default", 3), ("b", 4)]
    queue(api, "last")
    assert order(api)[-1] == ("last", 5)


def test_queues_have_names_within_their_pool(api: Api) -> None:
    """409 for a second one, made or renamed; another pool may have the same."""
    pool(api)
    pool(api, "beta")
    queue(api, "fast")
    other = queue(api, "fast", "beta")
    slow = queue(api, "slow")

    assert api.post("/work_pools/alpha/queues", json={"name": "fast"}).status_code == 409
    assert api.patch(f"/work_queues/{slow['id']}", json={"name": "fast"}).status_code == 409
    assert api.patch(f"/work_queues/{slow['id']}", json={"name": "slow"}).status_code == 204
    assert api.get("/work_pools/beta/queues/fast").json()["id"] == other["id"]
    names = {"work_queues": {"name": {"startswith_": ["fa", "x_"], "any_": ["fast"]}}}
    found = api.post("/work_queues/filter", json=names).json()
    assert [(each["name"], each["work_pool_name"]) for each in found] == [("fast", "alpha"), ("fast", "beta")]
    assert api.post("/work_queues/filter", json={"work_queues": {"name": {"startswith_": []}}}).json() == []


def test_the_default_queue_stays_with_its_pool(api: Api) -> None:
    """It goes only with it; other queues go alone."""
    default = pool(api)["default_queue_id"]
    queue(api, "fast")
    refused = api.delete(f"/work_queues/{default}")

    assert (refused.status_code, "default queue" in refused.json()["detail"]) == (409, True)
    assert api.delete("/work_pools/alpha/queues/fast").status_code == 204
    assert api.delete("/work_pools/alpha/queues/fast").status_code == 404
    assert api.delete("/work_pools/alpha").status_code == 204
    assert api.get(f"/work_queues/{default}").status_code == 404


def test_queues_without_a_pool_are_in_the_agents_pool(api: Api) -> None:
    """The contract's older way; the pool is made when it is needed."""
    made = api.post("/work_queues/", json={"name": "old"})

    assert (made.status_code, made.json()["work_pool_name"]) == (201, "default-agent-pool")
    assert api.get("/work_queues/name/old").json()["id"] == made.json()["id"]
    assert api.get("/work_queues/name/other").status_code == 404
    assert api.post("/work_queues/", json={"name": "old"}).status_code == 409
    assert [each["name"] for each in api.post("/work_pools/filter").json()] == ["default-agent-pool"]


def test_a_pool_is_ready_while_a_worker_gives_signs_of_life(api: Api) -> None:
    """Three intervals without one and it is not; paused is paused."""
    pool(api)

    assert api.get("/work_pools/alpha").json()["status"] == "NOT_READY"
    beat = {"name": "w1", "heartbeat_interval_seconds": 10}
    assert api.post("/work_pools/alpha/workers/heartbeat", json=beat).status_code == 204
    assert api.get("/work_pools/alpha").json()["status"] == "READY"
    api.patch("/work_pools/alpha", json={"is_paused": True})
    assert api.get("/work_pools/alpha").json()["status"] == "PAUSED"
    api.patch("/work_pools/alpha", json={"is_paused": False})
    api.clock.pass_s(29)
    assert api.get("/work_pools/alpha").json()["status"] == "READY"
    api.clock.pass_s(2)
    assert api.get("/work_pools/alpha").json()["status"] == "NOT_READY"
    api.post("/work_pools/alpha/workers/heartbeat", json=beat)
    assert api.get("/work_pools/alpha").json()["status"] == "READY"


def test_workers_are_listed_by_their_signs_of_life(api: Api) -> None:
    """A worker that does not say how often it beats is given 90 seconds."""
    pool(api)
    path = "/work_pools/alpha/workers"
    api.post(f"{path}/heartbeat", json={"name": "old"})
    api.clock.pass_s(100)
    api.post(f"{path}/heartbeat", json={"name": "new"})
    api.post(f"{path}/heartbeat", json={"name": "slow", "heartbeat_interval_seconds": 60})
    api.clock.pass_s(80)

    def names(**f: Any) -> list[tuple[str, str]]:
        found = api.post(f"{path}/filter", json={"workers": f}).json()
        return sorted((each["name"], each["status"]) for each in found)

    everybody = [("new", "ONLINE"), ("old", "OFFLINE"), ("slow", "ONLINE")]
    assert names() == everybody
    assert names(status={"any_": ["ONLINE"]}) == [("new", "ONLINE"), ("slow", "ONLINE")]
    assert names(status={"not_any_": ["ONLINE"]}) == [("old", "OFFLINE")]
    assert names(status={"any_": []}) == []
    assert names(status={"any_": ["ONLINE", "OFFLINE"]}) == everybody
    api.clock.pass_s(20)
    assert names(status={"any_": ["ONLINE"]}) == [("slow", "ONLINE")]
    assert names(last_heartbeat_time={"before_": "2020-01-01T00:00:00Z"}) == []
    assert api.delete(f"{path}/old").status_code == 204
    assert api.delete(f"{path}/old").status_code == 404
    assert [name for name, _ in names()] == ["new", "slow"]


def test_a_queue_is_ready_while_it_is_asked_for_runs(api: Api) -> None:
    """Within the last minute; and healthy while none of its runs is late."""
    pool(api)
    id = queue(api, "fast")["id"]
    before = api.get(f"/work_queues/{id}/status").json()
    api.patch(f"/work_queues/{id}", json={"last_polled": "2026-09-21T14:13:20Z"})
    after = api.get(f"/work_queues/{id}/status").json()
    late = {"type": "SCHEDULED", "name": "Late", "state_details": {"scheduled_time": "2026-01-01T00:00:00Z"}}
    api.flow_run(work_pool_name="alpha", work_queue_name="fast", state=late)

    assert (before["healthy"], before["last_polled"]) == (False, None)
    assert (after["healthy"], after["late_runs_count"]) == (True, 0)
    assert after["health_check_policy"] == {
        "maximum_late_runs": 0,
        "maximum_seconds_since_last_polled": 60,
    }
    assert api.get(f"/work_queues/{id}").json()["status"] == "READY"
    status = api.get(f"/work_queues/{id}/status").json()
    assert (status["healthy"], status["late_runs_count"]) == (False, 1)
    api.clock.pass_s(61)
    assert api.get(f"/work_queues/{id}").json()["status"] == "NOT_READY"


def test_slots_are_held_by_runs_that_live(api: Api) -> None:
    """Of a queue and of its pool; a run that waits holds none, and one that ended gives its own back."""
    pool(api)
    id = queue(api, "fast")["id"]
    place = {"work_pool_name": "alpha", "work_queue_name": "fast"}
    api.flow_run(**place, state={"type": "SCHEDULED"})
    runs = [api.flow_run(**place)["id"] for _ in range(2)]
    api.flow_run(work_pool_name="alpha")
    api.propose("flow_runs", runs[0], "RUNNING")

    def held() -> tuple[int, int]:
        queue = api.get(f"/work_queues/{id}").json()
        return queue["active_slots"], api.get("/work_pools/alpha").json()["active_slots"]

    assert held() == (2, 3)
    api.propose("flow_runs", runs[0], "COMPLETED")
    assert held() == (1, 2)


def test_a_run_is_given_to_a_queue_by_names(api: Api) -> None:
    """The pool's default one if none is named; a queue that is not there is made, a pool is not."""
    made = pool(api)
    default = api.flow_run(work_pool_name="alpha")
    named = api.flow_run(work_pool_name="alpha", work_queue_name="new")
    flow = named["flow_id"]
    refused = api.post("/flow_runs/", json={"flow_id": flow, "work_pool_name": "nowhere"})

    assert (default["work_queue_id"], default["work_queue_name"]) == (made["default_queue_id"], "default")
    assert (named["work_pool_id"], named["work_pool_name"]) == (made["id"], "alpha")
    assert api.get("/work_pools/alpha/queues/new").json()["id"] == named["work_queue_id"]
    assert (refused.status_code, "nowhere" in refused.json()["detail"]) == (404, True)


def test_a_queues_new_name_is_told_to_its_open_runs(api: Api) -> None:
    """A run that has ended keeps the name that its queue had."""
    pool(api)
    id = queue(api, "fast")["id"]
    place = {"work_pool_name": "alpha", "work_queue_name": "fast"}
    open_, over = api.flow_run(**place)["id"], api.flow_run(**place)["id"]
    api.propose("flow_runs", over, "CANCELLED")
    api.patch(f"/work_queues/{id}", json={"name": "swift"})

    assert api.get(f"/flow_runs/{open_}").json()["work_queue_name"] == "swift"
    assert api.get(f"/flow_runs/{over}").json()["work_queue_name"] == "fast"


def test_runs_of_a_pool_that_goes_belong_nowhere(api: Api) -> None:
    """Those that have not ended; what has been keeps its names."""
    pool(api)
    open_, over = api.flow_run(work_pool_name="alpha")["id"], api.flow_run(work_pool_name="alpha")["id"]
    api.propose("flow_runs", over, "CANCELLED")
    api.delete("/work_pools/alpha")
    waiting, done = api.get(f"/flow_runs/{open_}").json(), api.get(f"/flow_runs/{over}").json()

    assert (waiting["work_pool_name"], waiting["work_queue_id"]) == (None, None)
    assert done["work_pool_name"] == "alpha"


def test_pools_are_found_by_name_type_and_id(api: Api) -> None:
    """By name in order, in pages, and counted."""
    made = {name: pool(api, name, type=kind) for name, kind in (("b", "process"), ("a", "docker"))}

    def names(**f: Any) -> list[str]:
        return [each["name"] for each in api.post("/work_pools/filter", json=f).json()]

    assert names() == ["a", "b"]
    assert names(offset=1) == ["b"]
    assert names(limit=1) == ["a"]
    assert names(work_pools={"type": {"any_": ["docker"]}}) == ["a"]
    assert names(work_pools={"id": {"any_": [made["b"]["id"]]}}) == ["b"]
    either = {"operator": "or_", "name": {"any_": ["b"]}, "type": {"any_": ["docker"]}}
    assert names(work_pools=either) == ["a", "b"]
    assert api.post("/work_pools/count", json={"work_pools": {"name": {"any_": ["a", "x"]}}}).json() == 1


def test_a_template_that_cannot_be_filled_in_is_refused(api: Api) -> None:
    """Each placeholder has to be a variable."""
    variables = {"type": "object", "properties": {"env": {}}}
    good = {"variables": variables, "job_configuration": {"env": "{{ env }}", "x": ["{{env}}"]}}
    bad = {"variables": variables, "job_configuration": {"x": {"y": ["a {{ image }}"]}}}
    refused = api.post("/work_pools/", json={"name": "alpha", "base_job_template": bad})

    assert pool(api, base_job_template=good)["base_job_template"] == good
    assert refused.status_code == 422
    assert "image" in refused.json()["exception_detail"][0]["msg"]
    assert api.patch("/work_pools/alpha", json={"base_job_template": {"variables": {}}}).status_code == 422
    assert api.patch("/work_pools/alpha", json={"base_job_template": None}).status_code == 204
    assert api.get("/work_pools/alpha").json()["base_job_template"] == {}


def test_a_template_for_processes_is_there_to_be_taken(api: Api) -> None:
    """What clients ask before they make a pool; it is one that the server takes."""
    view = api.get("/collections/views/aggregate-worker-metadata").json()
    template = view["prefect"]["process"]["default_base_job_configuration"]

    assert pool(api, base_job_template=template)["base_job_template"] == template
    assert api.get("/collections/views/other").status_code == 404


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/work_pools/x"),
        ("PATCH", "/work_pools/x"),
        ("DELETE", "/work_pools/x"),
        ("POST", "/work_pools/x/queues/filter"),
        ("GET", "/work_pools/x/queues/y"),
        ("PATCH", "/work_pools/x/queues/y"),
        ("DELETE", "/work_pools/x/queues/y"),
        ("POST", "/work_pools/x/workers/filter"),
        ("DELETE", "/work_pools/x/workers/y"),
        ("GET", f"/work_queues/{MISSING}"),
        ("GET", f"/work_queues/{MISSING}/status"),
        ("PATCH", f"/work_queues/{MISSING}"),
        ("DELETE", f"/work_queues/{MISSING}"),
        ("GET", "/work_queues/name/y"),
        ("GET", "/work_queues/no-uuid"),
    ],
)
def test_what_is_not_there_is_404(api: Api, method: str, path: str) -> None:
    """Said in a sentence."""
    answer = api.request(method, path, json={} if method in ("POST", "PATCH") else None)

    assert answer.status_code == 404
    assert answer.json()["detail"].lower().endswith("not found")
    assert api.post("/work_pools/x/queues", json={"name": "y"}).status_code == 404
    assert api.post("/work_pools/x/workers/heartbeat", json={"name": "y"}).status_code == 404


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("/work_pools/", {}, "name"),
        ("/work_pools/", {"name": "a/b"}, "name"),
        ("/work_pools/", {"name": ""}, "name"),
        ("/work_pools/", {"name": "x" * 501}, "name"),
        ("/work_pools/", {"name": "a\x00"}, "name"),
        ("/work_pools/", {"name": "a", "colour": 1}, "colour"),
        ("/work_pools/", {"name": "a", "concurrency_limit": -1}, "concurrency_limit"),
        ("/work_pools/", {"name": "a", "concurrency_limit": 2**31}, "concurrency_limit"),
        ("/work_pools/", {"name": "a", "type": None}, "type"),
        ("/work_pools/", {"name": "a", "storage_configuration": {"x": 1}}, "storage_configuration"),
        ("/work_pools/filter", {"work_pools": {"nope": {}}}, "work_pools"),
        ("/work_pools/filter", {"offset": -1}, "offset"),
        ("/work_pools/alpha/queues", {"name": "a", "priority": 0}, "priority"),
        ("/work_pools/alpha/queues", {"name": "a", "priority": 2**40}, "priority"),
        ("/work_pools/alpha/queues/filter", {"work_queues": {"name": {"any_": [1]}}}, "work_queues"),
        (
            "/work_pools/alpha/workers/heartbeat",
            {"name": "w", "heartbeat_interval_seconds": 0},
            "heartbeat_interval_seconds",
        ),
        ("/work_pools/alpha/workers/filter", {"workers": {"status": {"any_": ["ASLEEP"]}}}, "workers"),
    ],
)
def test_a_field_that_does_not_fit_is_named(api: Api, path: str, body: Any, field: str) -> None:
    """422, and nothing is made."""
    pool(api)
    answer = api.post(path, json=body)

    assert answer.status_code == 422, answer.text
    assert any(each["loc"][:2] == ["body", field] for each in answer.json()["exception_detail"])
    assert api.post("/work_pools/count").json() == 1


@pytest.mark.parametrize("path", ["/work_pools/filter", "/work_queues/filter", "/deployments/filter"])
def test_too_large_a_limit_is_422_in_the_contracts_words(api: Api, path: str) -> None:
    """200 at most."""
    answer = api.post(path, json={"limit": 201})

    assert answer.json() == {"detail": "Invalid limit: must be less than or equal to 200."}
    assert api.post(path, json={"limit": 0}).json() == []


def test_a_status_needs_no_writing(api: Api, database: Database) -> None:
    """It is worked out when it is asked for: a row from long ago says so."""
    pool(api)
    api.post("/work_pools/alpha/workers/heartbeat", json={"name": "w"})
    database.write(lambda connection: connection.execute(update(tables.workers).values(last_heartbeat_us=0)))

    assert api.get("/work_pools/alpha").json()["status"] == "NOT_READY"
