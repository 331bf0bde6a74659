"""Recurrence rules: the examples of RFC 5545 (3.8.5.3) with the answers that it prints, and what it forbids."""

from __future__ import annotations

import time
from datetime import datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.errors import ScheduleError
from headrace.model.schedules import RRule, between, next_after

UTC = timezone.utc
NEW_YORK = ZoneInfo("America/New_York")

# start | rule | the days that the RFC lists ("1997: 9/2 ..."), each at 09:00 in New York
EXAMPLES = """
19970902 | FREQ=DAILY;COUNT=10 | 1997: 9/2 9/3 9/4 9/5 9/6 9/7 9/8 9/9 9/10 9/11
19970902 | FREQ=DAILY;INTERVAL=2 | 1997: 9/2 9/4 9/6 9/8
19970902 | FREQ=DAILY;INTERVAL=10;COUNT=5 | 1997: 9/2 9/12 9/22 10/2 10/12
19970902 | FREQ=WEEKLY;COUNT=10 | 1997: 9/2 9/9 9/16 9/23 9/30 10/7 10/14 10/21 10/28 11/4
19970902 | FREQ=WEEKLY;INTERVAL=2;WKST=SU | 1997: 9/2 9/16 9/30 10/14 10/28 11/11 11/25 12/9 12/23
19970902 | FREQ=WEEKLY;COUNT=10;WKST=SU;BYDAY=TU,TH | 1997: 9/2 9/4 9/9 9/11 9/16 9/18 9/23 9/25 9/30 10/2
19970901 | FREQ=WEEKLY;INTERVAL=2;UNTIL=19971224T000000Z;WKST=SU;BYDAY=MO,WE,FR | 1997: 9/1 9/3 9/5 9/15 9/17 9/19 9/29 10/1 10/3 10/13 10/15 10/17 10/27 10/29 10/31 11/10 11/12 11/14 11/24 11/26 11/28 12/8 12/10 12/12 12/22
19970902 | FREQ=WEEKLY;INTERVAL=2;COUNT=8;WKST=SU;BYDAY=TU,TH | 1997: 9/2 9/4 9/16 9/18 9/30 10/2 10/14 10/16
19970905 | FREQ=MONTHLY;COUNT=10;BYDAY=1FR | 1997: 9/5 10/3 11/7 12/5 1998: 1/2 2/6 3/6 4/3 5/1 6/5
19970907 | FREQ=MONTHLY;INTERVAL=2;COUNT=10;BYDAY=1SU,-1SU | 1997: 9/7 9/28 11/2 11/30 1998: 1/4 1/25 3/1 3/29 5/3 5/31
19970922 | FREQ=MONTHLY;COUNT=6;BYDAY=-2MO | 1997: 9/22 10/20 11/17 12/22 1998: 1/19 2/16
19970928 | FREQ=MONTHLY;BYMONTHDAY=-3 | 1997: 9/28 10/29 11/28 12/29 1998: 1/29 2/26
19970902 | FREQ=MONTHLY;COUNT=10;BYMONTHDAY=2,15 | 1997: 9/2 9/15 10/2 10/15 11/2 11/15 12/2 12/15 1998: 1/2 1/15
19970930 | FREQ=MONTHLY;COUNT=10;BYMONTHDAY=1,-1 | 1997: 9/30 10/1 10/31 11/1 11/30 12/1 12/31 1998: 1/1 1/31 2/1
19970910 | FREQ=MONTHLY;INTERVAL=18;COUNT=10;BYMONTHDAY=10,11,12,13,14,15 | 1997: 9/10 9/11 9/12 9/13 9/14 9/15 1999: 3/10 3/11 3/12 3/13
19970610 | FREQ=YEARLY;COUNT=10;BYMONTH=6,7 | 1997: 6/10 7/10 1998: 6/10 7/10 1999: 6/10 7/10 2000: 6/10 7/10 2001: 6/10 7/10
19970101 | FREQ=YEARLY;INTERVAL=3;COUNT=10;BYYEARDAY=1,100,200 | 1997: 1/1 4/10 7/19 2000: 1/1 4/9 7/18 2003: 1/1 4/10 7/19 2006: 1/1
19970519 | FREQ=YEARLY;BYDAY=20MO | 1997: 5/19 1998: 5/18 1999: 5/17
19970512 | FREQ=YEARLY;BYWEEKNO=20;BYDAY=MO | 1997: 5/12 1998: 5/11 1999: 5/17
19970313 | FREQ=YEARLY;BYMONTH=3;BYDAY=TH | 1997: 3/13 3/20 3/27 1998: 3/5 3/12 3/19 3/26 1999: 3/4 3/11 3/18 3/25
19970902 | FREQ=MONTHLY;BYDAY=FR;BYMONTHDAY=13 | 1998: 2/13 3/13 11/13 1999: 8/13 2000: 10/13
19970913 | FREQ=MONTHLY;BYDAY=SA;BYMONTHDAY=7,8,9,10,11,12,13 | 1997: 9/13 10/11 11/8 12/13 1998: 1/10 2/7 3/7 4/11 5/9 6/13
19961105 | FREQ=YEARLY;INTERVAL=4;BYMONTH=11;BYDAY=TU;BYMONTHDAY=2,3,4,5,6,7,8 | 1996: 11/5 2000: 11/7 2004: 11/2
19970904 | FREQ=MONTHLY;COUNT=3;BYDAY=TU,WE,TH;BYSETPOS=3 | 1997: 9/4 10/7 11/6
19970929 | FREQ=MONTHLY;BYDAY=MO,TU,WE,TH,FR;BYSETPOS=-2 | 1997: 9/29 10/30 11/27 12/30 1998: 1/29 2/26 3/30
19970805 | FREQ=WEEKLY;INTERVAL=2;COUNT=4;BYDAY=TU,SU;WKST=MO | 1997: 8/5 8/10 8/19 8/24
19970805 | FREQ=WEEKLY;INTERVAL=2;COUNT=4;BYDAY=TU,SU;WKST=SU | 1997: 8/5 8/17 8/19 8/31
20070115 | FREQ=MONTHLY;BYMONTHDAY=15,30;COUNT=5 | 2007: 1/15 1/30 2/15 3/15 3/30
"""  # a table reads whole


