"""Try again what may pass, give up at once on what will not, and let a hook tell somebody.

The script brings its own unreliable server, so that it runs anywhere:

    python retries_and_hooks.py
"""

from __future__ import annotations

import json
import threading
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from headrace import flow, get_run_logger, task
from headrace.tasks import exponential_backoff

LOCAL = urllib.request.build_opener(
    urllib.request.ProxyHandler({})
)  # a proxy cannot reach this host's servers


def may_pass(task: Any, task_run: Any, state: Any) -> bool:
    """Say whether another try can help: a busy server recovers, a page that is not there does not come."""
    error = state.result(raise_on_failure=False)
    return not isinstance(error, urllib.error.HTTPError) or error.code >= 500


@task(
    retries=4,
    retry_delay_seconds=exponential_backoff(0.1),  # 0.1, 0.2, 0.4, 0.8 seconds
    retry_jitter_factor=0.5,  # up to half as much again, so that many clients do not come back together
    retry_condition_fn=may_pass,
)
def fetch(url: str) -> dict[str, float]:
    """Return the JSON behind a URL."""
    with LOCAL.open(url, timeout=5) as answer:
        found: dict[str, float] = json.load(answer)
        return found


@fetch.on_failure
def tell(task: Any, task_run: Any, state: Any) -> None:
    """Where a message to the team would be sent; it is called once, when no try is left."""
    get_run_logger().warning("%s gave up at try %d: %s", task_run.name, task_run.run_count, state.message)


@flow
def exchange_rates(server: str) -> dict[str, float]:
    """Fetch today's rates, and yesterday's if there are any."""
    rates = fetch(f"{server}/today")
    yesterday = fetch(f"{server}/yesterday", return_state=True)
    if yesterday.is_failed():
        get_run_logger().info("there are no rates of yesterday: %s", yesterday.message)
    return rates


class Unreliable(BaseHTTPRequestHandler):
    """Answer the first two requests with 503, then as asked."""

    failures_left = 2

    def do_GET(self) -> None:
        """Answer one request."""
        if Unreliable.failures_left:
            Unreliable.failures_left -= 1
            self.send_error(503, "busy")
        elif self.path == "/today":
            body = json.dumps({"USD": 1.08, "GBP": 0.84}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
        else:
            self.send_error(404)

    def log_message(self, *_: Any) -> None:
        """Say nothing; the flow's log tells enough."""


if __name__ == "__main__":
    server = ThreadingHTTPServer(("127.0.0.1", 0), Unreliable)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(exchange_rates(f"http://127.0.0.1:{server.server_port}"))
