"""Deployments and their schedules from the command line, on a real server."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest

from headrace.client import calls

from .conftest import Headrace, Place
from .worked import Attempt

DEADLINE_S = 30

SCHEMA = {
    "title": "Parameters",
    "type": "object",
    "properties": {
        "n": {"title": "n", "type": "integer", "position": 0},
        "day": {"title": "day", "type": "string", "format": "date", "default": "2026-01-01"},
        "who": {"title": "who", "anyOf": [{"type": "string"}, {"type": "null"}], "default": None},
        "kind": {"title": "kind", "enum": ["big", "small"], "default": "big"},
    },
    "required": ["n"],
}


def run_of(place: Place, id: str) -> dict[str, Any]:
    """Return a flow run as the server has it."""
    return dict(place.connection.get(f"/flow_runs/{id}"))


def test_deployments_are_listed_by_name(place: Place, inside: Headrace) -> None:
    """Those of a flow, with their place and when they run."""
    place.deploy("weekly", tags=["slow"], schedules=[{"schedule": {"cron": "0 6 * * MON"}}])
    place.deploy("daily", tags=["slow", "eu"], schedules=[{"schedule": {"interval": 86400}, "active": False}])
    table = inside("deployment", "ls", place.flow).out.splitlines()

    assert [line.split()[0] for line in table[1:]] == [f"{place.flow}/daily", f"{place.flow}/weekly"]
    assert f"{place.pool}/default" in table[1]
    assert "cron 0 6 * * MON" in table[2]
    assert "every" not in table[1]
    found = inside("deployment", "ls", place.flow, "--tag", "eu", "-o", "json").json
    assert [(each["name"], each["flow_name"]) for each in found] == [("daily", place.flow)]
    by_time = inside("deployment", "ls", place.flow, "--by-created", "-o", "json").json
    assert [each["name"] for each in by_time] == ["daily", "weekly"]
    assert inside("deployment", "ls", "no-such-flow").out == ""


def test_a_deployment_is_shown_whole(place: Place, inside: Headrace) -> None:
    """What a run takes, how its job is set up, and when runs are planned."""
    name = place.deploy(
        entrypoint="etl.py:etl",
        parameter_openapi_schema=SCHEMA,
        parameters={"day": "2026-11-23"},
        job_variables={"env": {"A": "1"}},
        concurrency_limit=3,
        description="Every night.",
        schedules=[{"schedule": {"cron": "0 6 * * *", "timezone": "Europe/Berlin"}, "slug": "dawn"}],
    )
    out = inside("deployment", "inspect", name).out
    rows = {line.split()[0]: line.split()[1:] for line in out.splitlines() if line[:1].isalpha()}

    assert "NOT_READY (nobody asks for its runs)" in out
    assert "0 of 3 at once, more than that: ENQUEUE" in out
    assert rows["n"] == ["integer", "(required)"]
    assert rows["day"] == ["date", '"2026-11-23"']
    assert rows["who"] == ["string", "|", "null", "null"]
    assert rows["kind"] == ['"big"', "|", '"small"', '"big"']
    assert '"A": "1"' in out
    assert "cron 0 6 * * * (Europe/Berlin)" in out
    assert "dawn" in out


def test_a_deployment_is_found_by_name_by_id_and_by_its_own_name(place: Place, inside: Headrace) -> None:
    """Its own name, where no other flow has one of that name."""
    own = f"nightly-{place.pool}"
    name = place.deploy(own)
    id = inside("deployment", "inspect", name, "-o", "json").json["id"]

    for text in (name, id, own):
        assert inside("deployment", "inspect", text, "-o", "json").json["id"] == id


def test_a_wrong_name_is_answered_with_near_ones(place: Place, inside: Headrace) -> None:
    """Written whole or by its own name; an ambiguous one with all that it may mean."""
    own = f"nightly-{place.pool}"
    name = place.deploy(own)
    for text in (f"{place.flow}/nightl-{place.pool}", own[:-1] + "q"):
        done = inside("deployment", "inspect", text)
        assert (done.code, name in done.err) == (1, True), done.err
    missing = inside("deployment", "inspect", "01a20879-4912-75ac-8e3e-000000000000")
    flow = place.flow
    place.flow = f"{flow}-b"
    other = place.deploy(own)
    both = inside("deployment", "inspect", own)

    assert missing.code == 1
    assert "headrace deployment ls" in missing.err
    assert both.code == 1
    assert name in both.err
    assert other in both.err


def test_a_run_is_made_as_asked(place: Place, inside: Headrace) -> None:
    """Parameters over those of the document, tags, job settings, a name, a time."""
    name = place.deploy(parameter_openapi_schema=SCHEMA, tags=["nightly"])
    done = inside(
        *("deployment", "run", name, "-p", "n=3", "--params", "-", "-t", "by-hand", "-jv", "env.DAY=1"),
        *("--flow-run-name", "first", "--start-in", "1h", "-o", "json"),
        stdin='{"n": 1, "who": "me"}',
    )
    run = done.json

    assert done.code == 0
    assert run["parameters"] == {"n": 3, "who": "me"}
    assert sorted(run["tags"]) == ["by-hand", "nightly"]
    assert run["job_variables"] == {"env.DAY": "1"}
    assert (run["name"], run["flow_name"], run["state_type"]) == ("first", place.flow, "SCHEDULED")
    assert run_of(place, run["id"])["next_scheduled_start_time"] > run["created"]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ((), '"n" is a required property'),
        (("-p", "n=x"), 'n: "x" is not of type "integer"'),
        (("-p", "n=1", "-p", "kind=huge"), "kind: "),
        (("-p", "n=1", "-p", "dai=1"), "Did you mean day?"),
        (("-p", "n=1", "-jv", "memory_limit=lots"), "memory_limit"),
    ],
)
def test_a_wrong_parameter_is_refused_by_its_name(
    place: Place, inside: Headrace, arguments: tuple[str, ...], told: str
) -> None:
    """Before a run exists."""
    name = place.deploy(parameter_openapi_schema=SCHEMA)
    done = inside("deployment", "run", name, *arguments)

    assert (done.code, done.out) == (1, "")
    assert told in done.err
    assert "o run" in done.err
    assert inside("flow-run", "ls", "--flow", place.flow, "-o", "json").json == []


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ((), "FLOW/DEPLOYMENT"),
        (("a/b", "--id", "c"), "FLOW/DEPLOYMENT"),
        (("a/b", "--params", "{"), "--params"),
        (("a/b", "-p", "n"), "KEY=VALUE"),
        (("a/b", "--start-in", "soon"), "90s"),
        (("a/b", "--start-at", "soon"), "17:30"),
        (("a/b", "--start-in", "1m", "--start-at", "17:30"), "one of them"),
    ],
)
def test_wrong_usage_is_told(place: Place, inside: Headrace, arguments: tuple[str, ...], told: str) -> None:
    """Before anything is asked of the server."""
    done = inside("deployment", "run", *arguments)

    assert done.code == 2
    assert told in done.err


def test_what_holds_a_run_up_is_told(place: Place, inside: Headrace) -> None:
    """No worker, a paused pool, a paused queue; nothing when somebody asks for its runs."""
    name = place.deploy()

    def told() -> str:
        return inside("deployment", "run", name).out

    assert f"headrace worker start -p {place.pool}" in told()
    inside("work-queue", "pause", "default", "-p", place.pool)
    assert f"headrace work-queue resume default -p {place.pool}" in told()
    inside("work-pool", "pause", place.pool)
    assert f"headrace work-pool resume {place.pool}" in told()
    inside("work-pool", "resume", place.pool)
    inside("work-queue", "resume", "default", "-p", place.pool)
    place.worker().claims(limit=1)
    lines = told().splitlines()
    assert [line.split()[0] for line in lines] == ["Made", "Follow"]


def test_a_run_without_a_pool_waits_for_whoever_serves_it(place: Place, inside: Headrace) -> None:
    """As flow.serve() does."""
    name = place.deploy(work_pool_name=None)

    assert "flow.serve()" in inside("deployment", "run", name).out


def play(place: Place, told: list[Attempt], end: str) -> threading.Thread:
    """Carry out the pool's next run, in the background."""

    def work() -> None:
        worker, deadline = place.worker(), time.monotonic() + DEADLINE_S
        given: list[Attempt] = []
        while not given and time.monotonic() < deadline:
            given = worker.claims(limit=1, wait=1)
        told.extend(given)
        given[0].becomes("RUNNING")
        given[0].says("half way")
        given[0].ends(end, message="that was it")

    thread = threading.Thread(target=work)
    thread.start()
    return thread


