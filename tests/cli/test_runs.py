"""Runs as the command line shows them: without a server, with a local one, over the network."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from .conftest import Headrace
from .recorded import SECOND, Recorded

CHAIN = {
    "evidence": {
        "exception": {
            "type": "app.ServerNotHealthy",
            "message": "the sync failed",
            "traceback": 'Traceback (most recent call last):\n  File "etl.py", line 3, in sync\napp.ServerNotHealthy: the sync failed',
            "chain": [
                {"type": "app.ServerNotHealthy", "message": "the sync failed"},
                {"type": "urllib.error.HTTPError", "message": "HTTP Error 409: Conflict", "how": "cause"},
            ],
            "root_cause": {"type": "urllib.error.HTTPError", "message": "HTTP Error 409: Conflict"},
        },
        "peak_memory_bytes": 12_300_000,
    }
}


class Runs:
    """The ids of what was recorded."""

    def __init__(self, home: Path) -> None:
        now = time.time_ns() // 1000
        good = Recorded(home, now - 3600 * SECOND)
        self.good = good.flow_run("etl", "brave-otter", parameters=b'{"day":"2026-11-23"}', tags=["nightly"])
        self.extract = good.task_run(self.good, "extract-0", seconds=2)
        self.load = good.task_run(self.good, "load-0", seconds=1)
        for n in range(250):
            good.log(self.good, f"line {n}", 20 if n % 50 else 40)
        good.end(self.good, "COMPLETED")
        bad = Recorded(home, now - 60 * SECOND)
        self.bad = bad.flow_run("sync", "sad-newt")
        bad.task_run(self.bad, "extract-0", failed="HTTPError: HTTP Error 409: Conflict")
        bad.end(self.bad, "FAILED", message="ServerNotHealthy: the sync failed", details=CHAIN)
        gone = Recorded(home, now - 30 * SECOND)
        self.gone = gone.flow_run("sync", "gone-crab")
        gone.log(self.gone, "half way")


@pytest.fixture
def runs(home: Path) -> Runs:
    """Three runs in journals that nobody has shipped yet: one good, one failed, one whose process is gone."""
    return Runs(home)


@pytest.fixture(params=["embedded", "local", "network"])
def somewhere(
    request: pytest.FixtureRequest, headrace: Headrace, monkeypatch: pytest.MonkeyPatch
) -> Iterator[str]:
    """Each place where runs may be recorded; over the network, the journals are shipped by command."""
    if request.param == "embedded":
        yield "embedded"
        return
    started = headrace("server", "start", "--background", "--port", "0", timeout=60)
    assert started.code == 0, started.err
    if request.param == "network":
        monkeypatch.setenv("HEADRACE_API_URL", headrace("version", "-o", "json").json["url"])
    try:
        yield request.param
    finally:
        monkeypatch.delenv("HEADRACE_API_URL", raising=False)
        assert headrace("server", "stop").code == 0


@pytest.fixture
def shipped(runs: Runs, somewhere: str, headrace: Headrace) -> Runs:
    """The runs, and a place that knows them."""
    if somewhere == "network":
        assert headrace("journal", "ship").code == 0
    return runs


def test_commands_show_what_happened(shipped: Runs, headrace: Headrace) -> None:
    """Each place shows the same; journals left behind are shipped first, and a run whose process is gone is Crashed."""
    found = headrace("flow-run", "ls", "-o", "json").json

    assert [(run["name"], run["flow_name"], run["state_type"]) for run in found] == [
        ("gone-crab", "sync", "CRASHED"),
        ("sad-newt", "sync", "FAILED"),
        ("brave-otter", "etl", "COMPLETED"),
    ]
    assert {"id", "flow_id", "state_name", "state", "start_time", "tags", "parameters"} <= set(found[0])

    table = headrace("flow-run", "ls").out.splitlines()
    assert table[0].split() == ["ID", "NAME", "FLOW", "STATE", "STARTED", "TOOK"]
    assert [line.split()[0] for line in table[1:]] == [shipped.gone, shipped.bad, shipped.good]

    assert {flow["name"] for flow in headrace("flow", "ls", "-o", "json").json} == {"etl", "sync"}
    tasks = headrace("task-run", "ls", "--flow-run", "brave-otter", "-o", "json").json
    assert [(task["name"], task["state_name"]) for task in tasks] == [
        ("extract-0", "Completed"),
        ("load-0", "Completed"),
    ]


@pytest.fixture
def embedded(runs: Runs, inside: Headrace) -> Runs:
    """The runs, in the home folder's database."""
    assert inside("flow-run", "ls").code == 0
    return runs


