"""Planning: which times of a schedule are planned, whenever the scheduler looks and whatever it has missed."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.model.planning import Catchup, Plan, Reach, plan, stale
from headrace.model.schedules import Cron, Interval, RRule, Schedule, between

UTC = timezone.utc
NOW = datetime(2026, 3, 28, 12, 0, 30, tzinfo=UTC)
FAR = datetime(9990, 1, 1, tzinfo=UTC)
HOUR, SECOND = timedelta(hours=1), timedelta(seconds=1)
REACH = Reach()

ENDING = RRule("DTSTART:20260328T120000Z\nRRULE:FREQ=MINUTELY;INTERVAL=17;COUNT=40")
SCHEDULES = [
    Cron("* * * * *"),
    Cron("*/10 * * * *", "Europe/Berlin"),
    Cron("0 6 * * *", "America/New_York"),
    Cron("0-59/2 8 * * *"),
    Cron("0 0 29 2 *"),
    Cron("30 2 * * *", "Europe/Berlin"),
    Interval(SECOND, NOW),
    Interval(timedelta(seconds=7.5), NOW),
    Interval(timedelta(milliseconds=300), NOW),
    Interval(timedelta(minutes=50), NOW),
    Interval(timedelta(days=1), NOW, "Australia/Lord_Howe"),
    ENDING,
    RRule("DTSTART:20200101T000000Z\nRRULE:FREQ=DAILY;COUNT=3"),
]
schedules = st.sampled_from(SCHEDULES)
reaches = st.builds(
    Reach,
    horizon=st.sampled_from([timedelta(minutes=1), HOUR, timedelta(days=2)]),
    least=st.integers(1, 5),
    most=st.integers(5, 100),
)
limits = st.none() | st.integers(1, 8)


def minutes(text: str) -> list[datetime]:
    """Return moments of the day of NOW written as ``12:01 12:02``."""
    return [datetime.fromisoformat(f"2026-03-28 {one}").replace(tzinfo=UTC) for one in text.split()]


# What is ahead


def test_a_daily_schedule_has_three_runs_planned_and_some_to_spare() -> None:
    """However far ahead they are; the next look is when there would be fewer than three."""
    found = plan(Cron("0 6 * * *"), NOW, NOW, REACH)

    assert [at.day for at in found.times] == [29, 30, 31, 1, 2]
    assert found.until == found.times[-1]
    assert found.again == found.times[2]


def test_all_times_within_the_horizon_are_planned() -> None:
    """An hour and a half at first; again when that is an hour and the next time comes into it."""
    found = plan(Cron("*/10 * * * *"), NOW, NOW, REACH)

    assert found.times == minutes("12:10 12:20 12:30 12:40 12:50 13:00 13:10 13:20 13:30")
    assert found.again == minutes("12:40")[0]


def test_no_more_than_a_hundred_are_planned_of_a_busy_one() -> None:
    """And more when half of them have passed."""
    found = plan(Interval(SECOND, NOW), NOW, NOW, REACH)

    assert len(found.times) == 100
    assert found.again == NOW + 50 * SECOND


def test_a_schedule_may_limit_how_many_of_its_runs_wait() -> None:
    """What is planned already counts."""
    first = plan(Cron("* * * * *"), NOW, NOW, REACH, 2)
    later = plan(Cron("* * * * *"), first.until, NOW + timedelta(minutes=1), REACH, 2)

    assert first.times == minutes("12:01 12:02")
    assert first.again == minutes("12:01")[0]
    assert later.times == minutes("12:03")


def test_a_schedule_that_has_ended_is_not_looked_at_again() -> None:
    """Nor one whose last times are planned."""
    over = plan(SCHEDULES[-1], NOW, NOW, REACH)
    soon = plan(RRule("DTSTART:20260328T120000Z\nRRULE:FREQ=HOURLY;COUNT=3"), NOW, NOW, REACH)

    assert over == Plan([], NOW, None)
    assert (soon.times, soon.again) == (minutes("13:00 14:00"), None)


@given(schedules, reaches, limits, st.lists(st.floats(0, 3), min_size=1, max_size=12))
def test_whenever_it_looks_in_time_each_time_is_planned_once_and_soon_enough(
    schedule: Schedule, reach: Reach, limit: int | None, looks: list[float]
) -> None:
    """Looking as late as ``again`` allows, or earlier: no time is left out or planned twice, and enough are ahead."""
    most = min(reach.most, limit or reach.most)
    now, mark, done = NOW, NOW, list[datetime]()
    for part in looks:
        found = plan(schedule, mark, now, reach, limit)
        done, mark = done + found.times, found.until
        if found.again is None:
            assert between(schedule, max(mark, now), FAR, 1) == []
            break
        assert found.again >= now
        for moment in (now, found.again - timedelta(microseconds=1)):
            if moment >= now:
                assert_enough(schedule, done, moment, reach, most)
        now += (found.again - now) * min(part, 1)

    assert done == between(schedule, NOW, mark, 10_000)


def assert_enough(schedule: Schedule, done: list[datetime], now: datetime, reach: Reach, most: int) -> None:
    """What is ahead at a moment: not more than ``most``, not fewer than ``least``, and all that is near."""
    ahead = [at for at in done if at > now]
    near = between(schedule, now, now + reach.horizon, most)
    there_are = len(between(schedule, now, FAR, reach.least))
    assert len(ahead) <= most
    assert len(ahead) >= min(reach.least, most, there_are)
    assert ahead[: len(near)] == near or len(ahead) > most // 2


@given(schedules, reaches, limits)
def test_looking_again_at_once_plans_nothing(schedule: Schedule, reach: Reach, limit: int | None) -> None:
    """So an idle scheduler writes nothing."""
    found = plan(schedule, NOW, NOW, reach, limit)

    assert plan(schedule, found.until, NOW, reach, limit) == Plan([], found.until, found.again)


@given(schedules, reaches, limits)
def test_when_it_is_time_there_is_something_to_plan(
    schedule: Schedule, reach: Reach, limit: int | None
) -> None:
    """So a scheduler never spins."""
    found = plan(schedule, NOW, NOW, reach, limit)

    if found.again is not None:
        assert plan(schedule, found.until, found.again, reach, limit).times


# What was missed


@pytest.mark.parametrize(
    ("catchup", "missed"),
    [(Catchup.NONE, ""), (Catchup.LATEST, "12:00"), (Catchup.ALL, "10:00 11:00 12:00")],
)
def test_times_that_nobody_planned_are_made_up_for_as_was_asked(catchup: Catchup, missed: str) -> None:
    """The mark is where the last server left it."""
    found = plan(Cron("0 * * * *"), minutes("09:30")[0], NOW, REACH._replace(catchup=catchup))

    assert [at for at in found.times if at <= NOW] == minutes(missed)
    assert between(Cron("0 * * * *"), NOW, found.until, 10) == [at for at in found.times if at > NOW]


@pytest.mark.parametrize("catchup", list(Catchup))
def test_a_time_that_has_just_passed_was_not_missed(catchup: Catchup) -> None:
    """A server that is a moment late plans it whatever it does after an outage."""
    found = plan(
        Cron("* * * * *"),
        NOW - timedelta(seconds=40),
        NOW - timedelta(seconds=20),
        REACH._replace(catchup=catchup),
    )

    assert found.times[:2] == minutes("12:00 12:01")


def test_all_that_was_missed_comes_in_steps() -> None:
    """A hundred at a time, and the next hundred at once."""
    reach, mark, done = REACH._replace(catchup=Catchup.ALL), NOW - timedelta(seconds=250), list[datetime]()
    while True:
        found = plan(Interval(SECOND, NOW), mark, NOW, reach)
        done, mark = done + found.times, found.until
        if found.again != NOW:
            break

    assert done == between(
        Interval(SECOND, NOW), NOW - timedelta(seconds=250), NOW + timedelta(seconds=100), 1000
    )


@given(schedules, st.timedeltas(timedelta(0), timedelta(days=20)), reaches)
def test_the_latest_that_was_missed_is_the_last_of_all(
    schedule: Schedule, gap: timedelta, reach: Reach
) -> None:
    """Found by halving; here against all of them, one by one."""
    reach = reach._replace(grace=timedelta(0), catchup=Catchup.LATEST)
    mark = NOW - min(gap, timedelta(minutes=5)) if isinstance(schedule, Interval) else NOW - gap

    found = [at for at in plan(schedule, mark, NOW, reach).times if at <= NOW]

    assert found == between(schedule, mark, NOW, 100_000)[-1:]


def test_a_year_of_seconds_is_caught_up_with_in_no_time() -> None:
    """31 million times are not counted one by one."""
    for catchup in Catchup:
        found = plan(Interval(SECOND, NOW), NOW - timedelta(days=365), NOW, REACH._replace(catchup=catchup))
        assert len(found.times) <= 115


@given(
    st.lists(st.integers(0, 20), max_size=10).map(sorted), st.integers(0, 21), st.sampled_from(list(Catchup))
)
def test_of_the_runs_that_an_outage_made_stale_the_latest_may_stay(
    times: list[int], before: int, catchup: Catchup
) -> None:
    """Those that are not overdue for long always do."""
    waiting = [(at, f"{number}") for number, at in enumerate(times)]

    kept = [run for run in waiting if run[1] not in stale(waiting, before, catchup)]

    assert [run for run in waiting if run[0] >= before] == [run for run in kept if run[0] >= before]
    if catchup is Catchup.ALL:
        assert kept == waiting
    elif catchup is Catchup.NONE:
        assert all(run[0] >= before for run in kept)
    else:
        assert kept[-1:] == waiting[-1:]
        assert len([run for run in kept if run[0] < before]) <= 1
