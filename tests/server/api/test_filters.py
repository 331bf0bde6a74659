"""Every filter means the same in SQL as in plain words: a model in Python says which rows fit."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headrace.model.clock import from_datetime
from tests.server.databases import emptied
from tests.server.serving import Api, serving

Run = dict[str, Any]
TAGS = ["a", "b", "a b", '"', "%"]
NAMES = ["etl", "ETL-2", "a_b", "axb", "100%", "ünicode"]  # the first four are names of flows too
STATES = ["SCHEDULED", "PENDING", "RUNNING", "COMPLETED", "FAILED", "CANCELLED", "CRASHED"]


@pytest.fixture(scope="module")
def api(database_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """A server with 40 flow runs and as many task runs of all kinds, for all examples."""
    home: Path = tmp_path_factory.mktemp("filters")
    with emptied(database_url, home) as database, serving(database) as api:
        for number in range(40):
            _make(api, number)
        yield api


def _make(api: Api, number: int) -> None:
    api.clock.pass_s(60)
    parent = api.post("/task_runs/filter", json={"limit": 1}).json() if number % 7 == 3 else []
    run = api.flow_run(
        flow=NAMES[number % 4],
        name=NAMES[number % 6],
        tags=TAGS[number % 6 : number % 6 + number % 4],
        flow_version=[None, "1", "2"][number % 3],
        idempotency_key=f"key-{number % 5}-{number}" if number % 2 else None,
        work_queue_name=[None, "default"][number % 2],
        parent_task_run_id=parent[0]["id"] if parent else None,
    )
    task = api.post(
        "/task_runs/",
        json={
            "flow_run_id": run["id"] if number % 5 else None,
            "task_key": "t",
            "dynamic_key": str(number),
            "name": NAMES[-number % 6],
            "tags": TAGS[number % 3 : number % 3 + number % 2],
        },
    ).json()
    state = STATES[number % 7]
    for kind, id in (("flow_runs", run["id"]), ("task_runs", task["id"])):
        if state in ("COMPLETED", "FAILED", "CRASHED"):
            api.propose(kind, id, "RUNNING", force=True)
            api.clock.pass_s(number % 3)
        name = ["Late", "AwaitingRetry"][number % 2] if state == "SCHEDULED" else None
        api.propose(kind, id, state, name=name, force=True)


def everything(api: Api, kind: str) -> list[Run]:
    """Return all rows of a kind."""
    return list(api.post(f"/{kind}/filter", json={}).json())


# What each criterion means, in plain words: `(value of the criterion, value of the row) -> fits`.
Meaning = Callable[[Any, Any], bool]
MEANINGS: dict[str, Meaning] = {
    "any_": lambda wanted, value: value in wanted,
    "not_any_": lambda refused, value: value not in refused,
    "like_": lambda part, value: part.lower() in value.lower(),
    "before_": lambda until, value: value is not None and us(value) <= us(until),
    "after_": lambda since, value: value is not None and us(value) >= us(since),
    "is_null_": lambda null, value: (value is None) == null,
}
TAG_MEANINGS: dict[str, Meaning] = {
    "all_": lambda wanted, tags: set(wanted) <= set(tags),
    "any_": lambda wanted, tags: bool(set(wanted) & set(tags)),
    "is_null_": lambda null, tags: (not tags) == null,
}


def us(text: str) -> int:
    """Return a time of the wire in microseconds."""
    return from_datetime(datetime.fromisoformat(text.replace("Z", "+00:00")))


def leaf(*names: str, values: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Draw a criterion of some of these operators."""
    kinds: dict[str, st.SearchStrategy[Any]] = {
        "any_": st.lists(values, max_size=3),
        "not_any_": st.lists(values, max_size=3),
        "all_": st.lists(values, max_size=2),
        "like_": st.sampled_from(["e", "TL", "%", "_", "-2", ""]),
        "is_null_": st.booleans(),
        "before_": values,
        "after_": values,
    }
    return st.fixed_dictionaries({}, optional={name: st.none() | kinds[name] for name in names})


