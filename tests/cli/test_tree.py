"""The tree of commands: light to load, helpful when wrong."""

from __future__ import annotations

import subprocess
import sys

import pytest

from headrace.cli.app import TREE, run
from headrace.cli.exits import MEANINGS, Code

from .conftest import HEADRACE, Headrace


def test_help_loads_no_server_and_no_client() -> None:
    """It costs what the parser costs (about 70 ms)."""
    code = (
        "import sys\n"
        "from headrace.cli.app import run\n"
        "run(['--help'])\n"
        "heavy = {'sqlalchemy', 'httpx', 'fastapi', 'pydantic', 'alembic', 'rich', 'msgspec'} & set(sys.modules)\n"
        "sys.exit(','.join(heavy) or 0)\n"
    )
    process = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=False
    )

    assert (process.returncode, process.stderr) == (0, "")
    assert all(name in process.stdout for name in TREE)


def test_the_module_is_the_command_line() -> None:
    """``python -m headrace`` is ``headrace``."""
    one = subprocess.run(
        [sys.executable, "-m", "headrace", "--help"], capture_output=True, timeout=30, check=True
    )
    two = subprocess.run([str(HEADRACE), "--help"], capture_output=True, timeout=30, check=True)

    assert one.stdout == two.stdout


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("flow-rum", "ls"), "Did you mean flow-run"),
        (("qqqq",), "--help"),
        (("config", "sett"), "set"),
        (("flow-run", "ls", "--limit", "0"), "--limit"),
        (("flow-run", "ls", "--output", "xml"), "json"),
        (("flow-run", "ls", "--state", "faild"), "Failed"),
        (("flow-run", "ls", "--since", "soon"), "30m"),
        (("flow-run", "inspect"), "RUN"),
        (("flow-run", "logs", "x", "--level", "loud"), "warning"),
    ],
)
def test_wrong_usage_has_code_2_and_says_what_is_right(
    headrace: Headrace, arguments: tuple[str, ...], told: str
) -> None:
    """Before anything is asked of a server."""
    done = headrace(*arguments)

    assert done.code == Code.USAGE
    assert told in done.err
    assert done.out == ""


def test_no_arguments_show_the_help(headrace: Headrace) -> None:
    """Of the root and of each group."""

    assert "Commands" in headrace().err + headrace().out
    assert "inspect" in headrace("flow-run").err + headrace("flow-run").out


def test_every_alias_leads_to_its_group(capsys: pytest.CaptureFixture[str]) -> None:
    """Plural names are what some people type."""
    for row in TREE.values():
        for alias in row.aliases:
            assert run([alias, "--help"]) == 0
            assert capsys.readouterr().out.startswith("Usage")


def test_an_unexpected_error_is_told_without_a_traceback(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until one asks for it."""

    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr("headrace.cli.profile.write_table", broken)
    quiet = run(["profile", "ls"]), capsys.readouterr().err
    loud = run(["--traceback", "profile", "ls"]), capsys.readouterr().err

    assert (quiet[0], loud[0]) == (Code.FAILED, Code.FAILED)
    assert "RuntimeError: a bug" in quiet[1]
    assert "Traceback" not in quiet[1]
    assert "Traceback" in loud[1]


def test_a_closed_pipe_ends_a_command_quietly(headrace: Headrace) -> None:
    """As with ``head``."""
    process = subprocess.run(
        ["/bin/sh", "-c", f'"{HEADRACE}" config view --all | true'],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )

    assert process.stderr.replace("\n", "").startswith("Home folder")
    assert "Broken" not in process.stderr


def test_every_exit_code_has_its_sentence() -> None:
    """The reference is made from them."""

    assert list(MEANINGS) == list(Code)


def test_version_tells_where_runs_go(headrace: Headrace, monkeypatch: pytest.MonkeyPatch) -> None:
    """To the home folder, or to the server that is set."""
    embedded = headrace("version", "-o", "json").json
    monkeypatch.setenv("HEADRACE_API_URL", "http://h:1/api")
    network = headrace("version", "-o", "json").json

    assert (embedded["mode"], embedded["url"]) == ("embedded", None)
    assert (network["mode"], network["url"]) == ("network", "http://h:1/api")
    assert "the server at http://h:1/api" in headrace("version").out


def test_a_server_that_is_away_has_its_own_exit_code(
    headrace: Headrace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the message names the setting."""
    monkeypatch.setenv("HEADRACE_API_URL", "http://127.0.0.1:9/api")
    done = headrace("flow-run", "ls")

    assert done.code == Code.UNAVAILABLE
    assert "HEADRACE_API_URL" in done.err
