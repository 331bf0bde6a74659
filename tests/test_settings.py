"""Settings: where each comes from, and what is said when one cannot be read."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from headrace.errors import SettingError
from headrace.settings import BY_NAME, LEVELS, TABLE, Size, load, read_profiles


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A home folder."""
    path = tmp_path / "house"
    path.mkdir()
    return path


def environ(folder: Path, **variables: str) -> dict[str, str]:
    return {"HEADRACE_HOME": str(folder), **variables}


def profiles(folder: Path, text: str) -> None:
    (folder / "profiles.toml").write_text(text, encoding="utf-8")


def test_without_anything_every_setting_has_its_default() -> None:
    """The empty environment is a good one."""
    settings = load({})

    assert {s.name: s.default for s in TABLE} == {s.name: getattr(settings, s.name) for s in TABLE}
    assert {"default"} == {settings.source_of(s.name) for s in TABLE}
    assert Path("~/.headrace").expanduser() == settings.home_path


def test_the_environment_is_that_of_the_process_unless_given(monkeypatch: pytest.MonkeyPatch) -> None:
    """``load()`` is called once at the edge of a process."""
    monkeypatch.setenv("HEADRACE_SERVER_PORT", "4321")

    assert load().server_port == 4321


CHOICES = {"logging_level": ("warning", "WARNING"), "scheduler_catchup": ("all", "all")}
"""Settings that take one of a few words: what is written, and what is read."""


@pytest.mark.parametrize("setting", TABLE, ids=lambda setting: setting.name)
def test_every_setting_is_read_from_its_variable(setting, folder: Path) -> None:
    """Its value has its type, and its source is the variable."""
    text, value = {
        bool: ("yes" if not setting.default else "off", not setting.default),
        int: (" 17 ", 17),
        float: ("2.5", 2.5),
        Size: (" 2.5 GB", 2_500_000_000),
        str: CHOICES.get(setting.name, (str(folder), str(folder))),
    }[setting.type]
    variable = f"HEADRACE_{setting.name.upper()}"
    if setting.name == "profile":
        profiles(folder, f'[profiles."{folder}"]\n')
    settings = load(environ(folder, **{variable: text}))

    assert value == getattr(settings, setting.name)
    assert setting.type is type(getattr(settings, setting.name))
    assert variable == settings.source_of(setting.name)


@pytest.mark.parametrize("setting", [s for s in TABLE if s.alias], ids=lambda setting: setting.alias)
def test_the_fields_older_name_is_read_where_ours_is_not_set(setting, folder: Path) -> None:
    """A machine that was set up for the field's older tool goes on working; ours wins."""
    text = {bool: "true", int: "9", float: "9"}.get(setting.type, "ERROR")
    other = {bool: "false", int: "8", float: "8"}.get(setting.type, "DEBUG")
    ours = f"HEADRACE_{setting.name.upper()}"
    alias = load(environ(folder, **{setting.alias: text}))
    both = load(environ(folder, **{setting.alias: text, ours: other}))

    assert setting.alias == alias.source_of(setting.name)
    assert ours == both.source_of(setting.name)
    assert getattr(alias, setting.name) != getattr(both, setting.name)


@pytest.mark.parametrize(
    ("written", "bytes"),
    [
        ("10 GB", 10**10),
        ("512MiB", 2**29),
        ("1.5 tb", 15 * 10**11),
        ("7 kb", 7_000),
        ("12 B", 12),
        ("99", 99),
    ],
)
def test_a_size_is_written_as_people_do(written: str, bytes: int, folder: Path) -> None:
    """And goes on to another process as the number it is."""
    settings = load(environ(folder, HEADRACE_RETENTION_LOGS_SIZE=written))

    assert bytes == settings.retention_logs_size
    assert str(bytes) == settings.environment()["HEADRACE_RETENTION_LOGS_SIZE"]


