"""Work pools and work queues from the command line, on a real server."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from headrace.cli import places
from headrace.client import calls

from .conftest import Headrace, Place


def test_a_pool_is_made_with_the_template_of_its_type(place: Place, inside: Headrace) -> None:
    """And the next step is said."""
    done = inside(
        "work-pool", "create", place.pool, "--concurrency-limit", "3", "--description", "small ones"
    )
    pool = inside("work-pool", "inspect", place.pool, "-o", "json").json
    template = inside("work-pool", "get-default-base-job-template").json

    assert done.code == 0
    assert f"headrace worker start -p {place.pool}" in done.out
    assert (pool["type"], pool["concurrency_limit"], pool["description"]) == ("process", 3, "small ones")
    assert pool["base_job_template"] == template
    assert "memory_limit" in template["variables"]["properties"]


def test_a_pool_that_is_there_is_changed_only_when_asked(
    place: Place, inside: Headrace, tmp_path: Path
) -> None:
    """--overwrite replaces its settings."""
    file = tmp_path / "template.json"
    place.pool_of()
    inside("work-pool", "get-default-base-job-template", "--file", str(file))
    template = json.loads(file.read_text())
    template["variables"]["properties"]["start"]["default"] = "fresh"
    file.write_text(json.dumps(template))
    refused = inside("work-pool", "create", place.pool)
    changed = inside("work-pool", "create", place.pool, "--overwrite", "--base-job-template", str(file))
    pool = calls.work_pool(place.connection, place.pool)

    assert (refused.code, changed.code) == (1, 0)
    assert "--overwrite" in refused.err
    assert pool["base_job_template"]["variables"]["properties"]["start"]["default"] == "fresh"


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (("create", "x", "--type", "submarine"), 1, "process"),
        (("create", "a/b"), 2, "may not hold /"),
        (("create", "prefect-x"), 1, "reserved"),
        (("create", "x", "--base-job-template", "none.json"), 2, "none.json"),
        (("update", "x"), 2, "Nothing to change"),
        (("set-concurrency-limit", "x", "-1"), 2, "-1"),
        (("get-default-base-job-template", "--file", "/nowhere/t.json"), 2, "/nowhere/t.json"),
    ],
)
def test_what_cannot_be_is_refused(
    place: Place, inside: Headrace, arguments: tuple[str, ...], code: int, told: str
) -> None:
    """Saying why."""
    done = inside("work-pool", *arguments)

    assert done.code == code
    assert told in done.err


def test_a_wrong_name_is_answered_with_near_ones(place: Place, inside: Headrace) -> None:
    """Of pools and of queues, and how to make what is missing."""
    place.pool_of()
    inside("work-queue", "create", "downloads", "-p", place.pool)
    pool = inside("work-pool", "pause", f"{place.pool}0")
    queue = inside("work-queue", "pause", "download", "-p", place.pool)
    nothing_like = inside("work-queue", "pause", "zzzzzz", "-p", place.pool)

    assert (pool.code, queue.code, nothing_like.code) == (1, 1, 1)
    assert place.pool in pool.err.replace(f"{place.pool}0", "")
    assert "headrace work-pool create" in pool.err
    assert "Did you mean downloads?" in queue.err
    assert "headrace work-queue ls" in nothing_like.err


def test_a_pool_is_limited_paused_resumed_and_freed(place: Place, inside: Headrace) -> None:
    """Each verb changes its one thing."""
    place.pool_of(description="first")

    def seen() -> tuple[object, object, object]:
        pool = calls.work_pool(place.connection, place.pool)
        return pool["concurrency_limit"], pool["status"], pool["description"]

    for arguments, expected in (
        (("set-concurrency-limit", place.pool, "4"), (4, "NOT_READY", "first")),
        (("pause", place.pool), (4, "PAUSED", "first")),
        (("resume", place.pool), (4, "NOT_READY", "first")),
        (("update", place.pool, "--description", "second"), (4, "NOT_READY", "second")),
        (("clear-concurrency-limit", place.pool), (None, "NOT_READY", "second")),
    ):
        done = inside("work-pool", *arguments)
        assert (done.code, seen()) == (0, expected), arguments
        assert place.pool in done.out


def test_deleting_a_pool_asks_first(place: Place, inside: Headrace) -> None:
    """And tells how many deployments it would leave without a queue."""
    place.deploy()
    refused = inside("work-pool", "delete", place.pool, stdin="n\n")
    silent = inside("work-pool", "delete", place.pool)
    done = inside("work-pool", "delete", place.pool, "--yes")

    assert (refused.code, silent.code, done.code) == (130, 130, 0)
    assert f"{place.pool}, 1 deployments" in refused.out
    assert inside("work-pool", "inspect", place.pool).code == 1


def test_a_pool_is_shown_with_its_queues_and_workers(place: Place, inside: Headrace) -> None:
    """READY as soon as somebody asks for its runs."""
    place.pool_of()
    inside("work-queue", "create", "downloads", "-p", place.pool, "--limit", "4", "--priority", "1")
    before = inside("work-pool", "inspect", place.pool).out
    place.worker().claims()
    after = inside("work-pool", "inspect", place.pool).out

    assert "NOT_READY (nobody asks for its runs)" in before
    assert "None has been heard of." in before
    assert "READY (somebody asks for its runs)" in after
    assert [line.split() for line in after.splitlines() if line.startswith(("downloads", "default"))] == [
        ["downloads", "1", "READY", "0", "of", "4"],
        ["default", "2", "READY", "0"],
    ]
    assert any(line.startswith("ada ") and "ONLINE" in line for line in after.splitlines())


def test_a_queue_is_made_limited_paused_and_deleted(place: Place, inside: Headrace) -> None:
    """By name and pool, by name alone where that is enough, and by id."""
    place.pool_of()
    name = f"{place.pool}-downloads"
    queue = inside("work-queue", "create", name, "-p", place.pool, "--limit", "4", "-o", "json").json
    again = inside("work-queue", "create", name, "-p", place.pool)
    inside("work-queue", "set-concurrency-limit", name, "2", "-p", place.pool)
    inside("work-queue", "pause", name)
    paused = inside("work-queue", "inspect", queue["id"], "-o", "json").json
    inside("work-queue", "clear-concurrency-limit", queue["id"])
    inside("work-queue", "resume", name)
    resumed = inside("work-queue", "inspect", name, "-o", "json").json
    refused = inside("work-queue", "delete", name, stdin="n\n")
    deleted = inside("work-queue", "delete", name, "--yes")

    assert (queue["concurrency_limit"], queue["priority"]) == (4, 2)
    assert again.code == 1
    assert "already" in again.err
    assert (paused["status"], paused["concurrency_limit"]) == ("PAUSED", 2)
    assert (resumed["status"], resumed["concurrency_limit"]) == ("NOT_READY", None)
    assert (refused.code, deleted.code) == (130, 0)
    assert inside("work-queue", "inspect", name).code == 1


def test_a_name_that_several_pools_have_needs_its_pool(place: Place, inside: Headrace) -> None:
    """The pools are listed, and nothing is done."""
    place.pool_of()
    other = f"{place.pool}-b"
    inside("work-pool", "create", other)
    done = inside("work-queue", "pause", "default")

    assert done.code == 1
    assert place.pool in done.err
    assert other in done.err
    assert inside("work-queue", "inspect", "default", "-p", other, "-o", "json").json["is_paused"] is False


def test_the_default_queue_of_a_pool_stays(place: Place, inside: Headrace) -> None:
    """The server's reason is shown."""
    place.pool_of()
    done = inside("work-queue", "delete", "default", "-p", place.pool, "--yes")

    assert done.code == 1
    assert "default queue" in done.err


