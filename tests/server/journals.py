"""Journals as processes write them, and as nobody should."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from headrace.model import entries
from headrace.model.entries import Entry, encode

NOW = 1_750_000_000_000_000
"""Microseconds since 1970: when all these journals begin."""


def an_id(number: int, kind: int = 0) -> str:
    """Return the id of thing ``number`` of a kind; it sorts as the number does."""
    return f"0197a000-{kind:04x}-7000-8000-{number:012x}"


JOURNAL = an_id(1, 0xA)


def lines(records: list[Entry]) -> bytes:
    """Return a journal's bytes."""
    return b"".join(encode(record) + b"\n" for record in records)


def opened(journal: str = JOURNAL, *, attempt: int = 1) -> entries.Open:
    """Return a journal's first record."""
    return entries.Open(journal, NOW, (NOW * 1000, 0), 7, 7, "boot", "mill", attempt=attempt)


def a_run(tasks: int = 2, journal: str = JOURNAL, *, first: int = 0, logs: int = 0) -> list[Entry]:
    """Return a journal of one flow run with tasks, whole and well: what is usual."""
    run, t = an_id(first, 1), NOW
    made: list[Entry] = [opened(journal), entries.FlowRun(run, t, "etl", "brisk-otter")]
    made.append(entries.State(run, t + 10, "RUNNING"))
    for number in range(tasks):
        task, t = an_id(first + number, 2), NOW + 100 * number
        made.append(entries.TaskRun(task, t, "etl.extract", f"extract-{number}", str(number), run))
        made.append(entries.State(task, t + 10, "RUNNING"))
        made.append(entries.State(task, t + 90, "COMPLETED"))
    made += [entries.Log(t + number, 20, "flow", f"line {number}", run) for number in range(logs)]
    made.append(entries.State(run, t + 1_000, "COMPLETED", message="All states completed."))
    made.append(entries.Exit(t + 2_000, 0))
    return made


_runs = st.integers(0, 4)
_times = st.integers(NOW, NOW + 1_000_000)
_states = st.sampled_from(
    [("RUNNING", None), ("COMPLETED", None), ("FAILED", None), ("SCHEDULED", "AwaitingRetry"), ("RUNNING", "Retrying"),
     ("PENDING", "NotReady"), ("CANCELLED", None), ("BOGUS", None), ("CRASHED", "My own name")]
)  # fmt: skip
_messages = st.one_of(st.none(), st.text(max_size=20))
_details = st.one_of(
    st.none(), st.dictionaries(st.text(max_size=5), st.text(max_size=5) | st.integers(), max_size=3)
)


@st.composite
def _flow_runs(draw: st.DrawFn) -> Entry:
    placed = draw(st.booleans())
    return entries.FlowRun(
        an_id(draw(_runs), 1),
        draw(_times),
        draw(st.sampled_from(["etl", "report", "\0"])),
        draw(st.text(max_size=5)),
        parent=an_id(draw(_runs), 1) if placed else None,
        # Sometimes the id of a task run, which it must not take.
        placeholder=an_id(draw(st.integers(0, 9)), 2) if placed else None,
        dynamic_key="3" if placed else None,
        tags=draw(st.none() | st.just(["nightly"])),
        retries=draw(st.sampled_from([0, 2])),
    )


@st.composite
def _task_runs(draw: st.DrawFn) -> Entry:
    kind = draw(st.sampled_from([2, 2, 2, 1]))  # now and then the id of a flow run
    return entries.TaskRun(
        an_id(draw(_runs), kind),
        draw(_times),
        "etl.load",
        draw(st.text(max_size=5)),
        "0",
        an_id(draw(_runs), 1),
    )


@st.composite
def _reports(draw: st.DrawFn) -> Entry:
    run = an_id(draw(_runs), draw(st.sampled_from([1, 2])))
    type, name = draw(_states)
    if draw(st.integers(0, 9)) == 0:
        return entries.Verdict(run, draw(_times), "CRASHED", "Crashed", "Killed by SIGKILL.")
    return entries.State(run, draw(_times), type, name, draw(_messages), draw(_details))


@st.composite
def _logs(draw: st.DrawFn) -> Entry:
    run, task = an_id(draw(_runs), 1), draw(st.none() | _runs.map(lambda n: an_id(n, 2)))
    return entries.Log(
        draw(_times), draw(st.integers(-1, 60)), "a.logger", draw(st.text(max_size=9)), run, task
    )


_others: list[Entry] = [
    entries.Missing(NOW, 3, "the disk is full"),
    entries.Asked(NOW + 5, an_id(1, 1), "cancel", "somebody"),
    entries.Adopted(NOW, 9),
    opened(),
]
_noise = st.sampled_from(
    [b"\n", b"garbage\n", b'{"k":"state"}\n', b"\xff\xfe\n", b'{"k":"new kind","t":1}\n']
)


@st.composite
def odd_journals(draw: st.DrawFn, most: int = 30) -> bytes:
    """Return a journal of any records in any order, contradictions and garbage among them."""
    record = st.one_of(
        _flow_runs(), _task_runs(), _task_runs(), _reports(), _reports(), _logs(), st.sampled_from(_others)
    )
    line: st.SearchStrategy[Any] = st.one_of(record.map(lambda one: encode(one) + b"\n"), _noise)
    told = draw(st.lists(line, max_size=most))
    ending = [encode(entries.Exit(NOW + 2_000_000, 0)) + b"\n"] if draw(st.booleans()) else []
    return b"".join([encode(opened()) + b"\n", *told, *ending])
