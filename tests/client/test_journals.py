"""Journals over HTTP: one attempt a call, compressed when large, faults told apart."""

from __future__ import annotations

import gzip
from collections.abc import Callable

import httpx
import pytest

from headrace.client.connection import Connection
from headrace.client.journals import HttpJournals
from headrace.client.port import Command
from headrace.errors import ApiError, OffsetMismatch, ServerUnavailable
from headrace.settings import load

JOURNAL = "01980000-0000-7000-8000-000000000001"


def journals(server: Callable[[httpx.Request], httpx.Response]) -> HttpJournals:
    settings = load({"HEADRACE_HOME": "/nonexistent"})
    url = "http://127.0.0.1:4200/api"
    return HttpJournals(
        settings, url, connection=Connection(settings, url, transport=httpx.MockTransport(server))
    )


def test_small_pieces_go_as_they_are_and_large_ones_compressed() -> None:
    """What arrives is the same bytes."""
    got: list[tuple[str, str | None, bytes]] = []

    def server(request: httpx.Request) -> httpx.Response:
        encoding = request.headers.get("content-encoding")
        body = gzip.decompress(request.content) if encoding == "gzip" else request.content
        got.append((request.url.query.decode(), encoding, body))
        return httpx.Response(200, json={"offset": len(body)})

    small, large = b"x\n", b'{"k":"log"}\n' * 1000
    port = journals(server)

    assert port.append(JOURNAL, 0, small) == 2
    assert port.append(JOURNAL, 2, large) == len(large)
    assert got == [("offset=0", None, small), ("offset=2", "gzip", large)]


def test_the_wrong_place_is_told_with_the_right_one() -> None:
    """409 with an offset is OffsetMismatch; another 409 is a refusal."""
    with pytest.raises(OffsetMismatch) as caught:
        journals(lambda _: httpx.Response(409, json={"detail": "gap", "offset": 12})).append(
            JOURNAL, 40, b"x\n"
        )
    with pytest.raises(ApiError):
        journals(lambda _: httpx.Response(409, json={"detail": "other"})).append(JOURNAL, 40, b"x\n")

    assert caught.value.expected == 12


def test_an_unknown_journal_has_no_bytes() -> None:
    """404 means 0."""

    assert journals(lambda _: httpx.Response(404, json={"detail": "Journal not found"})).offset(JOURNAL) == 0
    assert journals(lambda _: httpx.Response(200, json={"offset": 7})).offset(JOURNAL) == 7


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_faults_that_pass_are_told_after_one_attempt(status: int) -> None:
    """The supervisor has its own patience."""
    asked: list[httpx.Request] = []

    def server(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        return httpx.Response(status)

    with pytest.raises(ServerUnavailable):
        journals(server).append(JOURNAL, 0, b"x\n")

    assert len(asked) == 1


@pytest.mark.parametrize("body", [b"<html>", b"[]", b"{}", b'{"offset": "7"}', b'{"offset": -1}', b""])
def test_an_answer_that_is_none_of_ours_is_a_fault_that_passes(body: bytes) -> None:
    """A login page before the server must not make a supervisor believe that bytes arrived."""
    with pytest.raises(ServerUnavailable, match="proxy"):
        journals(lambda _: httpx.Response(200, content=body)).append(JOURNAL, 0, b"x\n")


def test_commands_are_decoded() -> None:
    """Unknown fields are passed over: a newer server may send more."""
    answer = [{"id": 3, "action": "cancel", "flow_run_id": "r", "who": "ada", "new": 1}]
    asked: list[str] = []

    def server(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.query.decode())
        return httpx.Response(200, json=answer)

    assert journals(server).commands(JOURNAL, after=2, wait=0.5) == [Command(3, "cancel", "r", "ada")]
    assert asked == ["after=2&wait=0.5"]


def test_garbled_commands_are_a_fault_that_passes() -> None:
    """As for offsets."""
    with pytest.raises(ServerUnavailable):
        journals(lambda _: httpx.Response(200, content=b"<html>")).commands(JOURNAL, after=0, wait=0)
