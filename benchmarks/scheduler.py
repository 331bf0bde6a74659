"""How long the scheduler of a server on SQLite takes to create 10,000 runs."""

from __future__ import annotations

import time
from contextlib import closing

from .client import Client
from .measure import Measurement, Row, Samples, private_home
from .servers import serving
from .side import Side

SCHEDULES, EACH = 100, 100
ROW = Row("10,000 scheduled runs created by the scheduler", "s", 5)
_REPETITIONS, _LONGEST = 5, 120.0


def take(side: Side) -> Samples:
    """Resume a deployment with 100 schedules of every 30 seconds: of each the scheduler plans 100 runs at once."""
    values = []
    with private_home() as home, serving(side, home) as server, closing(Client(server.port)) as ask:
        id = _deploy(ask)
        for repetition in range(_REPETITIONS + 1):
            begin = time.perf_counter()
            ask("POST", f"/deployments/{id}/resume_deployment")
            # of each schedule one time may pass between the request and its planning
            _wait_for(ask, SCHEDULES * EACH, SCHEDULES * (EACH + 1))
            if repetition:  # the first warms up
                values.append(time.perf_counter() - begin)
            ask("POST", f"/deployments/{id}/pause_deployment")
            _wait_for(ask, 0, 0)
    return {ROW.title: values}


def _deploy(ask: Client) -> str:
    flow = ask("POST", "/flows/", {"name": "etl"})["id"]
    rules = [
        {"schedule": {"interval": 30 + number / 1000, "anchor_date": "2026-01-01T00:00:00Z"}}
        for number in range(SCHEDULES)
    ]
    body = {"name": "often", "flow_id": flow, "paused": True, "schedules": rules, "tags": ["nightly"]}
    return str(ask("POST", "/deployments/", body)["id"])


def _wait_for(ask: Client, least: int, most: int) -> None:
    """Wait until so many runs are there, and not more than could be."""
    begin = time.perf_counter()
    while not least <= (found := ask("POST", "/flow_runs/count", {})) <= most:
        if time.perf_counter() - begin > _LONGEST:
            raise RuntimeError(f"{least} runs were to be there, {found} are.")
        time.sleep(0.01)  # how finely it is timed; to ask all the time would slow it


MEASUREMENT = Measurement([ROW], take)

if __name__ == "__main__":
    from .table import main

    main(MEASUREMENT)