def test_an_empty_variable_is_an_unset_one_but_for_texts_that_may_be_empty(folder: Path) -> None:
    """``HEADRACE_API_URL=`` says "no server" over the profile; an empty port says nothing."""
    profiles(folder, '[profiles.default]\napi_url = "http://far/api"\nserver_port = 5000\n')
    settings = load(environ(folder, HEADRACE_API_URL="", HEADRACE_SERVER_PORT="", HEADRACE_LOGGING_LEVEL=""))

    assert (settings.api_url, settings.server_port, settings.logging_level) == ("", 5000, "INFO")


def test_an_empty_home_is_the_default_home() -> None:
    """Never the folder a script happens to be in."""
    assert load({}).home_path == load({"HEADRACE_HOME": ""}).home_path


def test_a_home_may_be_relative_or_below_the_users(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """The path that is used is absolute: user code may change folder."""
    monkeypatch.chdir(folder)

    assert folder / "inner" == load({"HEADRACE_HOME": "inner"}).home_path
    assert Path.home() / "x" == load({"HEADRACE_HOME": "~/x"}).home_path


@pytest.mark.parametrize(
    ("variable", "text", "takes"),
    [
        ("HEADRACE_SERVER_PORT", "http", "a whole number"),
        ("HEADRACE_SERVER_PORT", "1.5", "a whole number"),
        ("HEADRACE_RETENTION_LOGS_SIZE", "10 elephants", "a size such as 10 GB"),
        ("HEADRACE_RETENTION_LOGS_SIZE", "-1", "a size such as 10 GB"),
        ("HEADRACE_RECORD", "maybe", "true or false"),
        ("HEADRACE_GRACE_SECONDS", "soon", "a number"),
        ("HEADRACE_GRACE_SECONDS", "nan", "a number"),
        ("HEADRACE_LOGGING_LEVEL", "loud", "one of DEBUG, INFO"),
        ("PREFECT_TASKS_DEFAULT_RETRIES", "x", "a whole number"),
    ],
)
def test_a_value_that_cannot_be_read_is_told_with_its_variable(
    variable: str, text: str, takes: str, folder: Path
) -> None:
    """What was found, where, and what is taken instead."""
    with pytest.raises(SettingError) as caught:
        load(environ(folder, **{variable: text}))

    assert variable in str(caught.value)
    assert repr(text) in str(caught.value)
    assert takes in str(caught.value)


@pytest.mark.parametrize("level", [*LEVELS, *(level.lower() for level in LEVELS)])
def test_a_level_is_one_of_loggings_in_any_case(level: str, folder: Path) -> None:
    """``logging`` itself knows them in capitals only."""
    import logging

    assert isinstance(
        getattr(logging, load(environ(folder, HEADRACE_LOGGING_LEVEL=level)).logging_level), int
    )


# Profiles


def test_the_active_profile_is_below_the_environment_and_above_defaults(folder: Path) -> None:
    """Values may be written as TOML's own numbers and booleans."""
    profiles(
        folder,
        'active = "far"\n[profiles.far]\napi_url = "http://far/api"\nrecord = false\nserver_port = 5000\n'
        "grace_seconds = 2\n[profiles.near]\nserver_port = 6000\n",
    )
    settings = load(environ(folder, HEADRACE_SERVER_PORT="7000"))
    other = load(environ(folder, HEADRACE_PROFILE="near"))

    assert (
        settings.api_url, settings.record, settings.server_port, settings.grace_seconds
    ) == ("http://far/api", False, 7000, 2.0)  # fmt: skip
    assert (settings.source_of("api_url"), settings.source_of("server_port")) == (
        "profile",
        "HEADRACE_SERVER_PORT",
    )
    assert (other.api_url, other.server_port) == ("", 6000)


def test_a_file_without_the_profile_in_use_is_told(folder: Path) -> None:
    """The message lists those that there are."""
    profiles(folder, "[profiles.near]\n")

    assert load(environ(folder)).server_port == BY_NAME["server_port"].default

    with pytest.raises(SettingError, match=r"'far'.*default, near.*profile use"):
        load(environ(folder, HEADRACE_PROFILE="far"))


def test_a_profile_that_is_asked_for_without_any_file_is_told(folder: Path) -> None:
    """Going on with the defaults would write to another server than the one that was meant."""
    assert load(environ(folder, HEADRACE_PROFILE="default")).source_of("server_port") == "default"

    with pytest.raises(SettingError, match=r"HEADRACE_PROFILE is 'far'.*profiles\.toml.*profile create far"):
        load(environ(folder, HEADRACE_PROFILE="far"))


@pytest.mark.parametrize("text", ["profiles = ", "active = 'default'\nprofiles = 3\n", "\xff\xfe"])
def test_a_file_that_cannot_be_read_is_told_by_its_path(text: str, folder: Path) -> None:
    """Not by a traceback of a parser."""
    (folder / "profiles.toml").write_bytes(text.encode("latin-1"))

    with pytest.raises(SettingError, match=r"profiles\.toml"):
        load(environ(folder))


def test_a_wrong_value_in_a_profile_is_told_with_its_key(folder: Path) -> None:
    """The environment is not to blame."""
    profiles(folder, '[profiles.default]\nserver_port = "high"\n')

    with pytest.raises(SettingError, match="server_port in the profile is 'high'"):
        load(environ(folder))


def test_keys_of_a_newer_headrace_are_passed_over(folder: Path) -> None:
    """One home folder may serve two versions."""
    profiles(folder, "[profiles.default]\nteleport = true\nserver_port = 5000\n")

    assert load(environ(folder)).server_port == 5000
    assert read_profiles(folder / "profiles.toml") == (
        "default",
        {"default": {"teleport": "true", "server_port": "5000"}},
    )


# The value that is passed on


def test_a_setting_that_does_not_exist_is_told() -> None:
    """Reading and replacing both name it."""
    settings = load({})

    with pytest.raises(AttributeError, match=r"no setting 'sever_port'.*config view"):
        _ = settings.sever_port
    with pytest.raises(SettingError, match="no setting 'sever_port'"):
        settings.replace(sever_port=1)


def test_replacing_makes_another_value(folder: Path) -> None:
    """Settings are passed on; nobody's are changed from afar."""
    settings = load(environ(folder))
    changed = settings.replace(server_port=1)

    assert (settings.server_port, changed.server_port) == (4200, 1)
    assert changed.source_of("server_port") == "code"


def test_another_process_has_the_same_settings(folder: Path) -> None:
    """Wherever a setting was said: in a profile that only we were told to use, in the environment, in code."""
    profiles(folder, "[profiles.work]\nserver_port = 5000\nlogging_console = false\n")
    said = environ(folder, HEADRACE_PROFILE="work", PREFECT_API_URL="http://127.0.0.1:9/api")
    settings = load(said).replace(grace_seconds=2.5)
    there = load(settings.environment())

    for setting in TABLE:
        assert getattr(there, setting.name) == getattr(settings, setting.name), setting.name
    assert "HEADRACE_SERVER_HOST" not in settings.environment(), "what nobody said is left to it"


def test_the_table_is_whole() -> None:
    """Names are unique, sentences end, defaults have their types, secrets are marked."""
    assert len(TABLE) == len(BY_NAME)
    assert [s.name for s in TABLE if type(s.default) is not s.type or not s.sentence.endswith(".")] == []
    assert [
        s.name for s in TABLE if s.type in (int, float) and not s.unit and not s.name.endswith("_port")
    ] == []
    assert {"api_auth_string", "api_key", "server_auth_string", "database_url"} == {
        s.name for s in TABLE if s.secret
    }


def test_a_process_without_profiles_loads_no_parser(folder: Path) -> None:
    """Reading settings must not be felt at the start of a script."""
    code = "import sys; from headrace.settings import load; load(); print('tomllib' in sys.modules, 'tomli' in sys.modules)"
    environment = {**os.environ, **environ(folder)}
    printed = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )

    assert printed.stdout == "False False\n"
