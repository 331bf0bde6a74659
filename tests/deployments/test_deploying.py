"""Deployments made from code arrive at the server as they were meant, or not at all."""

from __future__ import annotations

import asyncio
import enum
import subprocess
from datetime import date
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from headrace import flow
from headrace.client.connection import Connection
from headrace.deployments import ConcurrencyLimitConfig, GitRepository, RunnerDeployment, deploy
from headrace.errors import ApiError, DeploymentError, LoadError, ParameterBindError, ParameterTypeError
from headrace.schedules import Cron


class Colour(enum.Enum):
    RED = "red"


@flow(version="7")
def paint(room: str = "hall", colour: Colour = Colour.RED, day: date | None = None) -> None:
    """Paint a room."""


def kept(connection: Connection, id: UUID) -> dict[str, Any]:
    return dict(connection.get(f"/deployments/{id}"))


def test_all_that_is_said_is_kept(connection: Connection, capsys: pytest.CaptureFixture[str]) -> None:
    id = paint.deploy(
        "weekly",
        work_pool_name="main",
        work_queue_name="fast",
        cron="0 6 * * MON",
        parameters={"colour": Colour.RED, "day": date(2026, 11, 23)},
        tags=["a", "b", "a"],
        job_variables={"memory_limit": "1GiB"},
        concurrency_limit=ConcurrencyLimitConfig(2, "CANCEL_NEW", 120),
        paused=True,
    )
    found = kept(connection, id)

    assert (found["name"], found["work_pool_name"], found["work_queue_name"]) == ("weekly", "main", "fast")
    assert found["parameters"] == {"colour": "red", "day": "2026-11-23"}
    assert found["tags"] == ["a", "b"]
    assert found["job_variables"] == {"memory_limit": "1GiB"}
    assert found["global_concurrency_limit"]["limit"] == 2
    assert found["concurrency_options"] == {"collision_strategy": "CANCEL_NEW", "grace_period_seconds": 120}
    assert (found["paused"], found["version"], found["description"]) == (True, "7", "Paint a room.")
    assert [each["schedule"]["cron"] for each in found["schedules"]] == ["0 6 * * MON"]
    assert found["parameter_openapi_schema"]["properties"]["colour"]["default"] == "red"
    assert found["entrypoint"].endswith("test_deploying.py:paint")
    assert (Path(found["path"]) / found["entrypoint"].partition(":")[0]).samefile(__file__)
    assert "headrace worker start --pool main" in capsys.readouterr().out


def test_a_second_deploy_changes_what_it_says_and_leaves_schedules_alone(connection: Connection) -> None:
    first = paint.deploy(
        "d", work_pool_name="main", cron="0 6 * * *", paused=True, tags=["t"], concurrency_limit=2
    )
    again = paint.deploy("d", work_pool_name="main", parameters={"room": "attic"}, print_next_steps=False)
    found = kept(connection, again)

    assert first == again
    assert (found["parameters"], found["tags"], found["global_concurrency_limit"]) == (
        {"room": "attic"},
        [],
        None,
    )
    assert (len(found["schedules"]), found["paused"]) == (1, True)

    paint.deploy("d", work_pool_name="main", schedules=[], print_next_steps=False)
    assert kept(connection, again)["schedules"] == []


def test_nothing_is_printed_unless_it_is_wanted(
    connection: Connection, capsys: pytest.CaptureFixture[str]
) -> None:
    paint.deploy("d", work_pool_name="main", print_next_steps=False)

    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("wrong", "kind", "told"),
    [
        ({"parameters": {"colour": "green"}}, ParameterTypeError, "colour"),
        ({"parameters": {"rooom": "x"}}, ParameterBindError, "'rooom'.*room, colour, day"),
        ({"work_pool_name": "mian"}, DeploymentError, "no work pool 'mian'.*main.*work-pool create"),
        ({"work_pool_name": None}, DeploymentError, "names no work pool"),
        ({"image": "x:1"}, DeploymentError, "image"),
        ({"build": True}, DeploymentError, "container|Docker"),
        ({"triggers": [object()]}, DeploymentError, "automations"),
        ({"concurrency_limit": "many"}, DeploymentError, "concurrency_limit"),
        ({"concurrency_limit": {"limti": 3}}, DeploymentError, "concurrency_limit"),
        ({"tags": "nightly"}, DeploymentError, "list"),
        ({"job_variables": {"env": object()}}, DeploymentError, "job variable env"),
        ({"entrypoint_type": "zip"}, DeploymentError, "file_path"),
        ({"crom": "* * * * *"}, TypeError, "'crom'"),
        ({"concurrency_limit": {"limit": 1, "grace_period_seconds": 5}}, ApiError, "grace_period_seconds"),
        ({"job_variables": {"memory_limit": "lots"}}, ApiError, "memory_limit"),
    ],
)
def test_what_cannot_be_is_refused_by_its_name(
    connection: Connection, wrong: dict[str, Any], kind: type[Exception], told: str
) -> None:
    """And nothing is kept."""
    options: dict[str, Any] = {"work_pool_name": "main", **wrong}
    with pytest.raises(kind, match=told):
        paint.deploy("d", **options)

    assert connection.post("/deployments/filter", {}) == []


