"""What we deploy the field's own client reads and runs; what its ``init`` writes we read."""

from __future__ import annotations

from pathlib import Path

import pytest

from headrace import flow
from headrace.deployments import GitRepository, run_deployment
from headrace.deployments.project import deployment_of, read
from headrace.schedules import Cron, Interval

from .real_client import Client

pytestmark = pytest.mark.timeout(600)  # as in test_real_deployments


@flow
def etl(region: str, days: int = 7) -> None:
    """Load a region."""


def test_a_deployment_of_ours_is_read_and_run(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """Inspected, listed, run with a parameter, refused with a wrong one."""
    monkeypatch.setenv("HEADRACE_API_URL", str(client.http.base_url))
    client.http.post("/work_pools/", json={"name": "ours", "type": "process"})
    etl.source = (GitRepository("https://example.com/flows.git", branch="main"), "etl.py:etl")
    id = etl.deploy(
        "nightly",
        work_pool_name="ours",
        schedules=[
            Cron("0 6 * * *", timezone="Europe/Berlin", parameters={"days": 1}),
            Interval(900, active=False),
        ],
        concurrency_limit={"limit": 2, "collision_strategy": "CANCEL_NEW"},
        parameters={"region": "north"},
        tags=["t"],
        print_next_steps=False,
    )
    told = client.command("deployment", "inspect", "etl/nightly")

    for part in (str(id), "'ours'", "0 6 * * *", "Europe/Berlin", "CANCEL_NEW", "git_clone", "'region'"):
        assert part in told, told
    client.command("deployment", "run", "etl/nightly", "--param", "days=2")
    assert {"region": "north", "days": 2} in [run["parameters"] for run in client.runs("etl")]
    out = client.script(
        """
from prefect.deployments import run_deployment
try:
    run_deployment("etl/nightly", parameters={"days": "many"}, timeout=0)
except Exception as error:
    print("refused:", error)
"""
    )
    assert "days" in out.partition("refused:")[2]
    assert run_deployment("etl/nightly", timeout=0).work_pool_name == "ours"


def test_the_file_that_its_init_writes_is_read(client: Client, tmp_path: Path) -> None:
    """With its comments, its empty sections and its pull step."""
    client.command("init", "--recipe", "local", "--name", "mine")
    (file,) = Path(client._home).glob("prefect.yaml")
    text = file.read_text(encoding="utf-8")
    flows = tmp_path / "flows.py"
    flows.write_text("from headrace import flow\n\n@flow\ndef f(n: int = 1):\n    pass\n", encoding="utf-8")
    project = read(file)
    filled = text.replace("- name: null", "- name: mine").replace(
        "entrypoint: null", "entrypoint: flows.py:f"
    )
    (tmp_path / "prefect.yaml").write_text(filled, encoding="utf-8")
    made = deployment_of(read(tmp_path / "prefect.yaml").entries[0], tmp_path)

    assert [each.name for each in project.entries] == [None]
    assert made.full_name == "f/mine"
    assert made.code.pull_steps == project.pull
    assert project.pull is not None
