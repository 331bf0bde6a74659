"""Flow runs, task runs, flows and logs: making, changing, deleting, reading."""

from __future__ import annotations

import pytest

from tests.server.serving import Api

LINE = {"name": "prefect.flow_runs", "level": 20, "message": "hello", "timestamp": "2026-01-01T00:00:00Z"}


def test_a_run_without_a_name_gets_two_words(api: Api) -> None:
    """And labels that say whose it is."""
    run = api.flow_run()

    assert len(run["name"].split("-")) == 2
    assert {"prefect.flow.id": run["flow_id"]} == run["labels"]
    assert (run["state_type"], run["state_name"], run["run_count"]) == ("PENDING", "Pending", 0)


def test_a_run_may_begin_scheduled(api: Api) -> None:
    """Its time is what it is expected and next scheduled at."""
    when = "2030-01-01T00:00:00.000000Z"
    run = api.flow_run(state={"type": "SCHEDULED", "state_details": {"scheduled_time": when}})

    assert (when, when) == (run["expected_start_time"], run["next_scheduled_start_time"])
    assert api.propose("flow_runs", run["id"], "RUNNING").json()["status"] == "WAIT"


def test_in_a_change_absent_means_leave_and_null_means_clear(api: Api) -> None:
    """As the contract has it for every update."""
    run = api.flow_run(name="a", tags=["x"], flow_version="1", job_variables={"k": 1})["id"]
    assert api.patch(f"/flow_runs/{run}", json={"infrastructure_pid": "host:1"}).status_code == 204
    assert api.patch(f"/flow_runs/{run}", json={"flow_version": None, "tags": ["y", "y"]}).status_code == 204
    policy = {"retries": 3, "pause_keys": ["b", "a"]}
    assert api.patch(f"/flow_runs/{run}", json={"empirical_policy": policy}).status_code == 204
    told = api.get(f"/flow_runs/{run}").json()

    assert (
        told["name"],
        told["flow_version"],
        told["tags"],
        told["job_variables"],
        told["infrastructure_pid"],
    ) == ("a", None, ["y"], {"k": 1}, "host:1")
    assert (told["empirical_policy"]["retries"], told["empirical_policy"]["pause_keys"]) == (3, ["a", "b"])
    assert told["updated"] > told["created"]


def test_labels_are_merged(api: Api) -> None:
    """A plain map; what is not named stays."""
    run = api.flow_run(labels={"a": 1})["id"]
    assert api.patch(f"/flow_runs/{run}/labels", json={"b": True, "c": 1.5, "a": "x"}).status_code == 204
    labels = api.get(f"/flow_runs/{run}").json()["labels"]

    assert {name: labels[name] for name in "abc"} == {"a": "x", "b": True, "c": 1.5}


def test_with_a_run_goes_all_that_belongs_to_it(api: Api) -> None:
    """Task runs, logs and inputs; another run keeps its own."""
    gone, kept = api.flow_run()["id"], api.flow_run()["id"]
    for run in (gone, kept):
        api.post("/task_runs/", json={"flow_run_id": run, "task_key": "t", "dynamic_key": "0"})
        api.post("/logs/", json=[{**LINE, "flow_run_id": run}])
        api.post(f"/flow_runs/{run}/input", json={"key": "k", "value": "1"})
    assert api.delete(f"/flow_runs/{gone}").status_code == 204

    assert [kept] == [run["id"] for run in api.post("/flow_runs/filter").json()]
    assert [kept] == [run["flow_run_id"] for run in api.post("/task_runs/filter").json()]
    assert [kept] == [line["flow_run_id"] for line in api.post("/logs/filter").json()]
    assert [api.get(f"/flow_runs/{run}/input/k").status_code for run in (gone, kept)] == [404, 200]


def test_with_a_flow_go_its_runs(api: Api) -> None:
    """By id, and many at once."""
    first = api.flow_run(flow="a")
    second = api.flow_run(flow="b")
    assert api.delete(f"/flows/{first['flow_id']}").status_code == 204
    assert [second["id"]] == [run["id"] for run in api.post("/flow_runs/filter").json()]
    answer = api.post("/flows/bulk_delete", json={"flows": {"name": {"any_": ["b"]}}})

    assert {"deleted": [second["flow_id"]]} == answer.json()
    assert api.post("/flow_runs/count").json() == 0


def test_flow_runs_are_deleted_together(api: Api) -> None:
    """Those that a filter names, up to a limit."""
    runs = [api.flow_run(name=name)["id"] for name in ("a", "b", "c")]
    body = {"flow_runs": {"name": {"any_": ["a", "c"]}}, "limit": 1}
    assert {"deleted": [runs[2]]} == api.post("/flow_runs/bulk_delete", json=body).json()

    assert api.post("/flow_runs/count").json() == 2


