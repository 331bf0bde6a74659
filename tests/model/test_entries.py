"""Records: what is written is read, and what is not ours is passed over."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.model import entries
from headrace.model.entries import decode, encode

TEXT = st.text(st.characters(exclude_categories=("Cs",)), max_size=20)
MOMENT = st.integers(0, 2**53)
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)
DETAILS = st.none() | st.dictionaries(TEXT, JSON, max_size=3)
WORDS = st.none() | st.lists(TEXT, max_size=3)

RECORDS: st.SearchStrategy[entries.Entry] = st.one_of(
    st.builds(entries.Open, journal=TEXT, t=MOMENT, anchor=st.tuples(MOMENT, MOMENT), pid=MOMENT, started=MOMENT,
              boot=TEXT, host=TEXT, token=st.none() | TEXT, user=st.none() | TEXT, argv=WORDS),
    st.builds(entries.FlowRun, run=TEXT, t=MOMENT, flow=TEXT, name=TEXT, parent=st.none() | TEXT, tags=WORDS,
              parameters=st.dictionaries(TEXT, JSON, max_size=2).map(lambda v: msgspec.Raw(msgspec.json.encode(v))),
              timeout=st.none() | st.floats(0, 1e6), retry_delay=st.none() | st.lists(st.floats(0, 100), max_size=2)),
    st.builds(entries.TaskRun, run=TEXT, t=MOMENT, key=TEXT, name=TEXT, dynamic_key=TEXT, tags=WORDS, inputs=DETAILS),
    st.builds(entries.State, run=TEXT, t=MOMENT, type=TEXT, name=st.none() | TEXT, message=st.none() | TEXT, details=DETAILS),
    st.builds(entries.Log, t=MOMENT, level=st.integers(0, 100), logger=TEXT, message=TEXT, flow_run=st.none() | TEXT),
    st.builds(entries.Verdict, run=TEXT, t=MOMENT, type=TEXT, name=TEXT, message=TEXT, details=DETAILS),
    st.builds(entries.Asked, t=MOMENT, run=TEXT, action=TEXT, who=st.none() | TEXT),
    st.builds(entries.Missing, t=MOMENT, records=MOMENT, reason=TEXT),
    st.builds(entries.Adopted, t=MOMENT, pid=MOMENT),
    st.builds(entries.Exit, t=MOMENT, code=st.none() | st.integers(0, 255), evidence=DETAILS),
)  # fmt: skip


@given(RECORDS)
def test_a_record_comes_back_from_one_line(record: entries.Entry) -> None:
    """Whatever text it holds, a record has no line end in it."""
    line = encode(record)

    assert b"\n" not in line
    assert type(record) is type(decode(line))
    assert line == encode(decode(memoryview(line)))


@given(RECORDS, st.data())
def test_a_record_that_is_cut_is_no_record(record: entries.Entry, data: st.DataObject) -> None:
    """A torn line never becomes a shorter truth."""
    line = encode(record)
    cut = data.draw(st.integers(0, len(line) - 1))

    assert decode(line[:cut]) is None


@given(st.binary(max_size=200))
def test_bytes_that_are_not_ours_are_passed_over(noise: bytes) -> None:
    """Reading never raises."""
    decoded = decode(noise)

    assert decoded is None or type(decoded).__module__ == entries.__name__


def test_fields_and_kinds_of_a_newer_headrace_are_passed_over() -> None:
    """An older server can take a newer journal."""
    record = decode(b'{"k":"log","t":1,"level":20,"logger":"a","message":"m","colour":"red","x":{"y":[1]}}')

    assert entries.Log(1, 20, "a", "m") == record
    assert decode(b'{"k":"hologram","t":1}') is None


@pytest.mark.parametrize("field", [b'"details"', b'"unknown"'])
def test_a_record_nested_without_end_is_passed_over(field: bytes) -> None:
    """A hundred thousand brackets do not end the reader."""
    deep = b'{"a":' * 100_000 + b"1" + b"}" * 100_000
    line = b'{"k":"state","run":"r","t":1,"type":"RUNNING",' + field + b":" + deep + b"}"

    assert decode(line) is None


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"[]",
        b"{}",
        b'"text"',
        b"\0\0\0",
        b'{"k":"state","run":"r","t":1}',
        b'{"k":"state","run":1,"t":1,"type":"RUNNING"}',
        b'{"k":"log","t":"noon","level":20,"logger":"a","message":"m"}',
        b'{"k":"log","t":1,"level":20,"logger":"a","message":"\xff"}',
    ],
)
def test_a_line_with_wrong_or_missing_fields_is_passed_over(line: bytes) -> None:
    """A record is whole or it is none."""
    assert decode(line) is None


def test_what_is_default_is_not_written() -> None:
    """A journal is read by people too, and shipped: no field says nothing."""
    line = encode(entries.State(run="r", t=1, type="RUNNING"))

    assert line == b'{"k":"state","run":"r","t":1,"type":"RUNNING"}'


def test_the_format_is_the_first_thing_a_journal_says() -> None:
    """So that a reader of another age knows what it has before it."""
    line = encode(entries.Open("j", 1, (1, 2), 3, 4, "b", "h"))

    assert {"v": entries.FORMAT}.items() <= msgspec.json.decode(line).items()
