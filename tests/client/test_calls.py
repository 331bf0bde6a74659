"""Lists page by page: every thing once, whatever the pages cut through."""

from __future__ import annotations

import json
from typing import Any

import httpx
from hypothesis import given
from hypothesis import strategies as st

from headrace.client import calls
from headrace.client.connection import Connection
from headrace.settings import load


def connect(handler: Any) -> Connection:
    settings = load({"HEADRACE_HOME": "/nonexistent"})
    return Connection(settings, "http://127.0.0.1:4200/api", transport=httpx.MockTransport(handler))


class LogServer:
    """The contract's log filter over a list of lines: inclusive ``after_``, order, limit and offset."""

    def __init__(self, moments: list[int]) -> None:
        self.lines = [
            {"id": f"{n}", "timestamp": f"2026-01-01T00:00:{moment:02d}.000000Z", "message": str(n)}
            for n, moment in enumerate(moments)
        ]
        self.requests = 0

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests += 1
        body = json.loads(request.content)
        after = body["logs"].get("timestamp", {}).get("after_", "")
        backwards = body["sort"] == "TIMESTAMP_DESC"
        found = [line for line in self.lines if line["timestamp"] >= after]
        found.sort(key=lambda line: (line["timestamp"], int(line["id"])), reverse=backwards)
        return httpx.Response(200, json=found[body["offset"] : body["offset"] + body["limit"]])


@given(st.lists(st.integers(0, 9), max_size=1500))
def test_each_log_line_comes_once_and_in_order(moments: list[int]) -> None:
    """Even where hundreds share one moment."""
    server = LogServer(moments)
    got = [line["id"] for line in calls.logs(connect(server), {})]

    assert got == [
        line["id"] for line in sorted(server.lines, key=lambda line: (line["timestamp"], int(line["id"])))
    ]


@given(st.lists(st.integers(0, 9), max_size=600), st.integers(1, 700))
def test_a_limit_of_log_lines_holds(moments: list[int], limit: int) -> None:
    """From the first one on; and the last ones from the end."""
    server = LogServer(moments)
    everything = [line["id"] for line in calls.logs(connect(server), {})]

    assert [line["id"] for line in calls.logs(connect(server), {}, limit=limit)] == everything[:limit]
    assert [line["id"] for line in calls.last_logs(connect(server), {}, limit)] == everything[-limit:]


@given(st.integers(0, 1000), st.integers(1, 1100))
def test_pages_are_joined_up_to_the_limit(total: int, limit: int) -> None:
    """No page asks for more than the contract allows."""

    def server(request: httpx.Request) -> httpx.Response:
        body = json.loads(request.content)
        assert 0 < body["limit"] <= 200
        return httpx.Response(
            200, json=[{"n": n} for n in range(total)][body["offset"] : body["offset"] + body["limit"]]
        )

    got = [thing["n"] for thing in calls.pages(connect(server), "/flows/filter", {}, limit=limit)]

    assert got == list(range(min(total, limit)))


def test_flow_names_are_asked_for_where_the_server_does_not_send_them() -> None:
    """So the command line shows them for foreign servers too."""

    def server(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/api/flow_runs/filter":
            return httpx.Response(
                200, json=[{"id": "r1", "flow_id": "f1"}, {"id": "r2", "flow_id": "f2", "flow_name": "two"}]
            )
        assert json.loads(request.content)["flows"] == {"id": {"any_": ["f1"]}}
        return httpx.Response(200, json=[{"id": "f1", "name": "one"}])

    assert [run["flow_name"] for run in calls.flow_runs(connect(server), {}, limit=10)] == ["one", "two"]