def test_a_flow_and_a_task_run_can_be_changed(api: Api) -> None:
    """Tags of a flow, the name of a task run."""
    run = api.flow_run()
    task = api.post(
        "/task_runs/", json={"flow_run_id": run["id"], "task_key": "t", "dynamic_key": "0"}
    ).json()
    assert api.patch(f"/flows/{run['flow_id']}", json={"tags": ["a"]}).status_code == 204
    assert api.patch(f"/task_runs/{task['id']}", json={"name": "other"}).status_code == 204

    assert api.get(f"/flows/{run['flow_id']}").json()["tags"] == ["a"]
    assert api.get(f"/task_runs/{task['id']}").json()["name"] == "other"
    assert api.delete(f"/task_runs/{task['id']}").status_code == 204
    assert api.get(f"/task_runs/{task['id']}").status_code == 404


def test_a_key_of_a_run_holds_one_value(api: Api) -> None:
    """A second one is 409; deleted, it is free again."""
    run = api.flow_run()["id"]
    path = f"/flow_runs/{run}/input"
    body = {"key": "k", "value": '{"a": 1}', "sender": "me"}
    assert [api.post(path, json=body).status_code for _ in range(2)] == [201, 409]
    assert api.get(f"{path}/k").text == '{"a": 1}'
    [told] = api.post(f"{path}/filter", json={"prefix": "k", "exclude_keys": ["x"]}).json()
    assert ("k", "me", run) == (told["key"], told["sender"], told["flow_run_id"])
    assert api.post(f"{path}/filter", json={"prefix": "k", "exclude_keys": ["k"]}).json() == []

    assert [api.delete(f"{path}/k").status_code for _ in range(2)] == [204, 404]


LOGS = [
    (10, "prefect.a", "Loading rows", True),
    (20, "prefect.a", "Loaded 5 rows", False),
    (40, "user.b", 'could not load "x y"', True),
]


@pytest.fixture
def run(api: Api) -> str:
    """A flow run with three lines, of which two belong to a task run, and a line of another run."""
    id: str = api.flow_run()["id"]
    other: str = api.flow_run()["id"]
    task = api.post("/task_runs/", json={"flow_run_id": id, "task_key": "t", "dynamic_key": "0"}).json()["id"]
    lines = [
        {
            "name": name,
            "level": level,
            "message": message,
            "timestamp": f"2026-01-01T00:00:0{number}Z",
            "flow_run_id": id,
            "task_run_id": task if of_task else None,
        }
        for number, (level, name, message, of_task) in enumerate(LOGS)
    ]
    assert api.post("/logs/", json=lines).status_code == 201
    api.post("/logs/", json=[{**LINE, "flow_run_id": other}])
    return id


@pytest.mark.parametrize(
    ("criteria", "expected"),
    [
        ({}, [0, 1, 2]),
        ({"level": {"ge_": 20}}, [1, 2]),
        ({"level": {"ge_": 20, "le_": 20}}, [1]),
        ({"timestamp": {"after_": "2026-01-01T00:00:01Z"}}, [1, 2]),
        ({"timestamp": {"before_": "2026-01-01T00:00:01Z"}}, [0, 1]),
        ({"task_run_id": {"is_null_": True}}, [1]),
        ({"task_run_id": {"is_null_": False}}, [0, 2]),
        ({"text": {"query": "load -could"}}, [0, 1]),
        ({"text": {"query": '"x y"'}}, [2]),
        ({"text": {"query": "USER.B"}}, [2]),
        ({"text": {"query": "rows 5"}}, [1]),
    ],
)
def test_log_lines_are_narrowed(api: Api, run: str, criteria: dict[str, object], expected: list[int]) -> None:
    """By level, time, task run and text; both ways round, and page by page."""
    logs = {**criteria, "flow_run_id": {"any_": [run]}}
    messages = [LOGS[number][2] for number in expected]
    up = api.post("/logs/filter", json={"logs": logs}).json()
    down = api.post("/logs/filter", json={"logs": logs, "sort": "TIMESTAMP_DESC"}).json()
    pages = [api.post("/logs/filter", json={"logs": logs, "limit": 1, "offset": n}).json() for n in range(4)]

    assert messages == [line["message"] for line in up]
    assert messages[::-1] == [line["message"] for line in down]
    assert messages == [line["message"] for page in pages for line in page]


def test_criteria_of_logs_can_be_joined_by_or(api: Api, run: str) -> None:
    """A line that fits any of them."""
    either = {"operator": "or_", "level": {"ge_": 40}, "text": {"query": "loading"}}

    found = api.post("/logs/filter", json={"logs": either}).json()
    assert [line["message"] for line in found] == ["Loading rows", 'could not load "x y"']