def test_queues_are_listed_in_the_order_in_which_they_are_served(place: Place, inside: Headrace) -> None:
    """A new one takes the place that it asks for; the queue that had it moves back."""
    place.pool_of()
    for name, priority in (("slow", "2"), ("fast", "1"), ("slower", "3")):
        inside("work-queue", "create", name, "-p", place.pool, "-q", priority)
    names = [queue["name"] for queue in inside("work-queue", "ls", "-p", place.pool, "-o", "json").json]
    table = inside("work-queue", "ls", "-p", place.pool, "-m", "slow").out

    assert names == ["fast", "default", "slower", "slow"]
    assert [line.split()[1] for line in table.splitlines()[1:]] == ["slower", "slow"]


def test_runs_that_wait_are_shown_and_stay(place: Place, inside: Headrace) -> None:
    """Those due soon, those due at all; and looking makes nothing READY."""
    name = place.deploy()
    for start, run in (("10m", "soon"), ("5h", "later"), ("0s", "now")):
        inside("deployment", "run", name, "--start-in", start, "--flow-run-name", run)

    def names(*arguments: str) -> list[str]:
        return [run["name"] for run in inside(*arguments, "-o", "json").json]

    queue = ("default", "-p", place.pool)
    assert names("work-pool", "preview", place.pool) == ["now", "soon"]
    assert names("work-pool", "preview", place.pool, "--hours", "6") == ["now", "soon", "later"]
    assert names("work-queue", "preview", *queue, "--hours", "0.1") == ["now"]
    assert names("work-queue", "read-runs", *queue) == ["now", "soon", "later"]
    assert names("work-queue", "read-runs", *queue, "--limit", "1") == ["now"]
    table = inside("work-queue", "read-runs", *queue).out.splitlines()
    assert [line.split()[2] for line in table[1:]] == ["now", "soon", "later"]
    assert inside("work-pool", "inspect", place.pool, "-o", "json").json["status"] == "NOT_READY"