@pytest.mark.parametrize(
    ("options", "names"),
    [
        (["--state", "failed"], ["sad-newt"]),
        (["--state", "failed,COMPLETED"], ["sad-newt", "brave-otter"]),
        (["--state", "crashed", "--state", "completed"], ["gone-crab", "brave-otter"]),
        (["--flow", "sync"], ["gone-crab", "sad-newt"]),
        (["--flow", "sync", "--flow", "etl", "--limit", "2"], ["gone-crab", "sad-newt"]),
        (["--flow", "none"], []),
        (["--since", "10m"], ["gone-crab", "sad-newt"]),
        (["--since", "1d", "--tag", "nightly"], ["brave-otter"]),
        (["--since", "1s"], []),
    ],
)
def test_lists_are_narrowed(embedded: Runs, inside: Headrace, options: list[str], names: list[str]) -> None:
    """By state, flow, tag, time and number."""

    assert [run["name"] for run in inside("flow-run", "ls", *options, "-o", "json").json] == names


def test_an_empty_list_is_no_error(embedded: Runs, inside: Headrace) -> None:
    """Standard output stays empty, for scripts that count lines."""
    done = inside("flow-run", "ls", "--flow", "none")

    assert (done.code, done.out, done.err) == (0, "", "No flow runs.\n")


def test_a_run_is_found_by_id_by_an_end_of_it_and_by_name(embedded: Runs, inside: Headrace) -> None:
    """The id in any case, with or without hyphens."""
    for text in (
        embedded.bad,
        embedded.bad.upper(),
        embedded.bad.replace("-", ""),
        embedded.bad[-8:],
        "…" + embedded.bad[-12:],
        embedded.bad[:30],
        "sad-newt",
    ):
        assert inside("flow-run", "inspect", text, "-o", "json").json["id"] == embedded.bad


def test_a_run_that_is_not_there_is_told(embedded: Runs, inside: Headrace) -> None:
    """With what to do."""
    for text in ("00000000-0000-7000-8000-000000000000", "no-such-run", "ffff"):
        done = inside("flow-run", "inspect", text)
        assert done.code == 1
        assert "headrace flow-run ls" in done.err


