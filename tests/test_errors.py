"""Errors: one tree, one code each, and control flow outside of ``Exception``."""

from __future__ import annotations

import inspect
import pickle

import pytest

from headrace import errors
from headrace.errors import HeadraceError, Pause, TerminationSignal

SIGNALS = (TerminationSignal, Pause)
"""What ends a run without being an error."""

CLASSES = [
    value for value in vars(errors).values() if inspect.isclass(value) and value.__module__ == errors.__name__
]


def test_every_error_is_one_of_ours_and_stands_in_the_tree() -> None:
    """One base to catch them all; the tree at the top of the file names each."""
    ours = [error for error in CLASSES if error not in SIGNALS]

    assert [error.__name__ for error in ours if not issubclass(error, HeadraceError)] == []
    assert [error.__name__ for error in CLASSES if error.__name__ not in str(errors.__doc__)] == []


def test_every_error_has_a_code_of_its_own() -> None:
    """Support and REST bodies know an error by it; no class inherits its parent's by accident."""
    codes = [error.__dict__["code"] for error in CLASSES if error not in SIGNALS]

    assert len(codes) == len(set(codes))
    assert all(code == code.lower() and " " not in code for code in codes)


def test_every_error_says_what_it_is() -> None:
    """The docstring is the sentence in the reference."""
    assert [error.__name__ for error in CLASSES if not inspect.getdoc(error)] == []


def test_a_termination_is_not_swallowed_by_except_exception() -> None:
    """User code that catches everything still ends when it is told to."""
    assert not any(issubclass(kind, Exception) for kind in SIGNALS)
    assert TerminationSignal("cancel", cancelled=True).cancelled is True


def test_errors_are_also_what_the_standard_library_calls_them() -> None:
    """A caller who knows nothing of us catches them all the same."""
    assert issubclass(errors.FlowRunTimeout, TimeoutError)
    assert issubclass(errors.TaskRunTimeout, TimeoutError)
    assert issubclass(errors.ParameterBindError, TypeError)
    assert issubclass(errors.MissingContextError, RuntimeError)


def test_errors_carry_what_a_program_needs() -> None:
    """Not only a text."""
    mismatch = errors.OffsetMismatch("j", 10, 4)
    crashed = errors.CrashedTaskError("gone", pid=7, signal=9)
    refused = errors.ObjectNotFound("no", status=404, body={"detail": "x"})

    assert (mismatch.journal, mismatch.given, mismatch.expected) == ("j", 10, 4)
    assert "Send from byte 4" in str(mismatch)
    assert (crashed.pid, crashed.signal, crashed.exit_code) == (7, 9, None)
    assert (refused.status, refused.body) == (404, {"detail": "x"})


@pytest.mark.parametrize(
    "error",
    [
        errors.CrashedTaskError("it died", pid=7, signal=9),
        errors.OffsetMismatch("j", 1, 2),
        errors.ApiError("no", status=409, body={"detail": "no"}),
        errors.TerminationSignal("asked", cancelled=True),
        errors.Pause("later", key="k", keyset={"schema": "s"}),
        errors.ParameterTypeError("x: not a number"),
    ],
)
def test_errors_survive_pickling_with_their_attributes(error: BaseException) -> None:
    """An error that leaves its process arrives as the same class, text and attributes."""
    again = pickle.loads(pickle.dumps(error))

    assert type(again) is type(error)
    assert str(again) == str(error)
    assert vars(again) == vars(error)