def examples() -> list[tuple[str, str, list[datetime]]]:
    """Return (start, rule, its times) of each line of the table."""
    table = []
    for line in EXAMPLES.strip().splitlines():
        start, rule, listed = (cell.strip() for cell in line.split("|"))
        year, days = 0, []
        for word in listed.split():
            if word.endswith(":"):
                year = int(word[:-1])
            else:
                month, day = (int(number) for number in word.split("/"))
                days.append(datetime(year, month, day, 9, tzinfo=NEW_YORK).astimezone(UTC))
        table.append((start, rule, days))
    return table


def times(text: str, limit: int = 1000, zone: str | None = None) -> list[datetime]:
    """Return the first times of a rule."""
    return between(
        RRule(text, zone), datetime(1990, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC), limit
    )


def clocks(text: str, limit: int = 1000) -> list[str]:
    """Return the first times of a rule as New York's clock shows them."""
    return [at.astimezone(NEW_YORK).strftime("%m-%d %H:%M") for at in times(text, limit)]


def begun(rule: str, start: str = "19970902T090000") -> str:
    """Return the rule with its start in New York, as the RFC writes its examples."""
    return f"DTSTART;TZID=America/New_York:{start}\nRRULE:{rule}"


@pytest.mark.parametrize(("start", "rule", "days"), examples())
def test_the_examples_of_the_rfc_come_out_as_it_prints_them(
    start: str, rule: str, days: list[datetime]
) -> None:
    """Through the change of 26 October 1997 too: 09:00 stays 09:00."""
    counted = "COUNT" in rule or "UNTIL" in rule
    found = times(begun(rule, f"{start}T090000"), limit=1000 if counted else len(days))

    assert found == days


@pytest.mark.parametrize(("start", "rule", "days"), examples())
def test_a_rule_may_be_entered_at_any_point(start: str, rule: str, days: list[datetime]) -> None:
    """COUNT, INTERVAL and BYSETPOS count from DTSTART, wherever one begins to look."""
    schedule = RRule(begun(rule, f"{start}T090000"))

    assert [next_after(schedule, day) for day in days[:-1]] == days[1:]