@pytest.mark.parametrize("name", ["", "a/b", "50%"])
def test_a_name_that_commands_could_not_say_is_refused(name: str) -> None:
    with pytest.raises(DeploymentError, match="name"):
        paint.to_deployment(name)


def test_parameters_are_fitted_to_the_hints(connection: Connection) -> None:
    """As in a call: the server then finds what the schema says."""
    id = paint.deploy("d", work_pool_name="main", parameters={"colour": "red", "day": "2026-11-23"})

    assert kept(connection, id)["parameters"] == {"colour": "red", "day": "2026-11-23"}


def test_several_at_once_or_none(connection: Connection, capsys: pytest.CaptureFixture[str]) -> None:
    one, two = paint.to_deployment("one"), paint.to_deployment("two", work_pool_name="gone")
    with pytest.raises(DeploymentError, match="gone"):
        deploy(one, two, work_pool_name="main")
    assert connection.post("/deployments/filter", {}) == []

    two.work_pool_name = None  # type: ignore[attr-defined]  # a RunnerDeployment
    ids = deploy(one, two, work_pool_name="main")

    assert [kept(connection, id)["name"] for id in ids] == ["one", "two"]
    assert capsys.readouterr().out.count("worker start") == 1


def test_async_code_awaits(connection: Connection) -> None:
    """The plain names, and those with an a."""

    async def main() -> list[Any]:
        made = await paint.to_deployment("zero").aapply("main")  # type: ignore[attr-defined]  # a RunnerDeployment
        first = await paint.deploy("one", work_pool_name="main")  # type: ignore[misc]  # typed as sync callers see it
        second = await paint.adeploy("two", work_pool_name="main")
        third = await deploy(paint.to_deployment("three"), work_pool_name="main")  # type: ignore[misc]  # as above
        return [made, first, second, *third]

    ids = asyncio.run(main())

    assert [kept(connection, id)["name"] for id in ids] == ["zero", "one", "two", "three"]


def test_a_deployment_without_a_pool_can_be_kept(connection: Connection) -> None:
    """For who carries its runs out himself."""
    found = kept(connection, paint.to_deployment("own", schedule=Cron("0 6 * * *")).apply())

    assert (found["work_pool_name"], len(found["schedules"])) == (None, 1)


# -- code that is somewhere else


def test_a_flow_from_a_folder_remembers_it(connection: Connection, project: Path) -> None:
    loaded = flow.from_source(source=".", entrypoint="etl.py:etl")
    found = kept(connection, loaded.deploy("d", work_pool_name="main", parameters={"region": "x"}))

    assert (found["path"], found["entrypoint"], found["pull_steps"]) == (str(project), "etl.py:etl", None)
    assert found["parameter_openapi_schema"]["required"] == ["region"]
    assert loaded.with_options(retries=2).source == loaded.source


def test_a_flow_from_git_is_fetched_by_each_run(connection: Connection, project: Path) -> None:
    git = ["git", "-c", "user.name=t", "-c", "user.email=t@example.com", "-C", str(project)]
    for words in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "x"]):
        subprocess.run([*git, *words], check=True, capture_output=True)
    source = GitRepository(project.as_uri())
    (project / "etl.py").write_text("not what is committed", encoding="utf-8")
    loaded = flow.from_source(source=source, entrypoint="etl.py:report")
    found = kept(connection, loaded.deploy("d", work_pool_name="main"))

    assert loaded.name == "the-report"
    assert found["path"] is None
    assert found["pull_steps"] == [{"prefect.deployments.steps.git_clone": {"repository": project.as_uri()}}]


def test_code_that_is_not_there_is_told(project: Path) -> None:
    with pytest.raises(LoadError, match=r"etll\.py"):
        flow.from_source(source=".", entrypoint="etll.py:etl")
    with pytest.raises(LoadError, match="Did you mean etl"):
        RunnerDeployment.from_entrypoint("etl.py:etll", "d")


def test_from_source_is_awaited_in_async_code(project: Path) -> None:
    async def main() -> list[str]:
        one = await flow.from_source(source=".", entrypoint="etl.py:etl")  # type: ignore[misc]  # as above
        two = await flow.afrom_source(source=".", entrypoint="etl.py:report")
        return [one.name, two.name]

    assert asyncio.run(main()) == ["etl", "the-report"]


# -- where a flow is found again


def test_a_flow_is_found_by_the_name_that_holds_it() -> None:
    assert renamed.to_deployment("d").entrypoint.endswith(":renamed")  # type: ignore[attr-defined]  # as above
    assert paint.with_options(retries=1).to_deployment("d").entrypoint.endswith(":paint")  # type: ignore[attr-defined]


def test_a_module_is_named_where_it_is_asked_for() -> None:
    made = paint.to_deployment("d", entrypoint_type="module_path")

    assert (made.entrypoint, made.code.path) == (f"{__name__}:paint", None)  # type: ignore[attr-defined]  # as above


def test_a_flow_that_nobody_else_can_load_is_refused() -> None:
    @flow
    def inner() -> None: ...

    with pytest.raises(DeploymentError, match="within a function"):
        inner.to_deployment("d")
    names: dict[str, Any] = {"__name__": "made_up"}
    exec("def fn(): pass", names)
    with pytest.raises(DeploymentError, match="in no file"):
        flow(names["fn"]).to_deployment("d")


def _other() -> None: ...


renamed = flow(_other)
