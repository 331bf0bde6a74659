"""Schedules: what vixie cron, the calendar and the zones' own changes say of each time, worked out by hand."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace import schedules as door
from headrace.errors import ScheduleError
from headrace.model.schedules import Cron, Interval, RRule, Schedule, between, next_after, parse, to_json

UTC = timezone.utc
FAR = datetime(9990, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)


def utc(text: str) -> datetime:
    """Return a UTC moment written as ``2026-03-29 01:00``."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def shown(schedule: Schedule, after: str, limit: int) -> list[str]:
    """Return the next times after a moment (UTC) as day, clock and offset in the schedule's zone."""
    zone = ZoneInfo(schedule.timezone or "UTC")
    return [at.astimezone(zone).strftime("%d %H:%M %z") for at in between(schedule, utc(after), FAR, limit)]


# Cron over the changes of the clock. Berlin: 29 March 2026 02:00 +01 becomes 03:00 +02, 25 October 03:00 +02
# becomes 02:00 +01. New York: 8 March 02:00, 1 November 02:00. Lord Howe: 4 October 02:00 +10:30 becomes
# 02:30 +11; 5 April 02:00 +11 becomes 01:30 +10:30.


@pytest.mark.parametrize(
    ("cron", "zone", "after", "expected"),
    [
        # a fixed time that is skipped runs when the gap ends, once, and only that day
        ("30 2 * * *", "Europe/Berlin", "2026-03-28 12:00", ["29 03:00 +0200", "30 02:30 +0200"]),
        ("30 2 * * *", "America/New_York", "2026-03-07 12:00", ["08 03:00 -0400", "09 02:30 -0400"]),
        ("15 2 * * *", "Australia/Lord_Howe", "2026-10-03 12:00", ["04 02:30 +1100", "05 02:15 +1100"]),
        ("0,20,40 2 * * *", "Europe/Berlin", "2026-03-28 12:00", ["29 03:00 +0200", "30 02:00 +0200"]),
        ("0 2,3 * * *", "Europe/Berlin", "2026-03-28 12:00", ["29 03:00 +0200", "30 02:00 +0200"]),
        # a fixed time that is repeated runs the first time
        ("30 2 * * *", "Europe/Berlin", "2026-10-24 12:00", ["25 02:30 +0200", "26 02:30 +0100"]),
        ("30 1 * * *", "America/New_York", "2026-10-31 12:00", ["01 01:30 -0400", "02 01:30 -0500"]),
        ("45 1 * * *", "Australia/Lord_Howe", "2026-04-04 12:00", ["05 01:45 +1100", "06 01:45 +1030"]),
        # between the two 02:30 nothing is made up for
        ("30 2 * * *", "Europe/Berlin", "2026-10-25 00:45", ["26 02:30 +0100"]),
        ("30 2 * * *", "Europe/Berlin", "2026-10-25 01:15", ["26 02:30 +0100"]),
        # with a * in minute or hour it follows the clock: nothing in the gap, everything that is shown twice
        (
            "0 * * * *",
            "Europe/Berlin",
            "2026-03-28 23:30",
            ["29 01:00 +0100", "29 03:00 +0200", "29 04:00 +0200"],
        ),
        (
            "0 * * * *",
            "Europe/Berlin",
            "2026-10-24 23:30",
            ["25 02:00 +0200", "25 02:00 +0100", "25 03:00 +0100"],
        ),
        ("*/30 2 * * *", "Europe/Berlin", "2026-03-28 12:00", ["30 02:00 +0200", "30 02:30 +0200"]),
        (
            "*/30 2 * * *",
            "Europe/Berlin",
            "2026-10-24 12:00",
            ["25 02:00 +0200", "25 02:30 +0200", "25 02:00 +0100", "25 02:30 +0100", "26 02:00 +0100"],
        ),
        (
            "*/15 * * * *",
            "Australia/Lord_Howe",
            "2026-04-04 14:20",
            ["05 01:30 +1100", "05 01:45 +1100", "05 01:30 +1030", "05 01:45 +1030", "05 02:00 +1030"],
        ),
        ("0 */6 * * *", "Australia/Lord_Howe", "2026-04-04 14:00", ["05 06:00 +1030", "05 12:00 +1030"]),
        (
            "*/20 * * * *",
            "Australia/Lord_Howe",
            "2026-10-03 14:45",
            ["04 01:20 +1030", "04 01:40 +1030", "04 02:40 +1100"],
        ),
        # elsewhere the wall clock stays
        ("0 9 * * *", "America/New_York", "2026-03-07 12:00", ["07 09:00 -0500", "08 09:00 -0400"]),
        ("0 9 * * *", "America/New_York", "2026-10-31 12:00", ["31 09:00 -0400", "01 09:00 -0500"]),
    ],
)
def test_cron_over_a_change_of_the_clock(cron: str, zone: str, after: str, expected: list[str]) -> None:
    """The manual of vixie cron (Debian's cron(8)): changes of less than three hours are handled in a special way."""
    assert shown(Cron(cron, zone), after, len(expected)) == expected