@pytest.mark.parametrize(("end", "code"), [("COMPLETED", 0), ("FAILED", 1), ("CRASHED", 4), ("CANCELLED", 5)])
def test_a_run_is_followed_to_its_end(place: Place, inside: Headrace, end: str, code: int) -> None:
    """Its states and its log, each once and in their order; the exit code is the end's."""
    name = place.deploy()
    thread = play(place, [], end)
    done = inside("deployment", "run", name, "--watch", "--watch-interval", "0.1")
    thread.join(DEADLINE_S)
    words = ["Scheduled", "Pending", "Running", "half way", end.capitalize()]
    lines = done.out.splitlines()[1:]

    assert done.code == code, done.err
    assert [word for line in lines for word in words if word in line] == words
    assert "that was it" in done.out


def test_watching_with_json_prints_the_run_as_it_ended(place: Place, inside: Headrace) -> None:
    """One document, for programs."""
    name = place.deploy()
    thread = play(place, [], "FAILED")
    done = inside("deployment", "run", name, "--watch", "--watch-interval", "0.1", "-o", "json")
    thread.join(DEADLINE_S)

    assert done.code == 1
    assert (done.json["state_type"], done.json["flow_name"]) == ("FAILED", place.flow)


def test_watching_ends_when_its_time_is_up(place: Place, inside: Headrace) -> None:
    """The run does not."""
    name = place.deploy()
    done = inside("deployment", "run", name, "--watch", "--watch-timeout", "0.2")
    runs = inside("flow-run", "ls", "--flow", place.flow, "-o", "json").json

    assert done.code == 1
    assert "it goes on" in done.err
    assert [run["state_type"] for run in runs] == ["SCHEDULED"]


