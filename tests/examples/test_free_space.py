"""The example that is deployed: followed as its text says, with a worker that works off what there is."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from headrace.connect import connect
from headrace.settings import load

from .conftest import Reader, on_record
from .test_examples import EXAMPLES


@pytest.fixture
def server(reader: Reader) -> Iterator[None]:
    """A server on a free port, as the example's text has it started."""
    reader.environ["HEADRACE_SERVER_PORT"] = "0"
    assert reader.types("headrace", "server", "start", "--background").returncode == 0
    yield
    reader.types("headrace", "server", "stop")


@pytest.mark.usefixtures("server")
def test_the_deployed_example(reader: Reader) -> None:
    """One run finds space enough and one does not; one that makes no sense is refused."""
    run = ("headrace", "deployment", "run", "check-space/disks", "--param")
    for command in (
        ("headrace", "work-pool", "create", "machines"),
        ("python", str(EXAMPLES / "free_space.py")),
        ("headrace", "deployment", "pause", "check-space/disks"),  # what it plans would be due at any moment
        (*run, "least_percent=0"),
        (*run, "least_percent=101", "--param", "folder=/tmp"),
    ):
        done = reader.types(*command)
        assert done.returncode == 0, done.stdout
    refused = reader.types(*run, "least_percent=most")
    with connect(load()) as connection:
        (deployed,) = connection.post("/deployments/filter", {}, repeatable=True)
    for _ in range(2):  # one at a time is allowed
        done = reader.types("headrace", "worker", "start", "--pool", "machines", "--run-once")
        assert done.returncode == 0, done.stdout
    runs = {run["parameters"].get("folder"): run for run in on_record("flow-run")}

    assert refused.returncode == 1 and "least_percent" in refused.stdout
    assert {each["parameters"]["folder"] for each in deployed["schedules"]} == {"/", "/tmp"}
    assert (deployed["parameters"], deployed["tags"]) == ({}, ["disks"])
    assert runs[None]["state_name"] == "Completed"
    assert runs["/tmp"]["state_name"] == "Failed"
    assert "should have 101 %" in runs["/tmp"]["state"]["message"]
