"""Bad input gets a clear answer that names the field, harms nothing, and the server goes on."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import Any

import pytest

from headrace.server.store.database import Database
from tests.server.serving import Api, serving

JSON = {"content-type": "application/json"}
JOURNAL = "/journals/01a20879-4912-75ac-8e3e-b5bcc94ae52f"


@pytest.fixture(autouse=True)
def lives(api: Api) -> Iterator[None]:
    """After each test the server still works."""
    yield
    assert api.post("/flows/", json={"name": "still-there"}).status_code == 201


def test_what_is_not_json_is_422(api: Api) -> None:
    """Truncated, doubled, not a number, half a surrogate, not UTF-8, empty."""
    for body in (
        b'{"a"',
        b"{}{}",
        b'{"limit": NaN}',
        b'{"name": "\\ud800"}',
        b'{"name": "\xff"}',
        b"\x00",
        b"]",
    ):
        answer = api.post("/flow_runs/filter", content=body, headers=JSON)

        assert answer.status_code == 422, body
        assert answer.json()["exception_message"] == "Invalid request received."
        assert answer.json()["exception_detail"][0]["loc"] == ["body"]


@pytest.mark.parametrize("depth", [101, 5_000, 1_000_000])
def test_deep_nesting_is_422(api: Api, depth: int) -> None:
    """However deep: nothing overflows."""
    body = b'{"flow_id": null, "parameters": ' + b'{"a":' * depth + b"1" + b"}" * depth + b"}"
    answer = api.post("/flow_runs/", content=body, headers=JSON)

    assert answer.status_code == 422
    assert "nested" in answer.json()["exception_detail"][0]["msg"]


def test_what_is_nested_less_is_taken(api: Api) -> None:
    """A hundred levels are no honest client's need, but fifty are fine."""
    value: Any = 1
    for _ in range(50):
        value = [value]
    run = api.flow_run(parameters={"x": value})

    assert {"x": value} == run["parameters"]


FIELDS: list[tuple[str, dict[str, Any], list[str]]] = [
    ("/flows/", {"name": 5}, ["body", "name"]),
    ("/flows/", {}, ["body", "name"]),
    ("/flows/", {"name": "a/b"}, ["body", "name"]),
    ("/flows/", {"name": "a\x00b"}, ["body", "name"]),
    ("/flows/", {"name": "a", "tags": ["\x00"]}, ["body", "tags"]),
    ("/flows/", {"name": "a", "colour": "red"}, ["body", "colour"]),
    ("/flow_runs/", {"flow_id": "x"}, ["body", "flow_id"]),
    ("/flow_runs/filter", {"offset": -1}, ["body", "offset"]),
    ("/flow_runs/filter", {"offset": 2**63}, ["body", "offset"]),
    ("/flow_runs/filter", {"sort": "WRONG"}, ["body", "sort"]),
    ("/flow_runs/filter", {"flow_runs": {"nope": 1}}, ["body", "flow_runs", "nope"]),
    (
        "/flow_runs/filter",
        {"flow_runs": {"state": {"type": {"any_": ["X"]}}}},
        ["body", "flow_runs", "state", "type"],
    ),
    (
        "/flow_runs/filter",
        {"flow_runs": {"start_time": {"after_": "soon"}}},
        ["body", "flow_runs", "start_time"],
    ),
    ("/flow_runs/filter", {"flow_runs": {"name": {"any_": ["\x00"]}}}, ["body", "flow_runs", "name"]),
    ("/flow_runs/paginate", {"page": 0}, ["body", "page"]),
    ("/task_runs/", {"task_key": "a"}, ["body", "dynamic_key"]),
    ("/logs/filter", {"logs": {"level": {"ge_": 2**70}}}, ["body", "logs", "level"]),
]


@pytest.mark.parametrize(
    ("path", "body", "where"), FIELDS, ids=[f"{path} {where[-1]}" for path, _, where in FIELDS]
)
def test_a_field_that_does_not_fit_is_named(api: Api, path: str, body: Any, where: list[str]) -> None:
    """422 in the contract's form: type, loc, msg, input, and the body back."""
    answer = api.post(path, json=body)
    told = answer.json()

    assert answer.status_code == 422
    assert {"type", "loc", "msg", "input"} == set(told["exception_detail"][0])
    assert any(where == each["loc"][: len(where)] for each in told["exception_detail"])
    assert body == told["request_body"]


@pytest.mark.parametrize(
    "path", ["/flows/name/%00", "/work_pools/a%00", "/work_pools/a/queues/%00", "/deployments/name/a/%00"]
)
def test_a_name_with_a_nul_character_is_nobodys(api: Api, path: str) -> None:
    """404 before a database is asked that could not be."""
    assert api.get(path).status_code == 404


@pytest.mark.parametrize("path", ["/flows/filter", "/flow_runs/filter", "/task_runs/filter", "/logs/filter"])
def test_too_large_a_limit_is_422_in_the_contracts_words(api: Api, path: str) -> None:
    """200 at most; none by default means 200; less than none is refused too."""
    answer = api.post(path, json={"limit": 201})

    assert (
        answer.status_code,
        answer.json(),
    ) == (422, {"detail": "Invalid limit: must be less than or equal to 200."})
    assert api.post(path, json={"limit": -1}).status_code == 422
    assert api.post(path, json={"limit": 0}).json() == []
    assert api.post(path, json={"limit": None, "offset": None, "sort": None}).status_code == 200
    assert api.post(path).status_code == 200