def test_runs_that_are_planned_for_later_bury_no_others(place: Place, inside: Headrace) -> None:
    """They are counted; --state lists them. What is due is listed."""
    name = place.deploy()
    inside("deployment", "run", name, "--flow-run-name", "tomorrow", "--start-in", "1d")
    inside("deployment", "run", name, "--flow-run-name", "at-once")
    all_due = inside("flow-run", "ls", "--flow", place.flow)
    planned = inside("flow-run", "ls", "--flow", place.flow, "--state", "scheduled", "-o", "json").json

    assert "at-once" in all_due.out
    assert "tomorrow" not in all_due.out
    assert all_due.err == "1 more is planned for later: headrace flow-run ls --state scheduled\n"
    assert [run["name"] for run in planned] == ["tomorrow", "at-once"]


def test_a_run_tells_what_it_is_a_run_of(place: Place, inside: Headrace) -> None:
    """And when it is due; the deployment may be gone."""
    name = place.deploy()
    run = inside("deployment", "run", name, "-o", "json").json["id"]
    before = inside("flow-run", "inspect", run).out
    (attempt,) = place.worker().claims()
    attempt.becomes("RUNNING")
    attempt.ends()
    inside("deployment", "delete", name, "--yes")
    after = inside("flow-run", "inspect", run).out

    assert f"  deployment     {name}\n" in before
    assert f"  work queue     {place.pool}/default\n" in before
    assert "  due  " in before
    assert "(deleted)" in after
    assert "  due  " not in after


