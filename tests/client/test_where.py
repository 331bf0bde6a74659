"""Where requests go: configured, found, or nowhere but here."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from headrace.client.where import Location, locate
from headrace.journal.spool import boot_id, start_ticks
from headrace.settings import Settings, load


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Settings of an empty home."""
    return load({"HEADRACE_HOME": str(tmp_path)})


def write_address(settings: Settings, **changes: object) -> None:
    """Write an address file as a living server would, with changes."""
    address = {
        "url": "http://127.0.0.1:4321",
        "pid": os.getpid(),
        "started": start_ticks(os.getpid()),
        "boot": boot_id(),
        "version": "0",
        **changes,
    }
    (settings.home_path / "server.json").write_text(json.dumps(address))


def test_an_empty_home_is_embedded(settings: Settings) -> None:
    """Without a server the home folder's database is used."""

    assert locate(settings) == Location("embedded", "")


def test_a_living_server_is_found_by_its_address_file(settings: Settings) -> None:
    """Its URL gets /api when it has none."""
    write_address(settings)

    assert locate(settings) == Location("local", "http://127.0.0.1:4321/api")


def test_an_address_with_api_is_taken_as_it_is(settings: Settings) -> None:
    """No /api comes twice."""
    write_address(settings, url="http://127.0.0.1:4321/api/")

    assert locate(settings).url == "http://127.0.0.1:4321/api"


def test_a_configured_url_comes_first(settings: Settings) -> None:
    """It is not tried out, and a local server does not replace it."""
    write_address(settings)

    assert locate(settings.replace(api_url="https://example.org/api/")) == Location(
        "network", "https://example.org/api"
    )


@pytest.mark.parametrize(
    "changes", [{"boot": "another"}, {"started": 1}, {"pid": 2**30}, {"pid": "7"}, {"url": ""}]
)
def test_an_address_of_another_process_does_not_count(settings: Settings, changes: dict[str, object]) -> None:
    """A pid alone may be anybody's by now."""
    write_address(settings, **changes)

    assert locate(settings).kind == "embedded"


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b"\xff\xfe", b"null"])
def test_a_garbled_address_file_does_not_count(settings: Settings, content: bytes) -> None:
    """What cannot be read is no server."""
    (settings.home_path / "server.json").write_bytes(content)

    assert locate(settings).kind == "embedded"


def test_a_dead_server_does_not_count(settings: Settings) -> None:
    """Neither as a zombie, whose entry the kernel keeps, nor when it is gone."""
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    write_address(settings, pid=child.pid, started=start_ticks(child.pid))
    alive = locate(settings).kind
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    zombie = locate(settings).kind
    child.communicate()

    assert (alive, zombie, locate(settings).kind) == ("local", "embedded", "embedded")
