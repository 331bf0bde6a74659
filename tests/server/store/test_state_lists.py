"""Lists of runs in several states are merged from lists of one each, and nobody can tell."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import pytest

from headrace.model import entries
from headrace.server import ingest
from headrace.server.store import flow_runs
from headrace.server.store.database import Database
from headrace.server.store.filters import Scope, state_parts
from headrace.wire.filters import FlowRunFilter

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


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    """A database with 120 flow runs whose times and names are in no order and often the same."""
    rng, made = random.Random(7), [opened()]
    for number in range(120):
        run, t = an_id(number, 1), NOW + rng.randrange(20) * 1000
        kind, name = rng.choice(_KINDS)
        made += [
            entries.FlowRun(run, t, "etl", f"run-{rng.randrange(30)}"),
            entries.State(run, t + 10, "RUNNING"),
            entries.State(run, t + 10 + rng.randrange(5), kind, name),
        ]
    database = Database.open("", tmp_path_factory.mktemp("many"))
    ingest.append(database, JOURNAL, 0, lines(made), now_us=NOW, leased=False)
    yield database
    database.close()


def _list(database: Database, state: dict[str, Any], sort: str, limit: int, offset: int) -> list[str]:
    scope = Scope(flow_runs=FlowRunFilter.model_validate({"state": state}))
    with database.read() as connection:
        found = flow_runs.find(connection, scope, sort=sort, limit=limit, offset=offset, now_us=NOW)
    return [run["id"] for run in found]


@pytest.mark.parametrize("sort", _SORTS)
@pytest.mark.parametrize("state", _FILTERS, ids=str)
def test_a_merged_list_is_the_list_that_one_query_gives(
    state: dict[str, Any], sort: str, many: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every page, whichever way it was made, in the same order."""
    merged = [_list(many, state, sort, 7, offset) for offset in range(0, 126, 7)]
    monkeypatch.setattr(flow_runs, "_MERGED", 0)
    plain = [_list(many, state, sort, 7, offset) for offset in range(0, 126, 7)]

    assert plain == merged
    assert sum(map(len, plain)) > 7


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

    assert _list(many, {"type": {"any_": ["FAILED", "CRASHED", "RUNNING"]}}, "ID_DESC", 200, 0) == [
        run["id"] for run in found
    ]


def test_very_many_names_of_states_are_one_condition(many: Database) -> None:
    """A list of a thousand names is answered, too."""
    names = [f"Name {number}" for number in range(1_000)]

    assert _list(many, {"name": {"any_": [*names, "Lost"]}}, "ID_DESC", 200, 0) == _list(
        many, {"name": {"any_": ["Lost"]}}, "ID_DESC", 200, 0
    )
