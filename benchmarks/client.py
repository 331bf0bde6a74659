"""Requests to a server on this host, by the standard library alone: what asks should cost little beside what answers."""

from __future__ import annotations

import http.client
import json
import time
from typing import Any

_LONGEST_S = 120.0
_PAUSES_S = (0.5, 1.0, 2.0, 0.0)
"""Before a request is sent again that was answered 503; after the last it is not."""


class Client:
    """Ask a server on this host, over one connection."""

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_LONGEST_S)

    def __call__(self, method: str, path: str, body: Any = None) -> Any:
        """Return the answer's JSON.

        Raises:
            RuntimeError: it is no good one.
        """
        # The peer says 503 while its database is locked, and its own client asks again too.
        for pause_s in _PAUSES_S:
            answer, told = self._send(method, path, body)
            if answer.status != 503:
                break
            time.sleep(pause_s)
        if answer.status >= 400:
            raise RuntimeError(f"{method} {path} was answered {answer.status}: {told[:500]!r}")
        return json.loads(told) if told else None

    def close(self) -> None:
        """Give the connection back."""
        self._connection.close()

    def _send(self, method: str, path: str, body: Any) -> tuple[http.client.HTTPResponse, bytes]:
        headers = {"Content-Type": "application/json"}
        content = None if body is None else json.dumps(body).encode()
        try:
            self._connection.request(method, "/api" + path, content, headers)
            answer = self._connection.getresponse()
        except http.client.RemoteDisconnected:  # it was idle for longer than the server keeps connections
            self._connection.close()
            self._connection.request(method, "/api" + path, content, headers)
            answer = self._connection.getresponse()
        return answer, answer.read()
