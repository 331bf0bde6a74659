"""What entering a state does to a run's counts and times, for runs that others report on."""

from __future__ import annotations

from typing import NamedTuple

from headrace.model.states import TERMINAL


class Times(NamedTuple):
    """A run's counts and times; all in microseconds, moments since 1970 (UTC)."""

    run_count: int = 0
    start: int | None = None
    """When it first ran."""
    end: int | None = None
    """When it ended; ``None`` while it is open."""
    running: int = 0
    """Time spent in states of type RUNNING that are over."""
    running_since: int | None = None
    """When the state of type RUNNING began that it is in."""
    expected_start: int | None = None
    next_scheduled: int | None = None


def enter(
    times: Times, state_type: str, now: int, *, scheduled: int | None = None, resuming: bool = False
) -> Times:
    """Return the counts and times of a run that enters a state of this type at ``now``.

    ``scheduled`` is the time the state is planned for, if it is; ``resuming`` says that the run goes on
    after a pause: then it is not counted as begun again.
    """
    running = times.running
    if times.running_since is not None:
        running += max(0, now - times.running_since)
    runs = state_type == "RUNNING"
    planned = scheduled if scheduled is not None else now
    return Times(
        run_count=times.run_count + (runs and not resuming),
        start=now if runs and times.start is None else times.start,
        end=now if state_type in TERMINAL else None,
        running=running,
        running_since=now if runs else None,
        expected_start=planned if times.expected_start is None else times.expected_start,
        next_scheduled=planned if state_type == "SCHEDULED" else None,
    )
