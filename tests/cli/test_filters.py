"""Options that narrow a list, and what they mean."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.cli.filters import flow_filter, parse_since, run_filter, state_filter
from headrace.model.states import KINDS, StateType

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=timezone.utc)


@pytest.mark.parametrize(
    ("text", "ago"),
    [
        ("90s", timedelta(seconds=90)),
        ("30m", timedelta(minutes=30)),
        ("30min", timedelta(minutes=30)),
        ("2h", timedelta(hours=2)),
        ("1.5h", timedelta(minutes=90)),
        ("1d 12h", timedelta(hours=36)),
        ("2W", timedelta(weeks=2)),
    ],
)
def test_a_length_counts_back_from_now(text: str, ago: timedelta) -> None:
    """In any case, with or without spaces."""

    assert parse_since(text, NOW) == NOW - ago


def test_a_time_with_a_zone_is_taken_as_it_is() -> None:
    """Also with the Z that the API writes."""

    assert parse_since("2026-11-23T08:00:00Z", NOW) == datetime(2026, 11, 23, 8, tzinfo=timezone.utc)
    assert parse_since("2026-11-23T08:00+02:00", NOW) == datetime(2026, 11, 23, 6, tzinfo=timezone.utc)


def test_a_time_without_a_zone_is_local() -> None:
    """As people write it."""

    assert parse_since("2026-11-23", NOW) == datetime(2026, 11, 23).astimezone()


@pytest.mark.parametrize("text", ["", "yesterday", "2", "h", "2x", "2h!", "99999999999w", "2026-13-01"])
def test_what_is_no_time_is_refused_with_examples(text: str) -> None:
    """The message shows what may be written."""
    with pytest.raises(click.BadParameter):
        parse_since(text, NOW)


@given(st.text(max_size=20))
def test_any_text_is_a_time_or_refused(text: str) -> None:
    """Nothing else comes out."""
    try:
        found = parse_since(text, NOW)
    except click.BadParameter:
        return

    assert found.tzinfo is not None


def test_every_state_is_found_by_its_type_and_by_its_name() -> None:
    """In any case, and with hyphens or underscores."""
    for kind in StateType:
        assert state_filter((kind.value.lower(),)) == {"type": {"any_": [kind.value]}}
    for state in KINDS:
        found = state_filter((state.name.upper(),))
        expected = {"type": {"any_": [state.type.value]}} if state.name.upper() == state.type.value else None
        assert found == (expected or {"name": {"any_": [state.name]}})

    assert state_filter(("awaiting-retry",)) == {"name": {"any_": ["AwaitingRetry"]}}


def test_types_and_names_together_mean_either() -> None:
    """Whether given in one word with commas or by repeating the option."""
    expected = {
        "type": {"any_": ["FAILED"]},
        "name": {"any_": ["Lost"]},
        "operator": "or_",
    }

    assert state_filter(("failed,lost",)) == state_filter(("failed", "Lost")) == expected


def test_an_unknown_state_is_refused_with_near_ones() -> None:
    """A typing error is told as one."""
    with pytest.raises(click.BadParameter, match="Failed"):
        state_filter(("faild",))
    with pytest.raises(click.BadParameter, match="Completed"):
        state_filter(("xyz",))


def test_no_options_restrict_nothing() -> None:
    """The contract's null."""

    assert run_filter((), (), None, NOW) is None
    assert flow_filter(()) is None
