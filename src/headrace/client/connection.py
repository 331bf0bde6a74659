"""One client for every request: auth, timeouts, retries with backoff, and errors that say what to do."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from ipaddress import ip_address
from typing import Any

import httpx

from headrace.errors import SettingError
from headrace.settings import Settings

from .refusals import decoded, not_the_api, refused, unanswered

RETRIED = frozenset((408, 429, 502, 503))
"""Statuses with which servers and proxies say: come again."""

_FIRST_DELAY_S = 0.2
_LONGEST_DELAY_S: float = 10.0
_CONNECT_TIMEOUT_S = 5.0
"""A host that is there accepts within milliseconds; one that drops packets should not hold a person up."""

_REPEATABLE = frozenset(("GET", "HEAD", "PUT", "DELETE"))


class Connection:
    """Requests to one server, over the network or, with ``transport``, in this process. Thread-safe.

    ``url`` is the API's base URL; ``name`` is what errors call the server instead. A request that got no answer is tried again when asking twice does no harm
    (``repeatable``: reads, PUT and DELETE unless told), and when the connection could not be made at all but
    worked before: a server that restarts comes back, one that never was there will not.

    Raises:
        SettingError: ``url`` is none.
    """

    def __init__(
        self,
        settings: Settings,
        url: str,
        *,
        transport: httpx.BaseTransport | None = None,
        name: str | None = None,
        on_close: Callable[[], None] | None = None,
        sleep: Callable[[float], None] = time.sleep,
        rng: Callable[[], float] = random.random,
    ) -> None:
        self.url = url.rstrip("/")
        self._name = name or f"the server at {self.url}"
        self._advice = advice_on(settings)
        self._max_retries = settings.client_max_retries
        self._on_close = on_close
        self._sleep = sleep
        self._rng = rng
        self._answered = False
        self._client = _make_client(settings, self.url, transport)

    def get(self, path: str, **params: Any) -> Any:
        """Return the JSON of ``GET path``."""
        return self._json(self.request("GET", path, params=params))

    def post(self, path: str, body: Any = None, *, repeatable: bool = False) -> Any:
        """Return the JSON of ``POST path``; ``repeatable`` marks one that only reads, such as a filter."""
        return self._json(self.request("POST", path, json=body, repeatable=repeatable))

    def delete(self, path: str) -> None:
        """Carry out ``DELETE path``."""
        self.request("DELETE", path)

    def request(
        self,
        method: str,
        path: str,
        *,
        params: dict[str, Any] | None = None,
        json: Any = None,
        content: bytes | None = None,
        headers: dict[str, str] | None = None,
        timeout: float | None = None,
        retries: int | None = None,
        repeatable: bool | None = None,
    ) -> httpx.Response:
        """Send a request and return its answer of status 2xx.

        ``timeout`` is in seconds for each wait on the socket; ``retries`` overrides ``client_max_retries``.

        Raises:
            ServerUnavailable: no answer, or one that says to come again, after all retries.
            ObjectNotFound, ObjectAlreadyExists, ApiError: the server refused.
        """
        request = self._client.build_request(
            method,
            self.url + path,
            params=params,
            json=json,
            content=content,
            headers=headers,
            timeout=_timeouts(timeout) if timeout is not None else httpx.USE_CLIENT_DEFAULT,
        )
        left = self._max_retries if retries is None else retries
        may_repeat = method in _REPEATABLE if repeatable is None else repeatable
        for attempt in range(left + 1):
            answer = self._attempt(request, last=attempt == left, repeatable=may_repeat)
            if isinstance(answer, httpx.Response):
                return answer
            self._sleep(self._delay(attempt, answer))
        raise AssertionError("the last attempt either returns or raises")

    def close(self) -> None:
        """Give connections back; closing twice is fine."""
        self._client.close()
        if self._on_close is not None:
            on_close, self._on_close = self._on_close, None
            on_close()

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _attempt(self, request: httpx.Request, *, last: bool, repeatable: bool) -> httpx.Response | float:
        """Return an answer to hand out, or the least seconds to wait before the next attempt."""
        try:
            response = self._client.send(request)
        except httpx.TransportError as error:
            unmade = isinstance(error, (httpx.ConnectError, httpx.ConnectTimeout))
            if last or not (self._answered if unmade else repeatable):
                raise unanswered(error, self._name, self._advice) from error
            return 0.0
        self._answered = True
        if response.is_success:
            return response
        if response.status_code in RETRIED and not last:
            return _retry_after(response)
        raise refused(response, self._name, self._advice)

    def _delay(self, attempt: int, at_least: float) -> float:
        """Return seconds: doubling, spread over [half, whole] so that clients do not come back together."""
        whole = min(_FIRST_DELAY_S * 2.0**attempt, _LONGEST_DELAY_S)
        return max(whole * (0.5 + 0.5 * self._rng()), at_least)

    def _json(self, response: httpx.Response) -> Any:
        if response.status_code == 204 or not response.content:
            return None
        body = decoded(response)
        if isinstance(body, str) and "json" not in response.headers.get("content-type", ""):
            raise not_the_api(response, self._name, self._advice)
        return body


def advice_on(settings: Settings) -> str:
    """Return what to do when the server is away, which depends on where its URL comes from."""
    if not settings.api_url:
        return "See `headrace server status`, or start one with `headrace server start`."
    source = settings.source_of("api_url")
    where = (
        "in the profile (`headrace config unset api_url` removes it)"
        if source == "profile"
        else f"by {source}"
    )
    return f"The address is set {where}: correct it, start the server there, or unset it to work without a server."


def _make_client(settings: Settings, url: str, transport: httpx.BaseTransport | None) -> httpx.Client:
    parts = _parse(settings, url)
    return httpx.Client(
        transport=transport,
        headers=_headers(settings),
        timeout=_timeouts(settings.api_request_timeout),
        # A proxy is for the way out; one that is set for the whole machine must not swallow requests to itself.
        trust_env=not _is_loopback(parts.host),
        # Reading the certificates costs 20 ms and more: spared where nothing is encrypted.
        verify=parts.scheme == "https" or not _is_loopback(parts.host),
        limits=httpx.Limits(max_connections=20, max_keepalive_connections=5, keepalive_expiry=30),
    )


def _parse(settings: Settings, url: str) -> httpx.URL:
    try:
        parts = httpx.URL(url)
    except httpx.InvalidURL:
        parts = httpx.URL("")
    whole = parts.scheme in ("http", "https") and parts.host and "%" not in parts.host
    if not whole or (parts.port or 0) > 65535:
        raise SettingError(
            f"The server's address {url!r} is not a URL such as http://127.0.0.1:4200/api. {advice_on(settings)}"
        )
    return parts


def _headers(settings: Settings) -> dict[str, str]:
    headers = {"User-Agent": "headrace", "Accept": "application/json"}
    if settings.api_key:
        headers["Authorization"] = f"Bearer {settings.api_key}"
    elif settings.api_auth_string:
        import base64  # here: few have it set

        headers["Authorization"] = "Basic " + base64.b64encode(settings.api_auth_string.encode()).decode()
    return headers


def _timeouts(seconds: float) -> httpx.Timeout:
    return httpx.Timeout(seconds, connect=min(seconds, _CONNECT_TIMEOUT_S))


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _retry_after(response: httpx.Response) -> float:
    """Return the seconds that the server asks us to wait, at most a minute; its HTTP-date form is passed over."""
    try:
        return min(max(float(response.headers.get("retry-after", 0)), 0.0), 60.0)
    except ValueError:
        return 0.0
