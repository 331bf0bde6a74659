"""One connection: what is tried again, what is not, and what its errors say."""

from __future__ import annotations

import base64
import socket
from collections.abc import Callable

import httpx
import pytest

from headrace.client.connection import Connection
from headrace.errors import ApiError, ObjectAlreadyExists, ObjectNotFound, ServerUnavailable, SettingError
from headrace.settings import Settings, load

URL = "http://127.0.0.1:4200/api"

Answer = httpx.Response | Exception


class Server:
    """A server that gives its answers one after the other, and keeps what it was asked."""

    def __init__(self, *answers: Answer) -> None:
        self.answers = list(answers)
        self.asked: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request)
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


class Sleeper:
    """A sleep that only takes note."""

    def __init__(self) -> None:
        self.slept: list[float] = []

    def __call__(self, seconds: float) -> None:
        self.slept.append(seconds)


def settings_of(**environ: str) -> Settings:
    return load({"HEADRACE_HOME": "/nonexistent", **environ})


def connect(
    server: Callable[[httpx.Request], httpx.Response], sleep: Sleeper | None = None, **environ: str
) -> Connection:
    return Connection(
        settings_of(**environ),
        URL,
        transport=httpx.MockTransport(server),
        sleep=sleep or Sleeper(),
        rng=lambda: 1.0,
    )


OK = {"ok": True}


@pytest.mark.parametrize("status", [408, 429, 502, 503])
def test_a_passing_fault_is_tried_again(status: int) -> None:
    """For every method: the server itself says that it did nothing."""
    server, sleep = (
        Server(httpx.Response(status), httpx.Response(status), httpx.Response(200, json=OK)),
        Sleeper(),
    )

    assert connect(server, sleep).post("/flows/", {}) == OK
    assert sleep.slept == [0.2, 0.4]


def test_retry_after_is_honoured() -> None:
    """A server that names a time is not asked before it."""
    server, sleep = (
        Server(httpx.Response(503, headers={"Retry-After": "7"}), httpx.Response(200, json=OK)),
        Sleeper(),
    )
    connect(server, sleep).get("/flows/1")

    assert sleep.slept == [7.0]


@pytest.mark.parametrize(
    ("given", "waited"), [("Wed, 21 Oct 2026 07:28:00 GMT", 0.2), ("-5", 0.2), ("86400", 60.0)]
)
def test_an_odd_retry_after_does_no_harm(given: str, waited: float) -> None:
    """A date is passed over; nobody waits longer than a minute."""
    server, sleep = (
        Server(httpx.Response(429, headers={"Retry-After": given}), httpx.Response(200, json=OK)),
        Sleeper(),
    )
    connect(server, sleep).get("/flows/1")

    assert sleep.slept == [waited]


def test_retries_end() -> None:
    """After client_max_retries the fault is told, with its status."""
    server = Server(*[httpx.Response(503, json={"exception_message": "Service Unavailable"})] * 3)
    with pytest.raises(ServerUnavailable, match=r"status 503.*Service Unavailable") as caught:
        connect(server, HEADRACE_CLIENT_MAX_RETRIES="2").get("/flows/1")

    assert caught.value.status == 503
    assert len(server.asked) == 3


def test_backoff_is_bounded() -> None:
    """Delays double up to ten seconds."""
    server, sleep = Server(*[httpx.Response(503)] * 10), Sleeper()
    with pytest.raises(ServerUnavailable):
        connect(server, sleep, HEADRACE_CLIENT_MAX_RETRIES="9").get("/flows/1")

    assert sleep.slept[-3:] == [10.0, 10.0, 10.0]


def test_a_first_refused_connection_is_told_at_once() -> None:
    """A server that was never there will not come by waiting."""
    server = Server(httpx.ConnectError("Connection refused"))
    with pytest.raises(ServerUnavailable, match=r"connection refused.*headrace server start"):
        connect(server).get("/flows/1")

    assert len(server.asked) == 1


def test_a_refused_connection_is_tried_again_when_the_server_was_there_before() -> None:
    """It restarts, and comes back."""
    server = Server(
        httpx.Response(200, json=OK), httpx.ConnectError("Connection refused"), httpx.Response(200, json=OK)
    )
    connection = connect(server)
    connection.get("/flows/1")

    assert connection.post("/flows/", {}) == OK


def test_a_write_that_got_no_answer_is_not_repeated() -> None:
    """It may have been done; a read is repeated."""
    lost = httpx.ReadError("connection reset")
    writing, reading = Server(lost), Server(lost, httpx.Response(200, json=[]))
    with pytest.raises(ServerUnavailable):
        connect(writing).post("/flow_runs/", {})

    assert connect(reading).post("/flow_runs/filter", {}, repeatable=True) == []
    assert len(writing.asked) == 1