def test_a_day_that_a_zone_skips_is_not_made_up_for() -> None:
    """Samoa had no 30 December 2011; a change of more than three hours is a new calendar, not a gap."""
    assert shown(Cron("0 9 * * *", "Pacific/Apia"), "2011-12-28 12:00", 3) == [
        "28 09:00 -1000",
        "29 09:00 -1000",
        "31 09:00 +1400",
    ]


# Cron's fields


@pytest.mark.parametrize(
    ("cron", "after", "expected"),
    [
        ("30 6 * * MON-FRI", "2026-11-20 07:00", ["11-23 06:30", "11-24 06:30"]),
        ("0 0 1 jan,Jul *", "2026-01-01 00:00", ["07-01 00:00", "01-01 00:00"]),
        ("5/20 3 * * *", "2026-01-01 00:00", ["01-01 03:05", "01-01 03:25", "01-01 03:45", "01-02 03:05"]),
        (
            "10-40/15 3 * * *",
            "2026-01-01 00:00",
            ["01-01 03:10", "01-01 03:25", "01-01 03:40", "01-02 03:10"],
        ),
        ("0 0 * * 6-7", "2026-11-20 00:00", ["11-21 00:00", "11-22 00:00", "11-28 00:00"]),
        ("0 0 * * fri-sun", "2026-11-19 00:00", ["11-20 00:00", "11-21 00:00", "11-22 00:00", "11-27 00:00"]),
        ("0 0 * * */2", "2026-11-22 00:00", ["11-24 00:00", "11-26 00:00", "11-28 00:00", "11-29 00:00"]),
        ("0 0 31 * *", "2026-01-31 00:00", ["03-31 00:00", "05-31 00:00", "07-31 00:00", "08-31 00:00"]),
        ("0 0 L * *", "2027-12-31 00:00", ["01-31 00:00", "02-29 00:00", "03-31 00:00", "04-30 00:00"]),
        ("0 0 * * 5L", "2026-10-31 00:00", ["11-27 00:00", "12-25 00:00", "01-29 00:00"]),
        ("0 0 * * MON#1", "2026-10-31 00:00", ["11-02 00:00", "12-07 00:00"]),
        ("0 0 ? * 1", "2026-11-23 00:00", ["11-30 00:00"]),
        ("@daily", "2026-11-23 12:00", ["11-24 00:00"]),
        ("@Weekly", "2026-11-23 12:00", ["11-29 00:00"]),
        ("@monthly", "2026-11-23 12:00", ["12-01 00:00"]),
        ("@yearly", "2026-11-23 12:00", ["01-01 00:00"]),
        ("@hourly", "2026-11-23 12:00", ["11-23 13:00"]),
        # either day field is enough (13th or Friday); a field that begins with * says nothing by itself
        ("0 0 13 * 5", "2026-11-01 00:00", ["11-06 00:00", "11-13 00:00", "11-20 00:00"]),
        ("0 0 */10 * 5", "2026-11-30 00:00", ["12-11 00:00", "01-01 00:00"]),
    ],
)
def test_cron_fields_mean_what_vixie_cron_says(cron: str, after: str, expected: list[str]) -> None:
    """Names, ranges, steps, lists, nicknames and the two day fields, in UTC."""
    found = between(Cron(cron), utc(after), FAR, len(expected))

    assert [at.strftime("%m-%d %H:%M") for at in found] == expected


def test_with_day_or_false_both_day_fields_must_fit() -> None:
    """Fridays the 13th of 2026 are in February, March and November."""
    found = between(Cron("0 0 13 * 5", day_or=False), utc("2026-01-01"), utc("2027-01-01"), 10)

    assert found == [utc("2026-02-13"), utc("2026-03-13"), utc("2026-11-13")]


