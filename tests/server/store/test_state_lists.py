"""Lists of runs in several states are merged from lists of one each, and nobody can tell."""

from __future__ import annotations

import contextlib
import itertools
import random
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from headrace.model import entries
from headrace.server import ingest
from headrace.server.store import flow_runs, pages, task_runs
from headrace.server.store.database import Database
from headrace.server.store.filters import Scope, rare_parts, state_parts
from headrace.testing.postgres import Cluster
from headrace.wire.filters import FlowRunFilter, TaskRunFilter

from ..journals import JOURNAL, NOW, an_id, lines, opened

_KINDS = (
    ("COMPLETED", None),
    ("FAILED", None),
    ("FAILED", "TimedOut"),
    ("CRASHED", "Lost"),
    ("RUNNING", None),
    ("CANCELLED", None),
)
_FILTERS: list[dict[str, Any]] = [
    {"type": {"any_": ["FAILED", "CRASHED"]}},
    {"type": {"any_": ["FAILED", "FAILED", "RUNNING", "PAUSED"]}},
    {"name": {"any_": ["Failed", "TimedOut", "Lost"]}},
    {"type": {"any_": ["FAILED", "CRASHED"]}, "name": {"any_": ["TimedOut", "Lost", "Completed"]}},
    {"type": {"any_": ["FAILED"]}, "name": {"any_": ["TimedOut", "Lost"]}, "operator": "or_"},
    {"type": {"any_": ["FAILED", "RUNNING"]}, "name": {"not_any_": ["TimedOut"]}},
]
_SORTS = (
    "START_TIME_DESC",
    "START_TIME_ASC",
    "EXPECTED_START_TIME_DESC",
    "ID_DESC",
    "END_TIME_DESC",
    "NAME_ASC",
)
_TASK_SORTS = ("EXPECTED_START_TIME_DESC", "EXPECTED_START_TIME_ASC", "ID_DESC", "NAME_ASC", "END_TIME_DESC")


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def many(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    """A database of either kind with 120 flow runs, and as many task runs, whose times and names are in no order and often the same."""
    rng, made = random.Random(7), [opened()]
    for number in range(120):
        run, t = an_id(number, 1), NOW + rng.randrange(20) * 1000
        kind, name = rng.choice(_KINDS)
        task = an_id(number, 2)
        made += [
            entries.FlowRun(run, t, "etl", f"run-{rng.randrange(30)}"),
            entries.State(run, t + 10, "RUNNING"),
            entries.State(run, t + 10 + rng.randrange(5), kind, name),
            entries.TaskRun(task, t, "load", f"load-{rng.randrange(30)}", str(number), run),
            entries.State(task, t + 5, kind, name),
        ]
    with contextlib.ExitStack() as closing:
        url = ""
        if request.param == "postgres":
            cluster: Cluster = request.getfixturevalue("postgres")
            url = closing.enter_context(cluster.database())
        database = Database.open(url, tmp_path_factory.mktemp("many"))
        closing.callback(database.close)
        ingest.append(database, JOURNAL, 0, lines(made), now_us=NOW, leased=False)
        yield database


Lists = Callable[[Database, dict[str, Any], str, int, int], list[str]]


def _of_flows(database: Database, state: dict[str, Any], sort: str, limit: int, offset: int) -> list[str]:
    scope = Scope(flow_runs=FlowRunFilter.model_validate({"state": state}))
    with database.read() as connection:
        found = flow_runs.find(connection, scope, sort=sort, limit=limit, offset=offset, now_us=NOW)
    return [run["id"] for run in found]


def _of_tasks(database: Database, state: dict[str, Any], sort: str, limit: int, offset: int) -> list[str]:
    scope = Scope(task_runs=TaskRunFilter.model_validate({"state": state}))
    with database.read() as connection:
        found = task_runs.find(connection, scope, sort=sort, limit=limit, offset=offset, now_us=NOW)
    return [run["id"] for run in found]


@pytest.mark.parametrize(
    ("ask", "state", "sort"),
    [
        *itertools.product([_of_flows], _FILTERS, _SORTS),
        *itertools.product([_of_tasks], _FILTERS[:-1], _TASK_SORTS),  # the contract has no `not_any_` there
    ],
    ids=lambda one: getattr(one, "__name__", str(one)),
)
def test_a_merged_list_is_the_list_that_one_query_gives(
    ask: Lists, state: dict[str, Any], sort: str, many: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every page, whichever way it was made, in the same order."""
    merged = [ask(many, state, sort, 7, offset) for offset in range(0, 126, 7)]
    monkeypatch.setattr(pages, "_MERGED", 0)
    plain = [ask(many, state, sort, 7, offset) for offset in range(0, 126, 7)]

    assert plain == merged
    assert sum(map(len, plain)) > 7


def test_task_runs_are_split_where_their_states_are_rare() -> None:
    """Not beside Completed, and not within a flow run, where few are to be sorted."""

    def parts(*types: str, **further: Any) -> int:
        state = {"type": {"any_": list(types)}}
        return len(rare_parts(Scope(task_runs=TaskRunFilter.model_validate({"state": state, **further}))))

    assert parts("FAILED", "CRASHED", "FAILED") == 2
    assert parts("FAILED", "COMPLETED") == 0
    assert parts("RUNNING", "PENDING") == 0
    assert parts("FAILED", "CRASHED", id={"any_": [an_id(1)]}) == 0
    assert rare_parts(Scope()) == []


def test_a_filter_is_split_only_where_its_parts_are_the_whole() -> None:
    """Joined by "or" with something else, or by what a state is not, it stays one."""

    def parts(**filter: Any) -> int:
        return len(state_parts(FlowRunFilter.model_validate(filter)))

    several = {"type": {"any_": ["FAILED", "CRASHED"]}}

    assert parts(state=several) == 2
    assert parts(state=several, name={"any_": ["x"]}, operator="or_") == 0
    assert parts(state={"type": {"not_any_": ["FAILED", "CRASHED"]}}) == 0
    assert parts(state={**several, "name": {"not_any_": ["Lost"]}, "operator": "or_"}) == 0
    assert parts(state={**several, "name": {}, "operator": "or_"}) == 0
    assert len(state_parts(None)) == 0


def test_a_filter_with_many_values_is_not_repeated_for_each_state(many: Database) -> None:
    """Each state's list would hold them all, and a database takes only so many."""
    ids = [an_id(number, 1) for number in range(20_000)]
    scope = Scope(
        flow_runs=FlowRunFilter.model_validate(
            {"id": {"any_": ids}, "state": {"type": {"any_": ["FAILED", "CRASHED", "RUNNING"]}}}
        )
    )
    with many.read() as connection:
        found = flow_runs.find(connection, scope, sort="ID_DESC", limit=200, offset=0, now_us=NOW)

    assert _of_flows(many, {"type": {"any_": ["FAILED", "CRASHED", "RUNNING"]}}, "ID_DESC", 200, 0) == [
        run["id"] for run in found
    ]


def test_very_many_names_of_states_are_one_condition(many: Database) -> None:
    """A list of a thousand names is answered, too."""
    names = [f"Name {number}" for number in range(1_000)]

    assert _of_flows(many, {"name": {"any_": [*names, "Lost"]}}, "ID_DESC", 200, 0) == _of_flows(
        many, {"name": {"any_": ["Lost"]}}, "ID_DESC", 200, 0
    )