def test_slots_are_shown_with_the_runs_that_hold_them(place: Place, inside: Headrace) -> None:
    """Also runs that wait in their process: paused, or between two tries. One that has ended holds none."""
    place.pool_of()
    inside("work-queue", "create", "downloads", "-p", place.pool, "--limit", "4")
    name = place.deploy(work_queue_name="downloads")
    for number in range(5):
        inside("deployment", "run", name, "--flow-run-name", f"run-{number}")
    given = {attempt.claim["run"]["name"]: attempt for attempt in place.worker().claims()}
    assert sorted(given) == ["run-0", "run-1", "run-2", "run-3"]
    for attempt in given.values():
        attempt.becomes("RUNNING")
    given["run-1"].becomes("PAUSED", "Paused")
    given["run-2"].becomes("SCHEDULED", "AwaitingRetry")
    given["run-3"].ends()
    queue = inside("work-queue", "slots", "downloads", "-p", place.pool, "-o", "json").json
    pool = inside("work-pool", "slots", place.pool, "-o", "json").json
    table = inside("work-pool", "slots", place.pool).out

    assert (queue["active_slots"], queue["concurrency_limit"]) == (3, 4)
    assert sorted(run["name"] for run in queue["flow_runs"]) == ["run-0", "run-1", "run-2"]
    assert pool["active_slots"] == 3
    assert {each["queue_name"]: each["flow_run_count"] for each in pool["queues"]} == {
        "default": 0,
        "downloads": 3,
    }
    assert "3 of 4" in table
    assert "run-3" not in table


def test_a_status_has_its_colour() -> None:
    """A paused deployment shows as PAUSED, whoever polls it."""

    assert [places.status_cell({"status": each}).colour for each in ("READY", "NOT_READY", "PAUSED")] == [
        "green",
        "red",
        "yellow",
    ]
    assert places.status_cell({"status": "READY", "paused": True}).text == "PAUSED"