def test_a_sixth_field_is_seconds() -> None:
    """As the field's own cron reads it: last, not first."""
    found = between(Cron("* * * * * */20"), utc("2026-01-01"), FAR, 4)

    assert [at.strftime("%M:%S") for at in found] == ["00:20", "00:40", "01:00", "01:20"]


def test_a_leap_day_is_found_across_a_century_that_has_none() -> None:
    """2096, then 2104. On a Sunday: 2088, and (five weekdays on every four years, two over 2100) 2128."""
    sundays = Cron("0 0 29 2 0", day_or=False)

    assert between(Cron("0 0 29 2 *"), utc("2095-01-01"), FAR, 2) == [utc("2096-02-29"), utc("2104-02-29")]
    assert between(sundays, utc("2088-01-01"), FAR, 2) == [utc("2088-02-29"), utc("2128-02-29")]


def test_far_years_end_quietly() -> None:
    """The last dates there are have no next time, and no error."""
    for schedule in (
        Cron("* * * * *"),
        Interval(DAY, utc("2020-01-01"), "Pacific/Apia"),
        RRule("FREQ=DAILY"),
    ):
        assert next_after(schedule, datetime(9999, 12, 31, 23, tzinfo=UTC)) is None
        assert next_after(schedule, utc("9990-06-01 12:00")) is not None
    assert next_after(Cron("* * * * *"), datetime(1, 1, 1, tzinfo=UTC)) is not None


@pytest.mark.parametrize(
    ("cron", "told"),
    [
        ("", "0 fields"),
        ("* * * *", "4 fields, not five"),
        ("* * * * * * *", "7 fields"),
        ("60 * * * *", "'60' is no minute (0-59)"),
        ("* 24 * * *", "'24' is no hour"),
        ("* * 0 * *", "'0' is no day of month"),
        ("* * * 13 *", "'13' is no month"),
        ("* * * * 8", "'8' is no day of week"),
        ("* * * foo *", "'foo' is no month"),
        ("*/0 * * * *", "a step of 0"),
        ("30-10 * * * *", "ends before it begins"),
        ("1,,2 * * * *", "'' says no minute"),
        ("-5 * * * *", "'-5' says no minute"),
        ("* ? * * *", "'?' says no hour"),
        ("@reboot", "@reboot is not one of @yearly"),
        ("0 0 30 2 *", "no time at all"),
        ("0 0 31 4,6,9,11 *", "no time at all"),
    ],
)
def test_what_is_no_cron_expression_is_refused_by_its_field(cron: str, told: str) -> None:
    """The message names what is wrong and shows a right one."""
    with pytest.raises(ScheduleError) as caught:
        Cron(cron)

    assert told in str(caught.value)
    assert caught.value.field == "cron"


@pytest.mark.parametrize(
    "zone", ["Mars/Olympus", "", "../../etc/passwd", "/etc/passwd", "Europe", "a" * 5000, "\0", "Ünï"]
)
def test_a_zone_that_does_not_exist_is_refused(zone: str) -> None:
    """Whatever the zone database itself raises for it."""
    with pytest.raises(ScheduleError, match="not a time zone") as caught:
        Cron("* * * * *", zone)

    assert caught.value.field == "timezone"


# Intervals


def test_an_interval_of_days_keeps_the_wall_clock() -> None:
    """24 hours and more are days of the calendar: 09:00 stays 09:00, in both changes."""
    daily = Interval(DAY, utc("2026-01-01 08:00"), "Europe/Berlin")

    assert shown(daily, "2026-03-28 00:00", 3) == ["28 09:00 +0100", "29 09:00 +0200", "30 09:00 +0200"]
    assert shown(daily, "2026-10-24 00:00", 3) == ["24 09:00 +0200", "25 09:00 +0100", "26 09:00 +0100"]


def test_an_interval_of_days_reads_a_skipped_time_with_the_offset_before() -> None:
    """02:30 in the gap is 03:30, and 02:15 on Lord Howe is 02:45."""
    berlin = Interval(DAY, utc("2026-01-01 01:30"), "Europe/Berlin")
    lord_howe = Interval(DAY, utc("2026-07-01 15:45"), "Australia/Lord_Howe")

    assert shown(berlin, "2026-03-28 12:00", 2) == ["29 03:30 +0200", "30 02:30 +0200"]
    assert shown(lord_howe, "2026-10-03 12:00", 2) == ["04 02:45 +1100", "05 02:15 +1100"]


