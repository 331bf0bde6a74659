"""A project's file: what it says is kept, and what it cannot say is told with its place."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from headrace.deployments import project as projects
from headrace.deployments.project import Entry, deployment_of, find, read, remarks
from headrace.errors import DeploymentError

FILE = """
definitions:
  pool: &pool
    name: main
    work_queue_name: fast
    job_variables: {env: {TOKEN: "{{ $SECRET }}"}}
pull:
  - prefect.deployments.steps.git_clone:
      repository: https://example.com/flows.git
      credentials: {access_token: "{{ $GIT_TOKEN }}"}
deployments:
  - name: nightly-{{ $STAGE }}
    entrypoint: etl.py:etl
    parameters: {region: "{{ $STAGE }}", days: 2}
    tags: [a, "{{ $STAGE }}"]
    schedules:
      - {cron: 0 6 * * *, timezone: Europe/Berlin, parameters: {days: 1}}
      - {interval: 900, active: false, anchor_date: 2026-01-01T00:00:00Z}
    concurrency_limit: {limit: 2, collision_strategy: CANCEL_NEW}
    description: null
    work_pool: *pool
  - name: own
    entrypoint: etl.py:report
    schedule: {rrule: "FREQ=DAILY"}
    pull:
      - headrace.deployments.steps.set_working_directory: {directory: /srv}
    build: [{x.y: {}}]
    work_pool: *pool
"""


@pytest.fixture
def file(project: Path) -> Path:
    """The file above, beside its flows."""
    path = project / "headrace.yaml"
    path.write_text(FILE, encoding="utf-8")
    return path


def test_what_a_file_says_is_what_is_deployed(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STAGE", "test")
    found = read(file)
    first, second = (deployment_of(each, found.folder) for each in found.entries)

    assert (first.full_name, second.full_name) == ("etl/nightly-test", "the-report/own")
    assert (first.parameters, first.tags) == ({"region": "test", "days": 2}, ["a", "test"])
    assert (first.concurrency_limit, first.description) == (2, "Load.")
    assert (first.work_pool_name, first.work_queue_name) == ("main", "fast")
    assert first.schedules is not None and second.schedules is not None
    assert [each["schedule"].get("cron") for each in first.schedules] == ["0 6 * * *", None]
    assert (first.schedules[0]["parameters"], first.schedules[1]["active"]) == ({"days": 1}, False)
    assert second.schedules[0]["schedule"]["rrule"] == "FREQ=DAILY"


def test_secrets_stay_names(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a run needs is looked up where it runs, though it is there now."""
    for name in ("STAGE", "SECRET", "GIT_TOKEN"):
        monkeypatch.setenv(name, "hunter2")
    found = read(file)
    made = deployment_of(found.entries[0], found.folder).document("flow")

    assert made["job_variables"] == {"env": {"TOKEN": "{{ $SECRET }}"}}
    (step,) = made["pull_steps"]
    assert step["prefect.deployments.steps.git_clone"]["credentials"] == {"access_token": "{{ $GIT_TOKEN }}"}
    assert made["path"] is None


def test_pull_steps_of_a_deployment_go_before_those_of_the_file(file: Path) -> None:
    own = read(file).entries[1]

    assert own.pull == [{"headrace.deployments.steps.set_working_directory": {"directory": "/srv"}}]


def test_what_has_no_effect_is_told_once(file: Path) -> None:
    found = remarks(read(file).entries * 2)

    assert len(found) == 1 and found[0].startswith("build is passed over")


