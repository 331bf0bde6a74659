"""nginx before the server: one that waits 5 s for an answer, less than polls do, and one that waits 60 s.

On SQLite: what nginx does to requests, and what clients learn from it, is the same before any database.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import httpx
import pytest

from ..verdicts.crew import POOL, Crew
from ..verdicts.server import Server
from .nginx import Asked, Nginx
from .packages import need
from .trial import Trial, prepare, wait_until

pytestmark = pytest.mark.timeout(300)  # installing takes half a minute

IMPATIENT, PATIENT = "5s", "60s"
CLAIM = f"/api/work_pools/{POOL}/claim"


class Behind(NamedTuple):
    """A server and the nginx before it."""

    nginx: Nginx
    server: Server


@pytest.fixture(scope="module")
def behind(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Behind]:
    """A server behind nginx."""
    program = need("nginx", "nginx-light")
    folder = tmp_path_factory.mktemp("nginx")
    server = Server(folder / "server", lease_s=20.0).start()
    nginx = Nginx(program, folder / "nginx", server.port, (IMPATIENT, PATIENT))
    yield Behind(nginx, server)
    nginx.close()
    server.stop()


@pytest.fixture
def crew(behind: Behind, tmp_path: Path) -> Iterator[Crew]:
    """A worker's host that reaches its server by the impatient way."""
    made = Crew(tmp_path / "host", behind.server, url=behind.nginx.url(IMPATIENT))
    yield made
    made.close()


def wait_patiently(behind: Behind) -> httpx.Response:
    """Poll by the patient way for as long as a poll may wait; nothing is due."""
    made = httpx.post(
        f"{behind.server.url}/work_pools/", json={"name": "idle", "type": "process"}, trust_env=False
    )
    assert made.status_code == 201, made.text
    body = {"worker_id": str(uuid.uuid4()), "worker_name": "idle", "limit": 1, "wait": 25.0, "have": []}
    url = f"{behind.nginx.url(PATIENT)}/work_pools/idle/claim"
    return httpx.post(url, json=body, timeout=60.0, trust_env=False)


def claims(behind: Behind) -> list[Asked]:
    """Return the worker's polls by the impatient way that are answered."""
    return [one for one in behind.nginx.asked(IMPATIENT) if one.path == CLAIM]


def test_polls_learn_how_long_nginx_waits(behind: Behind, crew: Crew) -> None:
    """One idle poll is answered by 504, later ones by the server; runs are taken at once, and nobody is told anything.

    Runs that live longer than nginx waits, one of them cancelled at its end, do not mind either: their supervisors'
    polls learn too. By the patient way a poll waits its whole 25 s, and nothing is refused.
    """
    with ThreadPoolExecutor(1) as aside:
        patient = aside.submit(wait_patiently, behind)
        crew.hire()
        wait_until(lambda: any(one.status == 504 for one in claims(behind)), "nginx to lose patience", 15.0)
        trial = Trial(crew, prepare(crew), steps=60, pace_s=0.1)
        trial.plan("returns", "waits", "raises")
        trial.start_scripts("returns")
        trial.finish(60.0)
        trial.check()
        wait_until(lambda: claims(behind)[-1].seconds > 3.5, "an idle poll", 15.0)
        asked = behind.nginx.asked(IMPATIENT)

    assert [one.status for one in claims(behind)].count(504) == 1, claims(behind)
    assert claims(behind)[-1].status == 200
    refused = [one.path for one in asked if one.path.endswith("/commands") and one.status == 504]
    assert len(trial.planned) == len(refused) == len(set(refused)), "each supervisor's polls learn it once"
    assert "cannot answer" not in crew.worker.output()
    assert (patient.result().status_code, patient.result().json().get("claims", [])) == (200, [])
    assert [one.seconds > 24 for one in behind.nginx.asked(PATIENT)] == [True]


def test_a_server_that_is_gone_behind_nginx(behind: Behind, crew: Crew) -> None:
    """nginx answers 502 for it: runs go on, and what they wrote is there when the server is back."""
    crew.hire()
    trial = Trial(crew, prepare(crew), steps=60, pace_s=0.05)
    trial.plan("returns", "raises")
    wait_until(lambda: all(trial.diary(run) for run in trial.planned), "the runs to begin", 20.0)
    behind.server.kill()
    wait_until(lambda: any(one.status == 502 for one in behind.nginx.asked(IMPATIENT)), "a 502", 20.0)
    wait_until(lambda: all(trial.diary(run)[-1].word == run.end for run in trial.planned), "their ends", 20.0)
    behind.server.start()
    trial.finish(30.0)
    trial.check()
