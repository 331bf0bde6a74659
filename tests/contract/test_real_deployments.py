"""The field's own client and command line make work pools, queues and deployments here, and find them again."""

from __future__ import annotations

import pytest

from .real_client import Client

# The environment may have to be made first, and each command of the client takes seconds to import it.
pytestmark = pytest.mark.timeout(600)


def test_work_pools_and_queues_by_the_command_line(client: Client) -> None:
    """Made, listed, paused, limited, deleted, as a user would."""
    client.command("work-pool", "create", "alpha", "--type", "process")
    made = client.http.get("/work_pools/alpha").json()
    assert (made["type"], made["status"]) == ("process", "NOT_READY")
    assert "env" in made["base_job_template"]["variables"]["properties"]
    client.command("work-pool", "pause", "alpha")
    client.command("work-pool", "set-concurrency-limit", "alpha", "3")
    assert "alpha (**)" in client.command("work-pool", "ls")
    assert "concurrency_limit=3" in client.command("work-pool", "inspect", "alpha")
    client.command("work-pool", "resume", "alpha")
    client.command("work-pool", "clear-concurrency-limit", "alpha")
    changed = client.http.get("/work_pools/alpha").json()
    assert (changed["is_paused"], changed["concurrency_limit"]) == (False, None)

    client.command("work-queue", "create", "fast", "--pool", "alpha", "--priority", "1", "--limit", "2")
    assert "Slots: 0" in client.command("work-pool", "slots", "alpha")
    assert "0 / 2" in client.command("work-queue", "slots", "fast", "--pool", "alpha")
    client.command("work-queue", "pause", "fast", "--pool", "alpha")
    assert "fast (**)" in client.command("work-queue", "ls", "--pool", "alpha")
    client.command("work-queue", "resume", "fast", "--pool", "alpha")
    client.command("work-queue", "clear-concurrency-limit", "fast", "--pool", "alpha")
    told = client.command("work-queue", "inspect", "fast", "--pool", "alpha")
    assert "work_pool_name='alpha'" in told
    queue = client.http.get("/work_pools/alpha/queues/fast").json()
    assert (queue["priority"], queue["concurrency_limit"], queue["is_paused"]) == (1, None, False)
    client.command("--no-prompt", "work-queue", "delete", "fast", "--pool", "alpha")
    client.command("--no-prompt", "work-pool", "delete", "alpha")
    assert client.http.get("/work_pools/alpha").status_code == 404


def test_a_flow_is_deployed_scheduled_and_asked_for_runs(client: Client) -> None:
    """``flow.deploy`` twice, ``run_deployment``, and the command line's deployment commands."""
    client.http.post("/work_pools/", json={"name": "beta", "type": "process"})
    out = client.script(
        """
from pathlib import Path
from prefect import flow
from prefect.deployments import run_deployment

Path("code.py").write_text(
    "from prefect import flow\\n\\n@flow\\ndef hello(name: str = 'x', n: int = 1):\\n    print(name, n)\\n"
)
if __name__ == "__main__":
    loaded = flow.from_source(source=".", entrypoint="code.py:hello")
    first = loaded.deploy(
        "nightly", work_pool_name="beta", work_queue_name="fast", cron="0 6 * * *",
        parameters={"n": 2}, tags=["t"], concurrency_limit=2, description="what it does", version="1",
        print_next_steps=False,
    )
    again = loaded.deploy("nightly", work_pool_name="beta", interval=3600, tags=["t"], print_next_steps=False)
    run = run_deployment("hello/nightly", parameters={"name": "y"}, timeout=0, idempotency_key="once")
    twice = run_deployment("hello/nightly", timeout=0, idempotency_key="once")
    try:
        run_deployment("hello/nightly", parameters={"n": "many"}, timeout=0)
    except Exception as error:
        print("refused:", type(error).__name__, error)
    print(first == again, run.id == twice.id, run.state_name, run.id)
"""
    )
    same, once, state, id = out.split()[-4:]
    deployed = client.http.get("/deployments/name/hello/nightly").json()
    run = client.http.get(f"/flow_runs/{id}").json()

    assert (same, once, state) == ("True", "True", "Scheduled")
    assert "refused:" in out and "n:" in out.split("refused:")[1]
    assert [each["schedule"]["interval"] for each in deployed["schedules"]] == [3600]
    assert (deployed["work_pool_name"], deployed["entrypoint"]) == ("beta", "code.py:hello")
    assert deployed["parameter_openapi_schema"]["properties"]["n"]["type"] == "integer"
    assert (run["deployment_id"], run["work_pool_name"], run["tags"]) == (deployed["id"], "beta", ["t"])
    assert run["parameters"]["name"] == "y"

    assert "hello/nightly" in client.command("deployment", "ls")
    assert deployed["id"] in client.command("deployment", "inspect", "hello/nightly")
    client.command("deployment", "schedule", "create", "hello/nightly", "--cron", "0 * * * *")
    assert "0 * * * *" in client.command("deployment", "schedule", "ls", "hello/nightly")
    schedules = client.http.get(f"/deployments/{deployed['id']}/schedules").json()
    client.command("deployment", "schedule", "pause", "hello/nightly", schedules[0]["id"])
    paused = client.http.get(f"/deployments/{deployed['id']}/schedules").json()
    assert [each["active"] for each in paused] == [False, True]
    client.command("deployment", "schedule", "clear", "-y", "hello/nightly")
    client.command("deployment", "run", "hello/nightly", "--param", "n=7")
    newest = client.http.post("/flow_runs/filter", json={"deployments": {}, "limit": 1}).json()[0]
    assert newest["parameters"]["n"] == 7
    client.command("--no-prompt", "deployment", "delete", "hello/nightly")
    assert client.http.get(f"/deployments/{deployed['id']}").status_code == 404
