"""The judge: what an open run's state becomes, given how its process ended."""

from __future__ import annotations

import signal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.model.states import BY_NAME, TERMINAL
from headrace.model.verdict import FAULTS, Asked, Ending, Evidence, judge, signal_name

ASKED = Asked("anna", "2026-01-02T03:04:05Z", killed=False)
KILLED = Asked("anna", "2026-01-02T03:04:05Z", killed=True)

ROWS = [
    # (ending, what else is known) -> (type, name, certainty), words of the message
    (Ending(code=1), {}, ("CRASHED", "Crashed", "certain"), ["without reporting", "exit code 1"]),
    (Ending(code=0), {}, ("CRASHED", "Crashed", "certain"), ["without reporting", "exit code 0"]),
    (Ending(), {}, ("CRASHED", "Crashed", "unknown"), ["could not be seen", "SIGKILL", "os._exit"]),
    (Ending(signal=9), {}, ("CRASHED", "Crashed", "certain"), ["SIGKILL", "could not be seen"]),
    (Ending(signal=9), {"oom_killed": False}, ("CRASHED", "Crashed", "certain"), ["SIGKILL", "did not do it"]),
    (Ending(signal=9), {"oom_killed": True}, ("CRASHED", "Crashed", "likely"), ["SIGKILL", "out of memory"]),
    (Ending(signal=15), {}, ("CRASHED", "Terminated", "certain"), ["SIGTERM", "nobody had asked"]),
    (Ending(signal=2), {}, ("CANCELLED", "Interrupted", "certain"), ["SIGINT", "Ctrl-C"]),
    (Ending(signal=11), {}, ("CRASHED", "Crashed", "certain"), ["SIGSEGV", "native code"]),
    (Ending(signal=11), {"has_stack": True}, ("CRASHED", "Crashed", "certain"), ["SIGSEGV", "stack"]),
    (Ending(signal=6), {"has_stack": True}, ("CRASHED", "Crashed", "certain"), ["SIGABRT", "stack"]),
    (Ending(signal=1), {}, ("CRASHED", "Crashed", "certain"), ["SIGHUP"]),
    (Ending(signal=63), {}, ("CRASHED", "Crashed", "certain"), ["signal 63"]),
    (Ending(signal=9), {"timed_out": 2.5}, ("FAILED", "TimedOut", "certain"), ["timeout of 2.5 s", "killed"]),
    (Ending(code=0), {"asked": ASKED}, ("CANCELLED", "Cancelled", "certain"), ["anna", "03:04:05", "its process ended"]),
    (Ending(signal=15), {"asked": ASKED}, ("CANCELLED", "Cancelled", "certain"), ["anna"]),
    (Ending(signal=9), {"asked": KILLED}, ("CANCELLED", "Cancelled", "certain"), ["anna", "grace time", "killed"]),
    (Ending(), {"asked": Asked(None, "now", False)}, ("CANCELLED", "Cancelled", "certain"), ["Cancel was asked at now"]),
    (Ending(signal=9), {"asked": KILLED, "timed_out": 1}, ("CANCELLED", "Cancelled", "certain"), ["Cancel"]),
]  # fmt: skip


@pytest.mark.parametrize(("ending", "known", "expected", "words"), ROWS)
def test_the_verdict_names_what_ended_the_process(
    ending: Ending, known: dict, expected: tuple[str, str, str], words: list[str]
) -> None:
    """State, name and certainty follow from the evidence, and the message tells it in words."""
    verdict = judge(ending, **known)

    assert expected == (verdict.type, verdict.name, verdict.certainty)
    assert [word for word in words if word not in verdict.message] == []


@given(
    st.builds(Ending, code=st.none() | st.integers(0, 255), signal=st.none() | st.integers(1, 64)),
    st.none() | st.builds(Asked, st.none() | st.text(), st.text(), st.booleans()),
    st.none() | st.floats(0.001, 1e6),
    st.none() | st.booleans(),
    st.booleans(),
)
def test_every_ending_has_a_terminal_verdict_that_never_claims_success(
    ending: Ending, asked: Asked | None, timed_out: float | None, oom: bool | None, stack: bool
) -> None:
    """A supervisor saw no report of an end: nothing says that the run finished, not even exit code 0."""
    verdict = judge(ending, asked=asked, timed_out=timed_out, oom_killed=oom, has_stack=stack)

    assert verdict.type in TERMINAL - {"COMPLETED"}
    assert BY_NAME[verdict.name].type.value == verdict.type
    assert verdict.certainty in ("certain", "likely", "unknown")
    assert verdict.message.endswith((".", ")."))


def test_no_stack_is_promised_that_is_not_there() -> None:
    """The message points to the evidence only when there is some."""
    assert "stack" not in judge(Ending(signal=signal.SIGSEGV)).message
    assert "stack" not in judge(Ending(signal=signal.SIGKILL), has_stack=True).message


def test_signals_have_their_names() -> None:
    """A number means nothing at 3 a.m."""
    assert {"SIGSEGV", "SIGABRT", "SIGBUS", "SIGFPE", "SIGILL"} == {signal_name(number) for number in FAULTS}
    assert signal_name(1000) == "signal 1000"


def test_evidence_that_was_not_gathered_takes_no_room() -> None:
    """Fields that are missing are absent, not null."""
    import msgspec

    assert msgspec.json.encode(Evidence(exit_code=1)) == b'{"exit_code":1}'
