"""``headrace server``: a process that is started, found and stopped."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from pathlib import Path

import httpx
import pytest

from headrace.client.where import locate
from headrace.settings import load

from .conftest import HEADRACE, Headrace


def test_a_server_is_started_found_and_stopped(headrace: Headrace, home: Path) -> None:
    """By its address file; starting twice starts one, stopping twice is no error."""
    absent = headrace("server", "status")
    first = headrace("server", "start", "--background", "--port", "0", timeout=60)
    second = headrace("server", "start", "--background", "--port", "0", timeout=60)
    found = headrace("server", "status", "-o", "json")
    shown = headrace("server", "status")
    where = locate(load())
    stopped, again = headrace("server", "stop"), headrace("server", "stop")

    assert (absent.code, first.code, second.code, found.code, stopped.code, again.code) == (3, 0, 0, 0, 0, 0)
    assert "runs already" in second.out
    assert found.json["healthy"]
    assert (where.kind, where.url) == ("local", found.json["url"])
    assert found.json["url"] in shown.out
    assert "No server runs" in again.out
    assert locate(load()).kind == "embedded"
    with pytest.raises(httpx.ConnectError):
        httpx.get(found.json["url"] + "/health")


def test_a_server_in_the_foreground_ends_with_ctrl_c(home: Path) -> None:
    """And takes its address file along."""
    with subprocess.Popen(
        [str(HEADRACE), "server", "start", "--port", "0"], stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        said = process.stderr.readline()
        process.send_signal(signal.SIGINT)
        rest = process.stderr.read()
        code = process.wait(30)

    assert "serves at http://127.0.0.1:" in said
    assert "Traceback" not in rest
    assert code in (0, 130)
    assert not (home / "server.json").exists()


def test_a_port_that_is_taken_is_told(headrace: Headrace) -> None:
    """In the foreground and in the background."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        here = headrace("server", "start", "--port", port)
        there = headrace("server", "start", "--background", "--port", port, timeout=60)

    assert (here.code, there.code) == (2, 3)
    for done in (here, there):
        assert "--port" in done.err


def test_an_open_address_needs_authentication(headrace: Headrace) -> None:
    """Or that somebody says so."""
    done = headrace("server", "start", "--host", "0.0.0.0", "--port", "0")

    assert done.code == 2
    assert "HEADRACE_SERVER_AUTH_STRING" in done.err


def test_the_server_asks_for_what_it_was_told_to(headrace: Headrace, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client without the word is not let in, and is told which settings help."""
    monkeypatch.setenv("HEADRACE_SERVER_AUTH_STRING", "ada:secret")
    assert headrace("server", "start", "--background", "--port", "0", timeout=60).code == 0
    try:
        out = headrace("flow-run", "ls")
        monkeypatch.setenv("HEADRACE_API_AUTH_STRING", "ada:secret")
        in_ = headrace("flow-run", "ls")
    finally:
        assert headrace("server", "stop").code == 0

    assert (out.code, in_.code) == (1, 0)
    assert "HEADRACE_API_AUTH_STRING" in out.err


def test_a_killed_server_is_not_found(headrace: Headrace) -> None:
    """Its address file stays behind, and nobody is fooled."""
    assert headrace("server", "start", "--background", "--port", "0", timeout=60).code == 0
    pid = headrace("server", "status", "-o", "json").json["pid"]
    os.kill(pid, signal.SIGKILL)
    done = headrace("flow-run", "ls", timeout=60)

    assert done.code == 0
    assert headrace("server", "status").code == 3


def test_the_database_is_upgraded_once(headrace: Headrace, home: Path) -> None:
    """And a dry run only tells."""
    dry, first, second = (
        headrace("server", "database", "upgrade", *options) for options in (["--dry-run"], [], [])
    )

    assert "would be upgraded" in dry.out
    assert "Upgraded" in first.out
    assert "up to date" in second.out
    assert (home / "headrace.db").exists()


def test_a_password_in_the_databases_url_is_not_shown(
    headrace: Headrace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither when the database cannot be reached."""
    monkeypatch.setenv("HEADRACE_DATABASE_URL", "postgresql://ada:hunter2@127.0.0.1:9/x")
    for command in (("server", "database", "upgrade"), ("flow-run", "ls")):
        done = headrace(*command, timeout=60)
        assert done.code == 3
        assert "HEADRACE_DATABASE_URL" in done.err
        assert "hunter2" not in done.out + done.err


@pytest.mark.parametrize(
    "command", [("flow-run", "ls"), ("config", "set", "record=false"), ("journal", "ship")]
)
def test_a_home_that_cannot_be_one_is_told(
    headrace: Headrace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...]
) -> None:
    """With its path and the variable."""
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("HEADRACE_HOME", str(tmp_path / "file"))
    done = headrace(*command)

    assert done.code == 1
    assert str(tmp_path / "file") in done.err
    assert "HEADRACE_HOME" in done.err


def test_a_database_that_is_none_is_told(headrace: Headrace, home: Path) -> None:
    """And left as it is."""
    home.mkdir()
    (home / "headrace.db").write_text("no database " * 100)
    done = headrace("flow-run", "ls")

    assert done.code == 1
    assert "not a database" in done.err
    assert (home / "headrace.db").read_text().startswith("no database")
