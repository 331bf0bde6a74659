"""Journals over HTTP: bytes go in once, commands come out at once."""

from __future__ import annotations

import gzip
import threading
import time
import zlib
from collections.abc import Iterator

import pytest

from headrace.errors import OffsetMismatch
from headrace.model import entries
from headrace.server.store.database import Database
from tests.server.serving import NOON_US, Api

ID = "01a20879-4912-75ac-8e3e-b5bcc94ae52f"
RUN = "01a20879-4918-755c-b0bb-7958c1f0f8a5"
PATH = f"/journals/{ID}"


def lines() -> bytes:
    """Return a journal with a run that is Running."""
    records = [
        entries.Open(ID, NOON_US, (NOON_US * 1000, 0), 4711, 1, "boot", "host"),
        entries.FlowRun(RUN, NOON_US + 1, "etl", "brisk-otter"),
        entries.State(RUN, NOON_US + 2, "RUNNING"),
    ]
    return b"".join(entries.encode(record) + b"\n" for record in records)


def put(api: Api, offset: int, content: bytes, encoding: str | None = None) -> tuple[int, dict[str, object]]:
    """Send bytes; return the status and the answer."""
    headers = {"content-encoding": encoding} if encoding else {}
    answer = api.put(PATH, params={"offset": offset}, content=content, headers=headers)
    return answer.status_code, answer.json()


def test_bytes_are_taken_once_however_they_are_packed(api: Api) -> None:
    """Plain, gzip and deflate; the same bytes again change nothing; an unfinished line is not taken."""
    data = lines()
    first = data.index(b"\n") + 1
    assert api.get(PATH).status_code == 404
    assert (200, {"offset": first}) == put(api, 0, gzip.compress(data[: first + 5]), "gzip")
    assert (200, {"offset": len(data)}) == put(api, first, zlib.compress(data[first:]), "deflate")
    assert (200, {"offset": len(data)}) == put(api, 0, data)
    told = api.get(PATH).json()

    assert (ID, len(data), "host", 4711, None) == tuple(
        told[name] for name in ("id", "offset", "host", "pid", "closed")
    )
    run = api.get(f"/flow_runs/{RUN}").json()
    assert (run["flow_name"], run["state_name"], len(run["state_history"])) == ("etl", "Running", 2)
    assert {("fact", "run")} == {(each["rank"], each["source"]) for each in run["state_history"]}


def test_bytes_past_the_end_are_answered_with_where_it_is(api: Api) -> None:
    """409 with the true offset, and with words that a person can use."""
    data = lines()
    put(api, 0, data)
    status, told = put(api, len(data) + 7, b"{}\n")

    assert (409, len(data)) == (status, told["offset"])
    assert str(OffsetMismatch(ID, len(data) + 7, len(data))) == told["detail"]


@pytest.mark.parametrize(
    ("content", "encoding", "status"),
    [(b"no gzip", "gzip", 422), (gzip.compress(b"x" * 1000, mtime=0)[:-20], "gzip", 422), (b"x", "br", 415)],
)
def test_what_cannot_be_unpacked_is_refused(api: Api, content: bytes, encoding: str, status: int) -> None:
    """And nothing of it is taken."""
    answered, told = put(api, 0, content, encoding)

    assert (status, True) == (answered, bool(told["detail"]))
    assert api.get(PATH).status_code == 404


def test_garbage_harms_nothing(api: Api) -> None:
    """Lines that are no records are counted; what stands beside them is taken."""
    data = b"\x00\xff garbage\n{}\n" + lines() + b'{"k": "state"}\n'

    assert (200, {"offset": len(data)}) == put(api, 0, data)
    assert api.get(PATH).json()["torn"] > 0
    assert api.get(f"/flow_runs/{RUN}").json()["state_type"] == "RUNNING"


@pytest.mark.parametrize("query", ["", "?offset=-1", "?offset=x", f"?offset={2**63}"])
def test_an_offset_that_is_none_is_422_and_named(api: Api, query: str) -> None:
    """In the contract's form."""
    answer = api.put(PATH + query, content=b"{}\n")

    assert answer.status_code == 422
    assert answer.json()["exception_detail"][0]["loc"] == ["query", "offset"]


def test_bytes_of_another_journal_are_refused(api: Api) -> None:
    """The first record says whose they are."""
    other = "01a20879-4912-75ac-8e3e-000000000000"
    answer = api.put(f"/journals/{other}", params={"offset": 0}, content=lines())

    assert answer.status_code == 422
    assert ID in answer.json()["detail"] or other in answer.json()["detail"]


@pytest.fixture
def poll(api: Api) -> Iterator[dict[str, object]]:
    """A long poll of 20 s that has begun, in a thread; ``answer`` and ``took`` are there when it has ended."""
    put(api, 0, lines())
    outcome: dict[str, object] = {}

    def wait() -> None:
        start = time.monotonic()
        outcome["answer"] = api.get(PATH + "/commands", params={"after": 0, "wait": 20}, timeout=30).json()
        outcome["took"] = time.monotonic() - start

    thread = threading.Thread(target=wait)
    outcome["thread"] = thread
    thread.start()
    deadline = time.monotonic() + 10
    while not api.app.state.context.bells.waited_for():
        assert time.monotonic() < deadline
        time.sleep(0.005)  # the poll has to arrive: there is nothing to wait on but its place in the list
    yield outcome
    api.app.state.context.bells.close()
    thread.join(timeout=10)


def test_a_command_wakes_the_poll_at_once(api: Api, poll: dict[str, object]) -> None:
    """A cancel that is asked for over HTTP reaches a waiting supervisor without delay."""
    api.propose("flow_runs", RUN, "CANCELLING")
    poll["thread"].join(timeout=10)  # type: ignore[attr-defined]  # a thread
    [command] = poll["answer"]  # type: ignore[misc]  # a list of one

    assert poll["took"] < 10  # type: ignore[operator]  # seconds
    assert (command["action"], command["flow_run_id"]) == ("cancel", RUN)
    assert api.get(PATH + "/commands", params={"after": command["id"]}).json() == []


def test_polls_end_when_the_server_does(api: Api, poll: dict[str, object]) -> None:
    """Nobody waits for them."""
    api.app.state.context.bells.close()
    poll["thread"].join(timeout=10)  # type: ignore[attr-defined]  # a thread

    assert poll["answer"] == []


def test_a_poll_without_wait_answers_at_once(api: Api) -> None:
    """Also for a journal of which nothing has come yet."""
    assert api.get(PATH + "/commands").json() == []


def test_a_command_of_another_server_is_found_by_the_bell_ringer(api: Api, database: Database) -> None:
    """One look a second, for all polls; only journals that wait and have a command are rung for."""
    from headrace.server.services.bell_ringer import BellRinger

    put(api, 0, lines())
    api.propose("flow_runs", RUN, "CANCELLING")
    rung: list[str] = []
    waiting: list[str] = []
    ringer = BellRinger(database, waited_for=lambda: waiting, ring=rung.append)
    ringer.tick()
    waiting += ["01a20879-4912-75ac-8e3e-000000000000", ID]
    ringer.tick()

    assert rung == [ID]