@pytest.mark.parametrize(
    ("rule", "zone", "after", "expected"),
    [
        # a skipped time is read with the offset before the gap
        (
            "02:30",
            "Europe/Berlin",
            "2026-03-28 00:00",
            ["28 02:30 +0100", "29 03:30 +0200", "30 02:30 +0200"],
        ),
        (
            "02:30",
            "America/New_York",
            "2026-03-07 00:00",
            ["07 02:30 -0500", "08 03:30 -0400", "09 02:30 -0400"],
        ),
        (
            "02:15",
            "Australia/Lord_Howe",
            "2026-10-02 14:00",
            ["03 02:15 +1030", "04 02:45 +1100", "05 02:15 +1100"],
        ),
        # a repeated time is the first of the two
        (
            "02:30",
            "Europe/Berlin",
            "2026-10-23 22:00",
            ["24 02:30 +0200", "25 02:30 +0200", "26 02:30 +0100"],
        ),
        (
            "01:30",
            "America/New_York",
            "2026-10-31 04:00",
            ["31 01:30 -0400", "01 01:30 -0400", "02 01:30 -0500"],
        ),
        (
            "01:45",
            "Australia/Lord_Howe",
            "2026-04-03 14:00",
            ["04 01:45 +1100", "05 01:45 +1100", "06 01:45 +1030"],
        ),
    ],
)
def test_days_of_the_calendar_over_both_changes_in_three_zones(
    rule: str, zone: str, after: str, expected: list[str]
) -> None:
    """RFC 5545, 3.3.5, for a recurrence rule and for an interval of a day alike."""
    hour, minute = rule.split(":")
    start = datetime(2026, 1, 1, int(hour), int(minute), tzinfo=ZoneInfo(zone))
    recurring = RRule(f"DTSTART:{start:%Y%m%dT%H%M%S}\nRRULE:FREQ=DAILY", zone)

    assert shown(Interval(DAY, start, zone), after, 3) == expected
    assert shown(recurring, after, 3) == expected


def test_leap_days_and_month_ends() -> None:
    """2028 is a leap year, 2026 and 2100 are none; a rule for the 31st passes shorter months by."""
    ends = RRule("DTSTART:20260101T000000\nRRULE:FREQ=MONTHLY;BYMONTHDAY=-1")
    thirty_first = RRule("DTSTART:20260131T000000\nRRULE:FREQ=MONTHLY")
    daily = Interval(DAY, utc("2026-01-01"), "Europe/Berlin")

    assert between(ends, utc("2028-01-31"), FAR, 2) == [utc("2028-02-29"), utc("2028-03-31")]
    assert between(ends, utc("2026-01-31"), FAR, 2) == [utc("2026-02-28"), utc("2026-03-31")]
    assert between(ends, utc("2100-01-31"), FAR, 1) == [utc("2100-02-28")]
    assert between(thirty_first, utc("2026-01-31"), FAR, 3) == [
        utc("2026-03-31"), utc("2026-05-31"), utc("2026-07-31"),
    ]  # fmt: skip
    assert between(daily, utc("2028-02-28"), FAR, 2) == [utc("2028-02-29"), utc("2028-03-01")]
    assert between(Cron("0 0 L 2 *"), utc("2026-01-01"), FAR, 3) == [
        utc("2026-02-28"), utc("2027-02-28"), utc("2028-02-29"),
    ]  # fmt: skip


def test_a_shorter_interval_is_time_that_passes() -> None:
    """Every 12 hours is 12 hours, whatever the clock shows; every hour is every hour."""
    half_days = Interval(timedelta(hours=12), utc("2026-01-01 08:00"), "America/New_York")
    hourly = Interval(timedelta(hours=1), utc("2026-01-01"), "Europe/Berlin")

    assert shown(half_days, "2026-03-07 21:00", 2) == ["08 04:00 -0400", "08 16:00 -0400"]
    assert shown(hourly, "2026-10-24 23:30", 3) == ["25 02:00 +0200", "25 02:00 +0100", "25 03:00 +0100"]


def test_an_anchor_fixes_the_phase_and_is_no_start() -> None:
    """Times lie before it too; and the time looked from is itself never the answer."""
    weekly = Interval(7 * DAY, utc("2030-01-01 12:00"))

    assert next_after(weekly, utc("2029-12-20")) == utc("2029-12-25 12:00")
    assert next_after(weekly, utc("2029-12-25 12:00")) == utc("2030-01-01 12:00")