def test_until_is_a_moment_and_is_included() -> None:
    """24 December 00:00 UTC is before that day's 09:00; 31 January 14:00 UTC is 09:00 in New York."""
    daily = times(begun("FREQ=DAILY;UNTIL=19971224T000000Z"))
    januaries = times(
        begun("FREQ=YEARLY;UNTIL=20000131T140000Z;BYMONTH=1;BYDAY=SU,MO,TU,WE,TH,FR,SA", "19980101T090000")
    )

    assert len(daily) == 29 + 31 + 30 + 23
    assert daily[-1] == datetime(1997, 12, 23, 14, tzinfo=UTC)
    assert len(januaries) == 3 * 31
    assert januaries[-1] == datetime(2000, 1, 31, 14, tzinfo=UTC)


def test_frequencies_of_the_clock_keep_step_with_the_start() -> None:
    """The RFC's examples of hours and minutes."""
    assert clocks(begun("FREQ=HOURLY;INTERVAL=3;UNTIL=19970902T170000Z")) == ["09-02 09:00", "09-02 12:00"]
    assert clocks(begun("FREQ=MINUTELY;INTERVAL=15;COUNT=6")) == [
        f"09-02 {clock}" for clock in ("09:00", "09:15", "09:30", "09:45", "10:00", "10:15")
    ]
    assert clocks(begun("FREQ=MINUTELY;INTERVAL=90;COUNT=4")) == [
        f"09-02 {clock}" for clock in ("09:00", "10:30", "12:00", "13:30")
    ]


def test_two_ways_to_write_the_same_times_agree() -> None:
    """Every 20 minutes from 9:00 to 16:40, as days with times and as minutes within hours (the RFC's example)."""
    hours = "BYHOUR=9,10,11,12,13,14,15,16"
    daily = times(begun(f"FREQ=DAILY;{hours};BYMINUTE=0,20,40"), 100)

    assert times(begun(f"FREQ=MINUTELY;INTERVAL=20;{hours}"), 100) == daily
    assert daily[23:25] == [datetime(1997, 9, 2, 20, 40, tzinfo=UTC), datetime(1997, 9, 3, 13, 0, tzinfo=UTC)]


def test_dates_are_added_and_taken_out() -> None:
    """RDATE and EXDATE name moments; each line of them may stand more than once, and none counts twice."""
    text = begun("FREQ=DAILY;COUNT=3") + (
        "\nEXDATE;TZID=America/New_York:19970903T090000\nEXDATE:19970904T130000Z"
        "\nRDATE:19970902T130000Z,19970910T120000Z"
    )

    assert clocks(text) == ["09-02 09:00", "09-10 08:00"]


def test_several_rules_are_one_schedule() -> None:
    """Their times are put together in order, one that both name once."""
    text = begun("FREQ=DAILY;COUNT=3") + "\nRRULE:FREQ=DAILY;INTERVAL=2;BYHOUR=9,10;COUNT=4"

    assert clocks(text) == ["09-02 09:00", "09-02 10:00", "09-03 09:00", "09-04 09:00", "09-04 10:00"]


def test_a_skipped_time_is_read_with_the_offset_before_and_a_repeated_one_is_the_first() -> None:
    """RFC 5545, 3.3.5: 02:30 on 29 March 2026 in Berlin is 01:30 UTC, 02:30 on 25 October is 00:30 UTC."""
    spring = times("DTSTART:20260328T023000\nRRULE:FREQ=DAILY;COUNT=3", zone="Europe/Berlin")
    autumn = times("DTSTART:20261024T023000\nRRULE:FREQ=DAILY;COUNT=3", zone="Europe/Berlin")

    assert [f"{at:%d %H:%M}" for at in spring] == ["28 01:30", "29 01:30", "30 00:30"]
    assert [f"{at:%d %H:%M}" for at in autumn] == ["24 00:30", "25 00:30", "26 01:30"]


def test_times_that_the_change_puts_out_of_order_come_in_order_and_once() -> None:
    """02:00 and 02:30 are read as 03:00 and 03:30 on the day of the gap, where 03:00 and 03:30 stand already."""
    text = "DTSTART:20260329T010000\nRRULE:FREQ=DAILY;BYHOUR=1,2,3,4;BYMINUTE=0,30;COUNT=8"
    found = [at.astimezone(ZoneInfo("Europe/Berlin")) for at in times(text, zone="Europe/Berlin")]

    assert [f"{at:%H:%M}" for at in found] == ["01:00", "01:30", "03:00", "03:30", "04:00", "04:30"]