def test_a_variable_that_is_not_set_is_named(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("STAGE", raising=False)
    found = read(file)
    with pytest.raises(DeploymentError, match="environment variable STAGE"):
        deployment_of(found.entries[0], found.folder)


def test_our_own_file_counts_first(project: Path) -> None:
    assert find(project).file is None
    (project / "prefect.yaml").write_text("name: x\nprefect-version: 3\ndeployments: []\n", encoding="utf-8")
    assert find(project).file == project / "prefect.yaml"
    (project / "headrace.yaml").write_text("", encoding="utf-8")
    assert find(project).file == project / "headrace.yaml"


@pytest.mark.parametrize(
    ("patterns", "names"),
    [
        (["own"], ["own"]),
        (["*"], ["nightly-{{ $STAGE }}", "own"]),
        (["o?n", "own"], ["own"]),
        (["f2/*"], ["own"]),
        (["f1/night*", "f2/own"], ["nightly-{{ $STAGE }}", "own"]),
    ],
)
def test_deployments_are_chosen_by_name(file: Path, patterns: list[str], names: list[str]) -> None:
    flows = {"etl.py:etl": "f1", "etl.py:report": "f2"}
    found = read(file).select(patterns, lambda each: flows[each.entrypoint or ""])

    assert [each.name for each in found] == names


def test_a_name_that_fits_none_is_told_with_near_ones(file: Path) -> None:
    with pytest.raises(DeploymentError, match="Did you mean own"):
        read(file).select(["onw"], lambda _: "")
    with pytest.raises(DeploymentError, match="It has: nightly"):
        read(file).select(["zzz"], lambda _: "")


def test_options_go_over_the_file() -> None:
    entry = Entry(
        {"name": "a", "parameters": {"x": 1, "y": 1}, "work_pool": {"name": "p", "work_queue_name": "q"}}
    )
    over = entry.over({"parameters": {"y": 2}, "work_pool": {"name": "r"}, "version": "3"})

    assert over.values == {
        "name": "a", "parameters": {"x": 1, "y": 2}, "work_pool": {"name": "r", "work_queue_name": "q"}, "version": "3",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("deployments: [", "line 1, column"),
        ("- a\n- b\n", "no mapping"),
        ("deployments: {a: 1}", "no list of deployments"),
        ("deploments: []", "'deploments'.*Did you mean deployments"),
        (
            "deployments: [{name: a, entry_point: x}]",
            "deployment a has 'entry_point'.*Did you mean entrypoint",
        ),
        ("deployments: [{entrypoint: x, work_pool: main}]", "deployment 1.*work_pool: {name"),
        ("deployments: [{work_pool: {nam: main}}]", "work_pool.*'nam'.*Did you mean name"),
        ("pull: {a: b}", "no list of steps"),
        ("pull: [git_clone]", "no dict with one key"),
        (
            "pull: [{headrace.deployments.steps.git_clon: {}}]",
            "Did you mean headrace.deployments.steps.git_clone",
        ),
        ("pull: [{prefect.deployments.steps.git_clone: {branch: x}}]", "needs repository"),
        (
            "deployments: [{name: a, pull: [{prefect_aws.deployments.steps.pull_from_s3: {}}]}]",
            "deployment a.*There is no",
        ),
        ("pull: [{a.git_clone: {repository: 'https://me:hunter2@example.com/x'}}]", "in clear"),
        ("pull: [{a.git_clone: {repository: 'https://h/x', access_token: hunter2}}]", "in clear"),
        ("x: !!python/object/apply:os.system ['true']", "not YAML"),
    ],
)
def test_what_means_nothing_is_told_with_its_place(tmp_path: Path, text: str, told: str) -> None:
    path = tmp_path / "headrace.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(DeploymentError, match=told) as caught:
        read(path)

    assert str(path) in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_a_file_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    with pytest.raises(DeploymentError, match="No such file"):
        read(tmp_path / "headrace.yaml")
    (tmp_path / "headrace.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DeploymentError, match="UTF-8"):
        read(tmp_path / "headrace.yaml")


@pytest.mark.parametrize("lacks", ["name", "entrypoint"])
def test_what_is_needed_is_asked_for(project: Path, lacks: str) -> None:
    values: dict[str, Any] = {"name": "a", "entrypoint": "etl.py:etl"}
    del values[lacks]
    with pytest.raises(DeploymentError, match=f"no {lacks}"):
        deployment_of(Entry(values), project)


def test_every_key_of_an_entry_is_either_used_or_told() -> None:
    """None is dropped without a word."""
    used = {
        "name",
        "entrypoint",
        "work_pool",
        "pull",
        "schedule",
        "schedules",
        "version_type",
        *projects._PLAIN,
    }

    assert used | set(projects._LATER) == set(projects._KEYS)
