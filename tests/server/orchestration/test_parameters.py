"""Parameters against schemas: what fits, what does not, and how it is said."""

from __future__ import annotations

import time
from typing import Any

import pytest

from headrace.server.orchestration.parameters import misfits, schema_problem

OBJECT: dict[str, Any] = {
    "type": "object",
    "properties": {"n": {"type": "integer"}, "note": {"type": "string", "default": None}},
    "required": ["n"],
}


def test_what_fits_has_no_misfits() -> None:
    """Also what the schema does not speak of."""
    assert misfits(OBJECT, {"n": 1, "note": "x", "other": [1, {"deep": True}]}) == []


def test_every_misfit_is_told_with_its_field() -> None:
    """All of them at once, and deep ones by their path."""
    schema = {**OBJECT, "properties": {**OBJECT["properties"], "list": {"items": {"type": "integer"}}}}
    told = misfits(schema, {"n": "x", "note": 1, "list": [1, "y"]})

    assert sorted(reason.split(":")[0] for reason in told) == ["list.1", "n", "note"]


def test_what_is_missing_is_missed_unless_more_is_to_come() -> None:
    """A deployment may leave a parameter to its runs."""
    assert misfits(OBJECT, {}) == ['"n" is a required property']
    assert misfits(OBJECT, {}, partly=True) == []
    assert misfits(OBJECT, {"n": "x"}, partly=True) == ['n: "x" is not of type "integer"']


def test_null_fits_where_it_is_the_default() -> None:
    """As in ``def f(note: str = None)``, and nowhere else."""
    assert misfits(OBJECT, {"n": 1, "note": None}) == []
    assert misfits(OBJECT, {"n": None}) == ['n: null is not of type "integer"']


def test_a_long_value_is_not_repeated_whole() -> None:
    """A reason is a sentence, not the parameter."""
    [reason] = misfits(OBJECT, {"n": "x" * 10_000})

    assert len(reason) < 300


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "nope"},
        {"properties": 5},
        {"$ref": "http://127.0.0.1:1/x"},
        {"properties": {"n": {"$ref": "file:///etc/hostname"}}},
        {"pattern": "("},
    ],
)
def test_a_schema_that_cannot_be_checked_against_is_said_so(schema: dict[str, Any]) -> None:
    """Nothing outside it is read, whatever it refers to."""
    assert schema_problem(schema)
    assert misfits(schema, {"n": 1})


def test_a_schema_of_definitions_that_name_each_other_is_read() -> None:
    """A tree of itself ends where the value does."""
    node = {
        "type": "object",
        "properties": {"child": {"$ref": "#/definitions/Node"}, "x": {"type": "integer"}},
    }
    schema = {"properties": {"root": {"$ref": "#/definitions/Node"}}, "definitions": {"Node": node}}

    assert misfits(schema, {"root": {"child": {"child": {"x": 1}}}}) == []
    [reason] = misfits(schema, {"root": {"child": {"child": {"x": "a"}}}})
    assert reason.startswith("root.child.child.x:")


def test_a_hostile_pattern_does_not_hold_the_server_up() -> None:
    """One that backtracking engines take ages for."""
    schema = {"properties": {"s": {"pattern": "^(a+)+$"}}}
    began = time.monotonic()

    assert misfits(schema, {"s": "a" * 5_000 + "b"})
    assert time.monotonic() - began < 5