def test_a_leap_day_comes_in_leap_years() -> None:
    """Not in 2100; and a yearly rule that begins on one waits four years, or eight."""
    schedule = RRule("DTSTART:20920229T120000\nRRULE:FREQ=YEARLY")

    assert next_after(schedule, datetime(2092, 3, 1, tzinfo=UTC)) == datetime(2096, 2, 29, 12, tzinfo=UTC)
    assert next_after(schedule, datetime(2096, 3, 1, tzinfo=UTC)) == datetime(2104, 2, 29, 12, tzinfo=UTC)


def test_a_rule_that_names_no_start_counts_from_2020_in_its_zone() -> None:
    """The contract's start: midnight, on a Wednesday."""
    schedule = RRule("FREQ=WEEKLY", "Europe/Berlin")

    assert next_after(schedule, datetime(2026, 7, 1, tzinfo=UTC)) == datetime(2026, 7, 7, 22, tzinfo=UTC)


def test_a_rule_ends() -> None:
    """``None`` says that there is no further time."""
    schedule = RRule("DTSTART:20260101T000000Z\nRRULE:FREQ=DAILY;COUNT=2")

    assert next_after(schedule, datetime(2026, 1, 1, tzinfo=UTC)) == datetime(2026, 1, 2, tzinfo=UTC)
    assert next_after(schedule, datetime(2026, 1, 2, tzinfo=UTC)) is None


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("FREQ=SECONDLY", datetime(2026, 1, 1, 0, 0, 1, tzinfo=UTC)),
        ("FREQ=MINUTELY;INTERVAL=7", datetime(2026, 1, 1, 0, 1, tzinfo=UTC)),
        ("FREQ=DAILY;INTERVAL=2", datetime(2026, 1, 1 + 1, tzinfo=UTC)),
    ],
)
def test_looking_far_from_the_start_is_as_quick_as_near_it(rule: str, expected: datetime) -> None:
    """A rule is entered by arithmetic, not walked from its start in 1950: 2.4 thousand million seconds ago."""
    began = time.process_time()
    found = next_after(RRule(f"DTSTART:19500101T000000Z\nRRULE:{rule}"), datetime(2026, 1, 1, tzinfo=UTC))

    assert found is not None
    assert time.process_time() - began < 1
    if "INTERVAL" not in rule:
        assert found == expected
    else:
        unit, step = (60, 7) if "MINUTELY" in rule else (86400, 2)
        gone = (found - datetime(1950, 1, 1, tzinfo=UTC)) // timedelta(seconds=unit)
        assert gone % step == 0
        assert found - datetime(2026, 1, 1, tzinfo=UTC) <= timedelta(seconds=unit * step)