def test_a_deployment_is_paused_and_resumed(place: Place, inside: Headrace) -> None:
    """A deployment without an active schedule is told so."""
    name = place.deploy(schedules=[{"schedule": {"cron": "0 6 * * *"}}])
    paused = inside("deployment", "pause", name)
    shown = inside("deployment", "inspect", name).out
    listed = inside("deployment", "ls", place.flow).out
    resumed = inside("deployment", "resume", name)

    assert (paused.code, resumed.code) == (0, 0)
    assert "PAUSED (its schedules plan no runs)" in shown
    assert "PAUSED" in listed
    assert inside("deployment", "inspect", name, "-o", "json").json["paused"] is False
    assert "no active schedule" not in resumed.out
    assert "no active schedule" in inside("deployment", "resume", place.deploy("other")).out


def test_why_a_brake_paused_a_deployment_is_shown(place: Place, inside: Headrace) -> None:
    """Until it is resumed."""
    name = place.deploy(crash_brake={"crashes": 1, "seconds": 600})
    inside("deployment", "run", name)
    (attempt,) = place.worker().claims()
    attempt.becomes("RUNNING")
    attempt.is_killed()
    paused = inside("deployment", "inspect", name).out
    inside("deployment", "resume", name)
    resumed = inside("deployment", "inspect", name).out

    assert "paused because" in paused
    assert "paused because" not in resumed


def test_deleting_deployments_asks_first(place: Place, inside: Headrace) -> None:
    """By name and by id; something has to be named."""
    one, two = place.deploy("one"), place.deploy("two")
    id = inside("deployment", "inspect", two, "-o", "json").json["id"]
    nothing = inside("deployment", "delete")
    refused = inside("deployment", "delete", one, stdin="n\n")
    done = inside("deployment", "delete", one, "--id", id, stdin="y\n")

    assert (nothing.code, refused.code, done.code) == (2, 130, 0)
    assert one in refused.out
    assert inside("deployment", "ls", place.flow, "-o", "json").json == []