def test_a_name_that_fits_several_runs_is_told_with_all_of_them(
    embedded: Runs, home: Path, inside: Headrace
) -> None:
    """And nothing is done."""
    again = Recorded(home, time.time_ns() // 1000)
    other = again.flow_run("sync", "sad-newt")
    again.end(other, "COMPLETED")
    done = inside("flow-run", "delete", "sad-newt", "--yes")

    assert done.code == 1
    assert embedded.bad in done.err
    assert other in done.err
    assert len(inside("flow-run", "ls", "-o", "json").json) == 4


def test_a_failed_run_is_explained(embedded: Runs, inside: Headrace) -> None:
    """State, history with rank and source, the exception's whole chain, the tasks."""
    out = inside("flow-run", "inspect", "sad-newt").out

    assert "ServerNotHealthy: the sync failed" in out
    assert "raised         app.ServerNotHealthy: the sync failed" in out
    assert "caused by      urllib.error.HTTPError: HTTP Error 409: Conflict" in out
    assert 'File "etl.py", line 3, in sync' in out
    assert "peak memory    12.3 MB" in out
    history = out.split("History\n")[1].split("\n\n")[0].splitlines()
    assert history[0].split() == ["TIME", "STATE", "RANK", "SOURCE", "MESSAGE"]
    assert [line.split()[2] for line in history[1:]] == ["Pending", "Running", "Failed"]
    assert all("fact" in line for line in history[1:])
    assert "extract-0" in out.split("Tasks (1)")[1]


def test_a_lost_run_is_explained(embedded: Runs, inside: Headrace) -> None:
    """The supervisor that took its journal up gives the verdict."""
    out = inside("flow-run", "inspect", "gone-crab").out

    assert "verdict" in out
    assert "supervisor" in out
    assert "Evidence" in out


def test_the_timeline_shows_the_order_of_tasks(embedded: Runs, inside: Headrace) -> None:
    """Two seconds, then one."""
    lines = inside("flow-run", "inspect", "brave-otter").out.split("Tasks (2)\n")[1].splitlines()
    first, second = (line.count("█") + line.count("#") for line in lines[:2])

    assert lines[0].split()[0] == "extract-0"
    assert first > second > 0


def test_inspect_json_has_the_history(embedded: Runs, inside: Headrace) -> None:
    """With rank and source beside the contract's names."""
    run = inside("flow-run", "inspect", "brave-otter", "-o", "json").json

    assert [entry["name"] for entry in run["state_history"]] == ["Pending", "Running", "Completed"]
    assert {entry["rank"] for entry in run["state_history"]} == {"fact"}
    assert run["parameters"] == {"day": "2026-11-23"}
    assert run["flow_name"] == "etl"


def test_logs_are_whole_and_in_order(embedded: Runs, inside: Headrace) -> None:
    """Also over several pages."""
    everything = inside("flow-run", "logs", "brave-otter").out.splitlines()
    messages = [line.rsplit(" | ", 1)[1] for line in everything]

    assert messages == ["extract-0 says hello", "load-0 says hello", *(f"line {n}" for n in range(250))]
    assert inside("flow-run", "logs", "brave-otter", "--tail", "3").out.splitlines() == everything[-3:]
    assert inside("flow-run", "logs", "brave-otter", "--limit", "3").out.splitlines() == everything[:3]
    assert len(inside("flow-run", "logs", "brave-otter", "--level", "error").out.splitlines()) == 5
    assert inside("flow-run", "logs", "brave-otter", "--tail", "0").out == ""
    assert len(inside("flow-run", "logs", "brave-otter", "-o", "json").json) == 252


def test_following_an_ended_run_ends(embedded: Runs, inside: Headrace) -> None:
    """After all its lines."""
    plain, followed = (
        inside("flow-run", "logs", "brave-otter"),
        inside("flow-run", "logs", "-f", "brave-otter"),
    )

    assert followed.out == plain.out


def test_a_task_run_is_explained_and_its_log_shown(embedded: Runs, inside: Headrace) -> None:
    """Found by name within its flow run, as names of task runs repeat."""
    ambiguous = inside("task-run", "inspect", "extract-0")
    shown = inside("task-run", "inspect", "extract-0", "--flow-run", "sad-newt").out
    lines = inside("task-run", "logs", "extract-0", "--flow-run", "brave-otter").out

    assert ambiguous.code == 1
    assert embedded.extract in ambiguous.err
    assert "409: Conflict" in shown
    assert lines.strip().endswith("extract-0 says hello")
    assert len(lines.splitlines()) == 1


@pytest.mark.parametrize(("name", "code"), [("brave-otter", 0), ("sad-newt", 1), ("gone-crab", 4)])
def test_watch_tells_the_end_by_its_exit_code(embedded: Runs, inside: Headrace, name: str, code: int) -> None:
    """For scripts that wait for a run."""
    done = inside("flow-run", "watch", name)

    assert done.code == code
    assert "Running" in done.out
    states = inside("flow-run", "watch", name, "-o", "json").out.splitlines()
    assert [json.loads(line)["name"] for line in states][:2] == ["Pending", "Running"]


def test_a_run_that_has_ended_cannot_be_cancelled(embedded: Runs, inside: Headrace) -> None:
    """And the server's reason is shown."""
    done = inside("flow-run", "cancel", "brave-otter")

    assert done.code == 1
    assert "brave-otter was not cancelled" in done.err
    assert inside("flow-run", "ls", "--state", "completed", "-o", "json").json[0]["id"] == embedded.good


def test_delete_asks_first(embedded: Runs, inside: Headrace) -> None:
    """And tells what it would delete; without an answer nothing is done."""
    refused = inside("flow-run", "delete", "brave-otter", stdin="n\n")
    silent = inside("flow-run", "delete", "brave-otter")
    done = inside("flow-run", "delete", "brave-otter", "sad-newt", stdin="y\n")

    assert (refused.code, silent.code, done.code) == (130, 130, 0)
    assert embedded.good in refused.out
    assert [run["name"] for run in inside("flow-run", "ls", "-o", "json").json] == ["gone-crab"]
    assert inside("flow-run", "logs", embedded.good).code == 1


def test_shipping_again_does_nothing(embedded: Runs, inside: Headrace) -> None:
    """The server has every journal whole."""
    done = inside("journal", "ship")

    assert (done.code, done.out) == (0, "Nothing to ship: the server has every journal of this host whole.\n")


def test_shipping_tells_what_was_shipped(runs: Runs, inside: Headrace) -> None:
    """One by one."""
    ids = {row["id"] for row in inside("journal", "ls", "-o", "json").json}
    done = inside("journal", "ship")

    assert done.code == 0
    assert {line.split()[1].rstrip(".") for line in done.out.splitlines()} == ids


def test_shipping_to_a_server_that_is_away_is_told(
    runs: Runs, inside: Headrace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At once, and the journals stay where they are."""
    monkeypatch.setenv("HEADRACE_API_URL", "http://127.0.0.1:9/api")
    done = inside("journal", "ship")

    assert done.code == 3
    assert {row["status"] for row in inside("journal", "ls", "-o", "json").json} == {"left behind"}