@pytest.mark.parametrize("interval", [timedelta(0), timedelta(seconds=-1), timedelta(days=400_000)])
def test_an_interval_has_a_length(interval: timedelta) -> None:
    """Above nothing, and below a thousand years."""
    with pytest.raises(ScheduleError, match="more than 0 and at most"):
        Interval(interval, utc("2026-01-01"))


# On the wire


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        ({"cron": "0 6 * * *"}, Cron("0 6 * * *")),
        (
            {"cron": "@daily", "timezone": "Europe/Berlin", "day_or": False},
            Cron("@daily", "Europe/Berlin", False),
        ),
        ({"rrule": "FREQ=DAILY", "timezone": "UTC"}, RRule("FREQ=DAILY", "UTC")),
        (
            {"interval": 3600.5, "anchor_date": "2026-01-01T01:00:00+01:00", "timezone": None},
            Interval(timedelta(seconds=3600.5), utc("2026-01-01")),
        ),
        (
            {"interval": "PT1H30M", "anchor_date": "2026-07-01T02:00:00", "timezone": "Europe/Berlin"},
            Interval(timedelta(hours=1.5), utc("2026-07-01"), "Europe/Berlin"),
        ),
        ({"interval": "01:30:00"}, Interval(timedelta(hours=1.5), utc("2026-05-05"))),
        ({"interval": "P2D", "anchor_date": None}, Interval(2 * DAY, utc("2026-05-05"))),
        ({"interval": "90"}, Interval(timedelta(seconds=90), utc("2026-05-05"))),
    ],
)
def test_the_contracts_shapes_are_read_and_written(document: dict[str, object], expected: Schedule) -> None:
    """And what is written is read back as the same."""
    schedule = parse(document, now=utc("2026-05-05"))

    assert schedule == expected
    assert parse(to_json(schedule)) == schedule


def test_an_interval_is_written_in_seconds_with_its_anchor_in_utc() -> None:
    """The contract's own form."""
    schedule = parse(
        {"interval": 60, "anchor_date": "2026-01-01T01:00:00+01:00", "timezone": "Europe/Berlin"}
    )

    assert to_json(schedule) == {
        "interval": 60.0,
        "anchor_date": "2026-01-01T00:00:00.000000Z",
        "timezone": "Europe/Berlin",
    }


@pytest.mark.parametrize(
    ("document", "told", "field"),
    [
        ([], "an object with one of", None),
        ({}, "none of them", None),
        ({"cron": "@daily", "rrule": "FREQ=DAILY"}, "cron and rrule", None),
        ({"cron": "@daily", "day": 1}, "knows no 'day'", "day"),
        ({"cron": 5}, "cron is 5; it must be text", "cron"),
        ({"cron": "@daily", "day_or": "yes"}, "day_or is 'yes'", "day_or"),
        ({"cron": "@daily", "timezone": 7}, "timezone is 7", "timezone"),
        ({"rrule": None}, "rrule is None", "rrule"),
        ({"interval": True}, "interval is True", "interval"),
        ({"interval": "often"}, "interval is 'often'", "interval"),
        ({"interval": float("nan")}, "interval is nan", "interval"),
        ({"interval": 1e300}, "interval is 1e+300", "interval"),
        ({"interval": 0, "anchor_date": "2026-01-01T00:00:00Z"}, "more than 0", "interval"),
        ({"interval": 60}, "needs an anchor_date", "anchor_date"),
        ({"interval": 60, "anchor_date": "yesterday"}, "anchor_date is 'yesterday'", "anchor_date"),
    ],
)
def test_what_is_no_schedule_is_refused_by_the_name_of_its_field(
    document: object, told: str, field: str | None
) -> None:
    """So that an answer of 422 can point at it."""
    with pytest.raises(ScheduleError) as caught:
        parse(document)

    assert told in str(caught.value)
    assert caught.value.field == field


def test_a_time_without_zone_is_no_moment() -> None:
    """It is refused rather than guessed."""
    with pytest.raises(ScheduleError, match="has no zone"):
        next_after(Cron("@daily"), datetime(2026, 1, 1))


