"""``config`` and ``profile``: what is written is what is read."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from headrace.settings import TABLE, load, read_profiles

from .conftest import Headrace


def test_a_value_that_is_set_is_in_force(headrace: Headrace, home: Path) -> None:
    """For every process that reads the same home."""
    done = headrace(
        "config", "set", "logging_level=DEBUG", "HEADRACE_SERVER_PORT=0", "PREFECT_API_URL=http://h/api"
    )

    assert done.code == 0
    settings = load({"HEADRACE_HOME": str(home)})
    assert (settings.logging_level, settings.server_port, settings.api_url) == ("DEBUG", 0, "http://h/api")
    assert settings.source_of("server_port") == "profile"


def test_a_value_that_is_unset_has_its_default_again(headrace: Headrace, home: Path) -> None:
    """And to unset what is not set is no error."""
    headrace("config", "set", "server_port=1")
    first, second = headrace("config", "unset", "server_port"), headrace("config", "unset", "server_port")

    assert (first.code, second.code) == (0, 0)
    assert "was not set" in second.out
    assert load({"HEADRACE_HOME": str(home)}).server_port == 4200


@pytest.mark.parametrize(
    ("assignment", "told"),
    [
        ("server_prt=1", "server_port"),
        ("server_port=many", "a whole number"),
        ("logging_level=LOUD", "DEBUG"),
        ("server_port", "NAME=VALUE"),
        ("home=/x", "HEADRACE_HOME"),
        ("profile=x", "profile use"),
    ],
)
def test_what_cannot_be_set_is_refused_and_nothing_written(
    headrace: Headrace, home: Path, assignment: str, told: str
) -> None:
    """The message says what can."""
    done = headrace("config", "set", "record=false", assignment)

    assert done.code == 2
    assert told in done.err
    assert not (home / "profiles.toml").exists()


def test_a_file_that_holds_secrets_is_its_owners(headrace: Headrace, home: Path) -> None:
    """Whatever the umask; and the secret is masked wherever it is shown."""
    done = headrace("config", "set", "api_auth_string=user:hunter2")
    views = [
        headrace("config", "view"),
        headrace("config", "view", "-o", "json"),
        headrace("profile", "inspect"),
        headrace("profile", "inspect", "-o", "json"),
    ]

    assert stat.S_IMODE((home / "profiles.toml").stat().st_mode) == 0o600
    assert not [view for view in [done, *views] if "hunter2" in view.out + view.err]
    assert "hunter2" in headrace("config", "view", "--show-secrets").out


def test_view_tells_where_each_value_comes_from(headrace: Headrace, monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment comes before the profile, and setting says so."""
    monkeypatch.setenv("PREFECT_API_REQUEST_TIMEOUT", "7")
    done = headrace("config", "set", "api_request_timeout=9", "record=false")
    rows = {row["name"]: row for row in headrace("config", "view", "-o", "json").json}

    assert "PREFECT_API_REQUEST_TIMEOUT is set in the environment" in done.err
    assert rows["api_request_timeout"]["value"] == 7.0
    assert rows["api_request_timeout"]["source"] == "PREFECT_API_REQUEST_TIMEOUT"
    assert rows["record"]["source"] == "profile"


def test_view_all_shows_every_setting(headrace: Headrace) -> None:
    """In the order of the table."""
    rows = headrace("config", "view", "--all", "-o", "json").json

    assert [row["name"] for row in rows] == [setting.name for setting in TABLE]


def test_a_bad_value_in_the_environment_is_told_by_its_name(
    headrace: Headrace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With exit code 2, for every command."""
    monkeypatch.setenv("HEADRACE_SERVER_PORT", "many")
    done = headrace("config", "view")

    assert done.code == 2
    assert "HEADRACE_SERVER_PORT is 'many'" in done.err


def test_a_bad_value_in_a_profile_can_be_corrected_with_the_command_line(
    headrace: Headrace, home: Path
) -> None:
    """Setting and unsetting do not read what they correct."""
    home.mkdir()
    (home / "profiles.toml").write_text('[profiles.default]\nserver_port = "many"\n')
    told, mended = headrace("config", "view"), headrace("config", "unset", "server_port")

    assert (told.code, mended.code) == (2, 0)
    assert headrace("config", "view").code == 0


def test_a_file_that_is_not_toml_is_left_alone(headrace: Headrace, home: Path) -> None:
    """And told with its path."""
    home.mkdir()
    (home / "profiles.toml").write_text("not toml [")
    done = headrace("config", "set", "record=false")

    assert done.code == 2
    assert str(home / "profiles.toml") in done.err
    assert (home / "profiles.toml").read_text() == "not toml ["


def test_profiles_hold_sets_of_settings(headrace: Headrace, home: Path) -> None:
    """Made, chosen, copied, listed."""
    headrace("config", "set", "server_port=1")
    made = headrace("profile", "create", "staging", "--from", "default")
    headrace("profile", "use", "staging")
    headrace("config", "set", "server_port=2")

    assert made.code == 0
    assert read_profiles(home / "profiles.toml") == (
        "staging",
        {"default": {"server_port": "1"}, "staging": {"server_port": "2"}},
    )
    assert headrace("profile", "ls", "-o", "json").json == [
        {"name": "default", "active": False},
        {"name": "staging", "active": True},
    ]
    assert headrace("profile", "inspect", "-o", "json").json["settings"] == {"server_port": "2"}
    assert headrace("profiles", "ls").code == 0


def test_one_command_may_use_another_profile(headrace: Headrace, monkeypatch: pytest.MonkeyPatch) -> None:
    """By --profile, or by HEADRACE_PROFILE; both reading and writing."""
    headrace("profile", "create", "staging")
    headrace("--profile", "staging", "config", "set", "server_port=3")
    shown = headrace("--profile", "staging", "config", "view", "-o", "json").json
    monkeypatch.setenv("HEADRACE_PROFILE", "staging")
    same = headrace("config", "view", "-o", "json").json

    assert [row["value"] for row in shown if row["name"] == "server_port"] == [3]
    assert [row["value"] for row in same if row["name"] == "server_port"] == [3]
    monkeypatch.delenv("HEADRACE_PROFILE")
    assert [
        row for row in headrace("config", "view", "-o", "json").json if row["name"] == "server_port"
    ] == []


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (("profile", "use", "nowhere"), 1, "There are: default"),
        (("profile", "inspect", "nowhere"), 1, "There are: default"),
        (("profile", "create", "default"), 1, "there already"),
        (("profile", "create", "a/b"), 2, "letters"),
        (("profile", "create", "a", "--from", "nowhere"), 1, "There are: default"),
        (("--profile", "nowhere", "config", "view"), 2, "nowhere"),
    ],
)
def test_profiles_that_cannot_be_are_told(
    headrace: Headrace, arguments: tuple[str, ...], code: int, told: str
) -> None:
    """With what there is."""
    done = headrace(*arguments)

    assert done.code == code
    assert told in done.err