@pytest.mark.parametrize(
    ("status", "kind"), [(404, ObjectNotFound), (409, ObjectAlreadyExists), (413, ApiError), (422, ApiError)]
)
def test_refusals_are_not_tried_again_and_carry_their_reason(status: int, kind: type[ApiError]) -> None:
    """The body's reason stands in the message."""
    server = Server(httpx.Response(status, json={"detail": "Because of the thing."}))
    with pytest.raises(kind, match="Because of the thing") as caught:
        connect(server).post("/flows/", {})

    assert caught.value.status == status
    assert caught.value.body == {"detail": "Because of the thing."}


def test_a_validation_error_names_the_fields() -> None:
    """As the contract tells them."""
    body = {
        "exception_message": "Invalid request received.",
        "exception_detail": [
            {"type": "missing", "loc": ["body", "name"], "msg": "Field required", "input": {}}
        ],
    }
    with pytest.raises(ApiError, match="name: Field required"):
        connect(Server(httpx.Response(422, json=body))).post("/flows/", {})


def test_unauthorised_says_which_settings_help() -> None:
    """401 and 403 both name the settings; a reason of its own is told instead."""
    for status, body in ((401, {"exception_message": "Unauthorized"}), (403, None)):
        with pytest.raises(ApiError, match="HEADRACE_API_AUTH_STRING"):
            connect(Server(httpx.Response(status, json=body))).get("/flows/1")
    with pytest.raises(ApiError, match=r"403: The name is reserved\.$"):
        connect(Server(httpx.Response(403, json={"detail": "The name is reserved."}))).get("/flows/1")


def test_something_else_at_the_address_is_recognised() -> None:
    """A web page is no API, whatever its status."""
    for status in (200, 404):
        page = httpx.Response(status, text="<html>", headers={"content-type": "text/html"})
        with pytest.raises(ApiError, match=r"not a Headrace API.*/api"):
            connect(Server(page)).get("/flows/1")


def test_a_redirect_is_told_not_followed() -> None:
    """Following it would send the credentials elsewhere."""
    server = Server(httpx.Response(308, headers={"location": "https://example.org/api/flows/1"}))
    with pytest.raises(ApiError, match=r"example.org"):
        connect(server, HEADRACE_API_AUTH_STRING="a:b").get("/flows/1")

    assert len(server.asked) == 1


def test_a_url_that_is_none_is_told() -> None:
    """The message shows what a URL looks like."""
    for url in ("localhost:4200", "ftp://host/api", "http://", "http://[bad", "http://x:99999"):
        with pytest.raises(SettingError, match="not a URL such as"):
            Connection(settings_of(), url)


def test_credentials_are_sent() -> None:
    """As basic authentication, or as a bearer token, which comes first."""
    server = Server(httpx.Response(200, json=OK), httpx.Response(200, json=OK))
    connect(server, HEADRACE_API_AUTH_STRING="user:päss").get("/flows/1")
    connect(server, HEADRACE_API_AUTH_STRING="user:pass", PREFECT_API_KEY="key").get("/flows/1")
    sent = [request.headers["authorization"] for request in server.asked]

    assert sent == ["Basic " + base64.b64encode("user:päss".encode()).decode(), "Bearer key"]


def test_advice_tells_where_the_address_comes_from() -> None:
    """So that a person corrects the right place."""
    with pytest.raises(ServerUnavailable, match="set by PREFECT_API_URL"):
        connect(Server(httpx.ConnectError("x")), PREFECT_API_URL=URL).get("/flows/1")


def test_a_real_refused_port_is_told() -> None:
    """Over a real socket."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        with (
            Connection(settings_of(), f"http://127.0.0.1:{port}/api") as connection,
            pytest.raises(ServerUnavailable, match="connection refused"),
        ):
            connection.get("/health")


def test_a_proxy_of_the_machine_is_not_asked_for_the_machine_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """HTTP_PROXY is for the way out."""
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("NO_PROXY", "")
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(10)
        port = server.getsockname()[1]
        server.close()
        with (
            Connection(settings_of(), f"http://localhost:{port}/api") as connection,
            pytest.raises(ServerUnavailable, match="connection refused") as caught,
        ):
            connection.get("/health")

    assert caught.value.__cause__ is not None
    assert not isinstance(caught.value.__cause__, httpx.ProxyError)