def test_the_public_door_makes_the_same_schedules() -> None:
    """With what the runs are given beside the times."""
    daily = door.Cron("@daily", timezone="Europe/Berlin", parameters={"n": 1}, slug="nightly")
    often = door.Interval(timedelta(minutes=5), anchor_date=utc("2026-01-01"))

    assert daily.rule == Cron("@daily", "Europe/Berlin")
    assert (daily.parameters, daily.slug, daily.active) == ({"n": 1}, "nightly", True)
    assert often.next_after(utc("2026-01-01")) == utc("2026-01-01 00:05")
    assert door.RRule("FREQ=DAILY").rule == RRule("FREQ=DAILY")
    with pytest.raises(ScheduleError, match="cron and interval"):
        door.Schedule(cron="@daily", interval=DAY)


# Properties

ZONES = ["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kolkata"]


def fields(low: int, high: int) -> st.SearchStrategy[str]:
    """A cron field: every value, a step, a number or a range."""
    numbers = st.integers(low, high)
    ranges = st.tuples(numbers, numbers).map(lambda pair: f"{min(pair)}-{max(pair)}")
    return st.one_of(st.just("*"), st.integers(2, 9).map(lambda n: f"*/{n}"), numbers.map(str), ranges)


crons = st.tuples(fields(0, 59), fields(0, 23), fields(1, 28), fields(1, 12), fields(0, 6)).map(" ".join)
intervals = st.timedeltas(timedelta(seconds=1), timedelta(days=40)).map(
    lambda step: Interval(step, utc("2026-03-01 01:30"), "Europe/Berlin")
)
schedules = st.one_of(st.builds(Cron, crons, st.sampled_from(ZONES), st.just(True)), intervals)
#: Days around the changes of 2026, and any other.
starts = st.one_of(
    st.sampled_from(["2026-03-28", "2026-10-24", "2026-03-07", "2026-10-31", "2026-04-04", "2026-10-03"]).map(
        utc
    ),
    st.datetimes(datetime(2000, 1, 1), datetime(2040, 1, 1), timezones=st.just(UTC)),
)


@given(schedules, starts)
def test_times_rise_and_each_follows_from_the_one_before(schedule: Schedule, start: datetime) -> None:
    """``between`` is ``next_after`` again and again, and a microsecond before a time comes that time."""
    found = between(schedule, start, FAR, 8)

    at: datetime | None = start
    for expected in found:
        assert at is not None and at < expected
        at = next_after(schedule, at)
        assert at == expected
        assert next_after(schedule, expected - timedelta(microseconds=1)) == expected


@settings(max_examples=40)
@given(
    crons, st.sampled_from(["UTC", "Asia/Kolkata"]), st.datetimes(datetime(2020, 1, 1), datetime(2030, 1, 1))
)
def test_where_no_clock_is_changed_cron_names_just_the_minutes_that_fit(
    cron: str, zone: str, day: datetime
) -> None:
    """Against a look at each minute of two days, by the fields read a second time in the plainest way."""
    start = day.replace(tzinfo=UTC, second=0, microsecond=0)
    minutes = [start + timedelta(minutes=n) for n in range(1, 2881)]
    expected = [at for at in minutes if fits(cron, at.astimezone(ZoneInfo(zone)))]

    assert between(Cron(cron, zone), start, minutes[-1], 3000) == expected


@given(crons, st.sampled_from(ZONES), starts)
def test_what_follows_the_clock_shows_its_fields(cron: str, zone: str, start: datetime) -> None:
    """With ``*`` in minute or hour, each time matches its fields on the local clock, in every zone."""
    minute, rest = cron.split(" ", 1)
    cron = cron if minute.startswith("*") else f"*/7 {rest}"

    for at in between(Cron(cron, zone), start, FAR, 30):
        assert fits(cron, at.astimezone(ZoneInfo(zone)))


def fits(cron: str, local: datetime) -> bool:
    """Tell whether a local time fits a cron expression, as the manual says it."""
    minute, hour, day, month, weekday = cron.split()
    in_month, in_week = has(day, local.day, 1), has(weekday, local.isoweekday() % 7, 0)
    starred = day.startswith("*") or weekday.startswith("*")
    right_day = in_month and in_week if starred else in_month or in_week
    return (
        has(minute, local.minute, 0) and has(hour, local.hour, 0) and has(month, local.month, 1) and right_day
    )


def has(field: str, value: int, low: int) -> bool:
    """Tell whether one field of the made-up expressions has the value."""
    if field.startswith("*"):
        return (value - low) % int(field[2:] or 1) == 0
    first, _, last = field.partition("-")
    return int(first) <= value <= int(last or first)