@pytest.mark.parametrize("freq", ["YEARLY", "MONTHLY", "DAILY", "HOURLY", "MINUTELY", "SECONDLY"])
def test_a_rule_without_any_time_is_refused_and_not_searched_for_ever(freq: str) -> None:
    """There is no 30 February, however long one looks."""
    began = time.process_time()
    with pytest.raises(ScheduleError, match="no time at all") as caught:
        RRule(f"FREQ={freq};BYMONTH=2;BYMONTHDAY=30")

    assert caught.value.field == "rrule"
    assert time.process_time() - began < 10


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "neither RRULE nor RDATE"),
        ("FREQ=FORTNIGHTLY", "FREQ is 'FORTNIGHTLY'"),
        ("BYDAY=MO", "says no FREQ"),
        ("FREQ=DAILY;BYHOUR=24", "BYHOUR is '24'; it may be 0 to 23"),
        ("FREQ=DAILY;INTERVAL=0", "INTERVAL is '0'"),
        ("FREQ=DAILY;COUNT=2;UNTIL=20300101T000000Z", "both COUNT and UNTIL"),
        ("FREQ=DAILY;COUNT=2;COUNT=3", "COUNT twice"),
        ("FREQ=DAILY;UNTIL=tomorrow", "'TOMORROW' is no time"),
        ("FREQ=DAILY;UNTIL=20300231T000000Z", "day is out of range"),
        ("FREQ=WEEKLY;BYDAY=2MO", "needs FREQ=MONTHLY or YEARLY"),
        ("FREQ=WEEKLY;BYDAY=MONDAY", "BYDAY is 'MONDAY'"),
        ("FREQ=MONTHLY;BYMONTHDAY=0", "BYMONTHDAY is '0'"),
        ("FREQ=MONTHLY;BYWEEKNO=4", "BYWEEKNO needs FREQ=YEARLY"),
        ("FREQ=MONTHLY;BYSETPOS=1", "BYSETPOS needs another BY part"),
        ("FREQ=DAILY;BYMOON=FULL", "BYMOON=FULL is not a part"),
        ("FREQ=DAILY;BYHOUR", "'BYHOUR' is not NAME=VALUE"),
        ("DTSTART:20260101T000000Z", "neither RRULE nor RDATE"),
        ("DTSTART:20260101T000000Z\nDTSTART:20260101T000000Z\nRRULE:FREQ=DAILY", "more than one DTSTART"),
        ("RRULE:FREQ=DAILY\nEXRULE:FREQ=WEEKLY", "EXRULE was withdrawn"),
        ("SUMMARY:stand-up\nRRULE:FREQ=DAILY", "'SUMMARY' is not a line"),
        ("DTSTART;TZID=Mars/Olympus:20260101T000000\nRRULE:FREQ=DAILY", "not a time zone"),
        ("FREQ=DAILY;COUNT=100001", "COUNT is '100001'"),
    ],
)
def test_a_text_that_is_no_rule_is_refused_by_name(text: str, told: str) -> None:
    """The message says which part and what it may be."""
    with pytest.raises(ScheduleError) as caught:
        RRule(text)

    assert told in str(caught.value)


def test_a_text_may_have_6500_characters() -> None:
    """The contract's limit, to the character."""
    text = "RRULE:FREQ=DAILY\nRDATE:" + ",".join(["20260101T000000Z"] * 380)
    text += "\n" * (6500 - len(text))

    assert RRule(text).rrule == text
    with pytest.raises(ScheduleError, match="6501 characters; 6500 are allowed"):
        RRule(text + "\n")


@st.composite
def rules(draw: st.DrawFn) -> str:
    """A rule of days with any of the parts that narrow them, from a start in 2020 to 2025."""
    parts = [f"FREQ={draw(st.sampled_from(['YEARLY', 'MONTHLY', 'WEEKLY', 'DAILY', 'HOURLY', 'MINUTELY']))}"]
    parts.append(f"INTERVAL={draw(st.integers(1, 5))}")
    for name, low, high in (("BYMONTH", 1, 12), ("BYHOUR", 0, 23), ("BYMINUTE", 0, 59)):
        if draw(st.booleans()):
            parts.append(
                f"{name}={','.join(map(str, draw(st.sets(st.integers(low, high), min_size=1, max_size=4))))}"
            )
    if draw(st.booleans()):
        parts.append(
            "BYDAY=" + ",".join(draw(st.sets(st.sampled_from(["MO", "WE", "SA", "SU"]), min_size=1)))
        )
    start = draw(st.datetimes(datetime(2020, 1, 1), datetime(2025, 12, 31)))
    return f"DTSTART:{start:%Y%m%dT%H%M%S}\nRRULE:{';'.join(parts)}"


@given(
    rules(),
    st.datetimes(datetime(2019, 1, 1), datetime(2030, 1, 1)),
    st.sampled_from(["UTC", "Europe/Berlin"]),
)
def test_times_rise_and_each_follows_from_the_one_before(text: str, moment: datetime, zone: str) -> None:
    """``between`` is ``next_after`` again and again, and nothing lies between a time and the one before it."""
    try:
        schedule = RRule(text, zone)
    except ScheduleError as error:  # a step that never meets its hours has no time, and says so
        assert "no time at all" in str(error)
        return
    start = moment.replace(tzinfo=UTC)
    found = between(schedule, start, datetime(2200, 1, 1, tzinfo=UTC), 6)

    at: datetime | None = start
    for expected in found:
        assert at is not None and at < expected
        at = next_after(schedule, at)
        assert at == expected
        assert next_after(schedule, expected - timedelta(microseconds=1)) == expected