def test_a_page_past_the_end_is_empty(api: Api) -> None:
    """Even one whose offset no database could count to."""
    answer = api.post("/flow_runs/paginate", json={"page": 2**48})

    assert (answer.status_code, answer.json()["results"]) == (200, [])
    assert api.post("/flow_runs/paginate", json={"page": 2**48 + 1}).status_code == 422


def test_what_a_run_says_is_mended_and_not_lost(api: Api) -> None:
    """NUL characters in messages and log lines become U+FFFD: the state counts more."""
    run = api.flow_run()["id"]
    api.propose("flow_runs", run, "FAILED", message="a\x00b")
    api.post(
        "/logs/",
        json=[
            {
                "name": "x",
                "level": 20,
                "message": "\x00",
                "timestamp": "2026-01-01T00:00:00Z",
                "flow_run_id": run,
            }
        ],
    )

    assert api.get(f"/flow_runs/{run}").json()["state"]["message"] == "a\ufffdb"
    assert [line["message"] for line in api.post("/logs/filter", json={}).json()] == ["\ufffd"]


def test_a_run_of_a_flow_that_is_not_there_is_409(api: Api) -> None:
    """Nothing is made."""
    missing = "01a20879-4912-75ac-8e3e-000000000000"
    for path, body in (
        ("/flow_runs/", {"flow_id": missing}),
        ("/task_runs/", {"flow_run_id": missing, "task_key": "a", "dynamic_key": "0"}),
    ):
        answer = api.post(path, json=body)

        assert (answer.status_code, missing in answer.json()["detail"]) == (409, True)
    assert api.post("/flow_runs/count").json() == 0


def test_a_body_that_is_no_json_by_its_header_is_422(api: Api) -> None:
    """A web page of a stranger can send text/plain without asking; it gets nothing done."""
    answer = api.post("/flows/", content=b'{"name": "x"}', headers={"content-type": "text/plain"})

    assert answer.status_code == 422
    assert api.post("/flows/count").json() == 0


def test_a_body_over_the_limit_is_413_with_the_limit(database: Database) -> None:
    """By its length as told, by its length as it comes, and by its length unpacked."""
    with serving(database, server_body_limit=1_000) as api:
        told = api.post("/flows/", json={"name": "x" * 2_000})
        sent = api.post("/flows/", content=iter([b"x" * 600, b"x" * 600]), headers=JSON)
        bomb = api.put(
            JOURNAL,
            params={"offset": 0},
            content=zlib.compress(b"\n" * 100_000),
            headers={"content-encoding": "deflate"},
        )

        for answer in (told, sent, bomb):
            assert (answer.status_code, "1000 bytes" in answer.json()["detail"]) == (413, True)


def test_nobody_comes_in_without_the_right_word(database: Database) -> None:
    """Basic or bearer; health and readiness stay open."""
    with serving(database, server_auth_string="ada:secret") as api:
        for given in (None, "Basic eDp5", "Bearer nonsense", "Basic \xe9"):
            headers = {} if given is None else {"authorization": given.encode("latin-1")}
            answer = api.post("/flows/count", headers=headers)

            assert (answer.status_code, answer.json()) == (401, {"exception_message": "Unauthorized"})
        assert api.post("/flows/count", auth=("ada", "secret")).status_code == 200
        assert api.post("/flows/count", headers={"authorization": "Bearer ada:secret"}).status_code == 200
        assert [api.get(path).status_code for path in ("/health", "/ready")] == [200, 200]


def test_a_fault_inside_is_500_with_a_body_and_a_traceback_in_the_log(
    api: Api, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The caller learns nothing of the inside; whoever runs the server learns all."""
    from headrace.server.store import flows

    monkeypatch.setattr(flows, "count", lambda *_: 1 / 0)
    answer = api.post("/flows/count")

    assert (answer.status_code, answer.json()) == (500, {"exception_message": "Internal Server Error"})
    assert "ZeroDivisionError" in caplog.text
    assert "POST /api/flows/count" in caplog.text


def test_a_busy_database_is_503_which_clients_try_again(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the contract's words, with the time to come again."""
    import sqlite3

    from sqlalchemy.exc import OperationalError

    from headrace.server.store import flows

    def busy(*_: object) -> None:
        raise OperationalError("SELECT", {}, sqlite3.OperationalError("database is locked"))

    monkeypatch.setattr(flows, "count", busy)
    monkeypatch.setattr(Database, "is_passing", lambda _, error: isinstance(error, OperationalError))
    answer = api.post("/flows/count")

    assert (answer.status_code, answer.json()) == (503, {"exception_message": "Service Unavailable"})
    assert answer.headers["retry-after"] == "1"


def test_a_filter_with_very_many_values_is_answered(api: Api, database: Database) -> None:
    """Or refused with 422, where a database takes no more (as PostgreSQL does from 65,536 on); never 500."""
    many = 300_000 if database.url.get_backend_name() == "sqlite" else 66_000
    ids = [f"00000000-0000-0000-0000-{number:012x}" for number in range(many)]
    answer = api.post("/flow_runs/filter", json={"flow_runs": {"id": {"any_": ids}}})

    assert answer.status_code in (200, 422), answer.text