def test_all_deployments_are_deleted_only_by_asking_for_all(
    headrace: Headrace, inside: Headrace, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Together with names it means nothing."""

    assert inside("deployment", "delete", "a/b", "--all").code == 2
    monkeypatch.delenv("HEADRACE_API_URL")  # a home of its own: the shared server has those of other tests
    assert headrace("deployment", "delete", "--all", "--yes").code == 0
    assert "none at all yet" in headrace("deployment", "inspect", "a/b").err


def test_schedules_are_made_shown_paused_and_deleted(place: Place, inside: Headrace) -> None:
    """One by one: by slug, by id, by an end of it."""
    name = place.deploy()
    cron = ("--cron", "0 6 * * *", "--timezone", "Europe/Berlin", "--slug", "dawn", "-p", "n=1")
    made = inside("deployment", "schedule", "create", name, *cron, "-o", "json").json
    told = inside(
        "deployment", "schedule", "create", name, "--interval", "1h30m", "--max-scheduled-runs", "5"
    )
    planned = inside("deployment", "schedule", "ls", name, "-o", "json").json
    hourly = next(each for each in planned if "interval" in each["schedule"])
    ambiguous = inside("deployment", "schedule", "pause", name)
    by_slug = inside("deployment", "schedule", "pause", name, "dawn")
    table = inside("deployment", "schedule", "ls", name).out
    by_end = inside("deployment", "schedule", "delete", name, hourly["id"][-8:], "--yes")
    only = inside("deployment", "schedule", "resume", name)
    left = inside("deployment", "schedule", "ls", name, "-o", "json").json

    assert (made[0]["slug"], made[0]["parameters"]) == ("dawn", {"n": 1})
    assert made[0]["schedule"] == {"cron": "0 6 * * *", "timezone": "Europe/Berlin", "day_or": True}
    assert "every 1 h 30 min, next run 20" in told.out
    assert (hourly["schedule"]["interval"], hourly["max_scheduled_runs"]) == (5400, 5)
    assert (ambiguous.code, "dawn" in ambiguous.err, hourly["id"] in ambiguous.err) == (1, True, True)
    assert (by_slug.code, by_end.code, only.code) == (0, 0, 0)
    assert [line.split()[-4] for line in table.splitlines() if "dawn" in line] == ["no"]
    assert [(each["slug"], each["active"]) for each in left] == [("dawn", True)]


def test_a_schedule_takes_the_place_of_others(place: Place, inside: Headrace) -> None:
    """After asking."""
    name = place.deploy(schedules=[{"schedule": {"cron": "0 6 * * *"}}, {"schedule": {"cron": "0 7 * * *"}}])
    rule = ("--rrule", "FREQ=DAILY;BYHOUR=8;BYMINUTE=0;BYSECOND=0")
    refused = inside("deployment", "schedule", "create", name, *rule, "--replace", stdin="n\n")
    kept = inside("deployment", "schedule", "ls", name, "-o", "json").json
    done = inside("deployment", "schedule", "create", name, *rule, "--replace", "-y")
    left = inside("deployment", "schedule", "ls", name, "-o", "json").json

    assert (refused.code, len(kept), done.code) == (130, 2, 0)
    assert [each["schedule"]["rrule"] for each in left] == [rule[1]]
    assert "next run 20" in done.out


def test_all_schedules_are_paused_and_cleared(place: Place, inside: Headrace) -> None:
    """With --all, and with the verb of its own; without any there is nothing to ask."""
    name = place.deploy(schedules=[{"schedule": {"cron": "0 6 * * *"}}, {"schedule": {"interval": 60}}])
    paused = inside("deployment", "schedule", "pause", name, "--all")
    states = {each["active"] for each in inside("deployment", "schedule", "ls", name, "-o", "json").json}
    refused = inside("deployment", "schedule", "clear", name)
    cleared = inside("deployment", "schedule", "clear", name, "-y")
    again = inside("deployment", "schedule", "clear", name)
    none = inside("deployment", "schedule", "pause", name)

    assert (paused.code, states) == (0, {False})
    assert (refused.code, cleared.code, again.code, none.code) == (130, 0, 0, 1)
    assert "has no schedules" in again.out
    assert "headrace deployment schedule create" in none.err


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ((), "--cron"),
        (("--cron", "0 6 * * *", "--interval", "60"), "--cron"),
        (("--cron", "nope"), "nope"),
        (("--cron", "0 6 * * *", "--timezone", "Mars/Olympus"), "Mars/Olympus"),
        (("--interval", "soon"), "1h30m"),
        (("--interval", "0"), "interval"),
        (("--rrule", "FREQ=SOMETIMES"), "FREQ"),
        (("--cron", "0 6 * * *", "--anchor-date", "2026-01-01"), "--interval"),
        (("--interval", "60", "--no-day-or"), "--cron"),
    ],
)
def test_a_schedule_that_says_no_time_is_refused(
    place: Place, inside: Headrace, arguments: tuple[str, ...], told: str
) -> None:
    """Before anything is asked of the server."""
    done = inside("deployment", "schedule", "create", "a/b", *arguments)

    assert done.code == 2
    assert told in done.err


def test_changing_a_schedule_of_another_deployment_is_not_possible(place: Place, inside: Headrace) -> None:
    """Schedules are looked for within the deployment that is named."""
    one = place.deploy("one", schedules=[{"schedule": {"cron": "0 6 * * *"}}])
    two = place.deploy("two", schedules=[{"schedule": {"cron": "0 7 * * *"}}])
    foreign = inside("deployment", "schedule", "ls", one, "-o", "json").json[0]["id"]
    done = inside("deployment", "schedule", "delete", two, foreign, "--yes")

    assert done.code == 1
    assert len(calls.deployment(place.connection, _id(inside, one))["schedules"]) == 1


def _id(inside: Headrace, name: str) -> str:
    return str(inside("deployment", "inspect", name, "-o", "json").json["id"])
