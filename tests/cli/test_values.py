"""Values as people type them: pairs, JSON, times to come."""

from __future__ import annotations

import io
import json
import sys
from datetime import datetime, timedelta, timezone
from pathlib import Path

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.cli import values
from headrace.cli.exits import Misuse

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=timezone.utc)

JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=9,
)


@given(st.text(min_size=1, max_size=9).filter(lambda key: "=" not in key and key.strip() == key), JSON_VALUES)
def test_a_value_is_json_if_it_can_be_read_so(key: str, value: object) -> None:
    """Also one with an equals sign in it."""

    assert values.pairs([f"{key}={json.dumps(value)}"], "--param") == {key: value}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("day=2026-11-23", "2026-11-23"),
        ("name=brave otter", "brave otter"),
        ("n=01", "01"),
        ("ratio=NaN", "NaN"),
        ("query=a=b", "a=b"),
        ("empty=", ""),
        (" spaced = x", " x"),
    ],
)
def test_other_values_are_text(text: str, value: str) -> None:
    """As they stand, to the last character."""

    assert list(values.pairs([text], "--param").values()) == [value]


def test_a_later_pair_wins() -> None:
    """As with other options that repeat."""

    assert values.pairs(["n=1", "n=2"], "--param") == {"n": 2}


@pytest.mark.parametrize("text", ["n", "", "=1", " =1"])
def test_what_is_no_pair_is_refused_with_an_example(text: str) -> None:
    """Naming the option."""
    with pytest.raises(click.BadParameter, match="--param day="):
        values.pairs([text], "--param")


@pytest.mark.parametrize("text", ["", "{", "[1]", '"x"', "3", '{"n": NaN}', "{'n': 1}"])
def test_what_is_no_json_object_is_refused(text: str) -> None:
    """Saying where it came from."""
    with pytest.raises(Misuse, match="--params"):
        values.json_object(text, "--params")


def test_json_comes_from_an_argument_standard_input_or_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The hyphen is standard input."""
    path = tmp_path / "a.json"
    path.write_text('{"n": 2}')
    monkeypatch.setattr(sys, "stdin", io.StringIO('{"n": 1}'))

    assert values.json_object("-", "--params") == {"n": 1}
    assert values.json_file(str(path)) == {"n": 2}
    path.write_bytes(b"\xff")
    with pytest.raises(Misuse, match="UTF-8"):
        values.json_file(str(path))
    with pytest.raises(Misuse, match="No such file"):
        values.json_file(str(tmp_path / "b.json"))


@pytest.mark.parametrize(
    ("text", "length"),
    [
        ("90s", timedelta(seconds=90)),
        ("in 5 minutes", timedelta(minutes=5)),
        ("1h30m", timedelta(minutes=90)),
        ("1 hour 30 minutes", timedelta(minutes=90)),
        ("2 days", timedelta(days=2)),
        ("0s", timedelta(0)),
    ],
)
def test_a_start_in_counts_from_now(text: str, length: timedelta) -> None:
    """With and without the word."""

    assert values.moment_in(text, NOW) == NOW + length


@pytest.mark.parametrize("text", ["", "5", "soon", "5 parsecs", "m5", "99999999999999w"])
def test_what_is_no_length_is_refused(text: str) -> None:
    """With examples, or for being too long."""
    with pytest.raises(click.BadParameter):
        values.moment_in(text, NOW)


@pytest.mark.parametrize(
    ("text", "hour", "minute"),
    [
        ("17:30", 17, 30),
        ("at 5:30pm", 17, 30),
        ("5pm", 17, 0),
        ("12am", 0, 0),
        ("12 pm", 12, 0),
        ("0:05", 0, 5),
    ],
)
def test_a_time_of_day_is_the_next_one(text: str, hour: int, minute: int) -> None:
    """Today's if it is still to come, else tomorrow's, on this host's clock."""
    found = values.moment_at(text, NOW)
    local = found.astimezone()

    assert (local.hour, local.minute, local.second) == (hour, minute, 0)
    assert timedelta(0) < found - NOW <= timedelta(days=1)


def test_a_date_with_a_time_is_taken_as_it_is() -> None:
    """A zone counts; without one it is local."""

    assert values.moment_at("2026-11-23T17:30:00Z", NOW) == NOW.replace(hour=17, minute=30)
    assert values.moment_at("at 2026-11-23 17:30+02:00", NOW) == NOW.replace(hour=15, minute=30)
    assert values.moment_at("2026-11-23 17:30", NOW) == datetime(2026, 11, 23, 17, 30).astimezone()


@pytest.mark.parametrize("text", ["", "soon", "25:00", "13pm", "0am", "17", "2026-13-01", "9:60"])
def test_what_is_no_time_is_refused(text: str) -> None:
    """With examples."""
    with pytest.raises(click.BadParameter, match="17:30"):
        values.moment_at(text, NOW)


@given(st.text(max_size=20))
def test_any_text_is_a_time_to_come_or_refused(text: str) -> None:
    """Nothing else comes out of either."""
    for read in (values.moment_in, values.moment_at):
        try:
            found = read(text, NOW)
        except click.BadParameter:
            continue
        assert found.tzinfo is timezone.utc