def joined(criterion: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
    """Draw a criterion with or without an operator."""
    return st.builds(
        lambda value, operator: {**value, **({"operator": operator} if operator else {})},
        criterion,
        st.sampled_from([None, "and_", "or_"]),
    )


START = datetime(2026, 9, 21, 14, 13, 20, tzinfo=timezone.utc)
times = st.integers(0, 42).map(lambda minutes: (START + timedelta(minutes=minutes, seconds=1)).isoformat())
span = leaf("before_", "after_", values=times)
span_or_null = leaf("before_", "after_", "is_null_", values=times)
state = joined(
    st.fixed_dictionaries(
        {},
        optional={
            "type": leaf("any_", "not_any_", values=st.sampled_from(STATES)),
            "name": leaf("any_", "not_any_", values=st.sampled_from(["Late", "Running", "Completed"])),
        },
    )
)
COMMON = {
    "name": leaf("any_", "like_", values=st.sampled_from(NAMES)),
    "start_time": span_or_null,
    "end_time": span_or_null,
    "expected_start_time": span,
}
FLOW_RUN = {
    **COMMON,
    "state": state,
    "tags": joined(leaf("all_", "any_", "is_null_", values=st.sampled_from(TAGS))),
    "work_queue_name": joined(leaf("any_", "is_null_", values=st.sampled_from(["default", "x"]))),
    "flow_version": leaf("any_", values=st.sampled_from(["1", "2"])),
    "idempotency_key": leaf("any_", "not_any_", values=st.sampled_from(["key-1-1", "key-3-3"])),
    "parent_task_run_id": joined(leaf("is_null_", values=st.nothing())),
    "next_scheduled_start_time": span,
}
TASK_RUN = {
    **COMMON,
    "state": joined(
        st.fixed_dictionaries({}, optional={"type": leaf("any_", values=st.sampled_from(STATES))})
    ),
    "tags": joined(leaf("all_", "is_null_", values=st.sampled_from(TAGS))),
}


def trees(fields: dict[str, st.SearchStrategy[Any]]) -> st.SearchStrategy[dict[str, Any]]:
    """Draw a filter of a few of these fields."""
    optional = {name: st.none() | field for name, field in fields.items()}
    return joined(st.fixed_dictionaries({}, optional=optional))


def fits(tree: dict[str, Any], run: Run) -> bool:
    """Say whether a row fits a filter, by the meanings above."""
    answers = [
        _field_fits(name, criterion, run)
        for name, criterion in tree.items()
        if name != "operator" and criterion is not None
    ]
    return _join(tree, answers)


def _field_fits(name: str, criterion: dict[str, Any], run: Run) -> bool:
    if name == "state":
        parts = [
            _criterion_fits(part, run[f"state_{key}"], MEANINGS)
            for key, part in criterion.items()
            if key != "operator" and part is not None
        ]
        return _join(criterion, parts)
    return _criterion_fits(criterion, run[name], TAG_MEANINGS if name == "tags" else MEANINGS)


def _criterion_fits(criterion: dict[str, Any], value: Any, meanings: dict[str, Meaning]) -> bool:
    answers = [
        meanings[name](wanted, value)
        for name, wanted in criterion.items()
        if name != "operator" and wanted is not None
    ]
    return _join(criterion, answers)


def _join(tree: dict[str, Any], answers: list[bool]) -> bool:
    if not answers:
        return True
    return any(answers) if tree.get("operator") == "or_" else all(answers)


shared = settings(
    max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


@shared
@given(tree=trees(FLOW_RUN))
def test_a_filter_of_flow_runs_means_what_it_says(api: Api, tree: dict[str, Any]) -> None:
    """Any tree of criteria, alone and joined; the count agrees with the list."""
    expected = {run["id"] for run in everything(api, "flow_runs") if fits(tree, run)}
    found = api.post("/flow_runs/filter", json={"flow_runs": tree}).json()

    assert expected == {run["id"] for run in found}
    assert len(expected) == api.post("/flow_runs/count", json={"flow_runs": tree}).json()


@shared
@given(tree=trees(TASK_RUN))
def test_a_filter_of_task_runs_means_what_it_says(api: Api, tree: dict[str, Any]) -> None:
    """As for flow runs."""
    expected = {run["id"] for run in everything(api, "task_runs") if fits(tree, run)}
    found = api.post("/task_runs/filter", json={"task_runs": tree}).json()

    assert expected == {run["id"] for run in found}
    assert len(expected) == api.post("/task_runs/count", json={"task_runs": tree}).json()


@shared
@given(
    runs=st.none() | trees(FLOW_RUN),
    tasks=st.none() | trees(TASK_RUN),
    flow=st.none() | st.fixed_dictionaries({"name": COMMON["name"]}),
)
def test_filters_of_other_kinds_narrow_by_what_belongs_together(
    api: Api, runs: Any, tasks: Any, flow: Any
) -> None:
    """Flows, flow runs and task runs, each narrowed by the other two."""
    all_runs = everything(api, "flow_runs")
    all_tasks = everything(api, "task_runs")
    body = {"flows": flow, "flow_runs": runs, "task_runs": tasks}
    in_tasks = {task["flow_run_id"] for task in all_tasks if tasks is None or fits(tasks, task)}
    kept = [
        run
        for run in all_runs
        if (runs is None or fits(runs, run))
        and (flow is None or _criterion_fits(flow["name"], run["flow_name"], MEANINGS))
        and (tasks is None or run["id"] in in_tasks)
    ]
    ids = {run["id"] for run in kept}
    found_flows = {each["name"] for each in api.post("/flows/filter", json=body).json()}
    found_tasks = {each["id"] for each in api.post("/task_runs/filter", json=body).json()}

    assert ids == {run["id"] for run in api.post("/flow_runs/filter", json=body).json()}
    if runs is not None or tasks is not None:
        # a flow is kept for any run that fits and any run with a task that fits: they need not be the same run
        by_runs = {run["flow_name"] for run in all_runs if runs is None or fits(runs, run)}
        by_tasks = {run["flow_name"] for run in all_runs if tasks is None or run["id"] in in_tasks}
        named = {
            name
            for name in by_runs & by_tasks
            if flow is None or _criterion_fits(flow["name"], name, MEANINGS)
        }
        assert named == found_flows
    restricted = runs is not None or flow is not None
    parents = {
        run["id"]
        for run in all_runs
        if (runs is None or fits(runs, run))
        and (flow is None or _criterion_fits(flow["name"], run["flow_name"], MEANINGS))
    }
    assert found_tasks == {
        task["id"]
        for task in all_tasks
        if (tasks is None or fits(tasks, task)) and (not restricted or task["flow_run_id"] in parents)
    }


FLOW_RUN_SORTS: dict[str, tuple[Callable[[Run], Any], bool]] = {
    "ID_DESC": (lambda run: run["id"], True),
    "START_TIME_ASC": (lambda run: run["start_time"] or run["expected_start_time"], False),
    "START_TIME_DESC": (lambda run: run["start_time"] or run["expected_start_time"], True),
    "EXPECTED_START_TIME_ASC": (lambda run: run["expected_start_time"], False),
    "EXPECTED_START_TIME_DESC": (lambda run: run["expected_start_time"], True),
    "NAME_ASC": (lambda run: run["name"], False),
    "NAME_DESC": (lambda run: run["name"], True),
    "NEXT_SCHEDULED_START_TIME_ASC": (lambda run: run["next_scheduled_start_time"] or "9", False),
    "END_TIME_DESC": (lambda run: run["end_time"] or "0", True),
}
TASK_RUN_SORTS = {
    **{name: FLOW_RUN_SORTS[name] for name in FLOW_RUN_SORTS if not name.startswith("START")},
    "DURATION_DESC": (lambda run: run["total_run_time"], True),
    "DURATION_ASC": (lambda run: run["total_run_time"], False),
}
SORTS = [("flow_runs", name, *how) for name, how in FLOW_RUN_SORTS.items()]
SORTS += [("task_runs", name, *how) for name, how in TASK_RUN_SORTS.items()]


@pytest.mark.parametrize(
    ("kind", "sort", "key", "descending"), SORTS, ids=[f"{row[0]} {row[1]}" for row in SORTS]
)
def test_a_list_comes_in_the_order_asked_for_page_by_page(
    api: Api, kind: str, sort: str, key: Callable[[Run], Any], descending: bool
) -> None:
    """Sorted, and the same whether it is read whole or in pages of seven; no row twice, none left out."""
    whole = api.post(f"/{kind}/filter", json={"sort": sort}).json()
    pages = [
        api.post(f"/{kind}/paginate", json={"sort": sort, "limit": 7, "page": page}).json()
        for page in range(1, 8)
    ]
    offsets = [
        api.post(f"/{kind}/filter", json={"sort": sort, "limit": 7, "offset": offset}).json()
        for offset in range(0, 49, 7)
    ]

    keys = [key(run) for run in whole]
    assert sorted(keys, reverse=descending) == keys
    assert len({run["id"] for run in whole}) == 40
    ids = [run["id"] for run in whole]
    assert ids == [run["id"] for page in pages for run in page["results"]]
    assert ids == [run["id"] for page in offsets for run in page]
    assert (pages[0]["count"], pages[0]["pages"], pages[0]["limit"]) == (40, 6, 7)


@pytest.mark.parametrize(
    ("kind", "count"), [("deployments", 0), ("work_pools", 20), ("work_pool_queues", 20)]
)
def test_an_empty_filter_of_another_kind_asks_for_some_and_null_restricts_nothing(
    api: Api, kind: str, count: int
) -> None:
    """Clients send such filters often, nearly always as null. No run was deployed; half name a queue."""
    assert api.post("/flow_runs/count", json={kind: None}).json() == 40
    assert api.post("/flow_runs/count", json={kind: {}}).json() == count


def test_flows_are_listed_by_tags_and_deployments(api: Api) -> None:
    """No flow has a deployment yet."""
    assert api.post("/flows/count", json={"flows": {"deployment": {"is_null_": True}}}).json() == 4
    assert api.post("/flows/count", json={"flows": {"deployment": {"is_null_": False}}}).json() == 0
    assert api.post("/flows/count", json={"flows": {"tags": {"is_null_": True}}}).json() == 4
    names = [flow["name"] for flow in api.post("/flows/filter", json={"sort": "NAME_DESC"}).json()]
    assert sorted(names, reverse=True) == names
