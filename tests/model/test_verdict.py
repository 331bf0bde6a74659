"""The judge: what an open run's state becomes, given how its process ended."""

from __future__ import annotations

import signal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.model.states import BY_NAME, TERMINAL
from headrace.model.verdict import FAULTS, Asked, Ending, Evidence, Excess, Verdict, judge, signal_name

ASKED = Asked("anna", "2026-01-02T03:04:05Z", killed=False)
KILLED = Asked("anna", "2026-01-02T03:04:05Z", killed=True)
EXCESS = Excess(1_000_000_000, 1_200_000_000, 812, "python etl.py", 1_100_000_000)

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
    (Ending(signal=9), {"memory": EXCESS}, ("CRASHED", "OutOfMemory", "certain"), ["1.2 GB", "limit of 1.0 GB", "pid 812 with 1.1 GB (python etl.py)"]),
    (Ending(signal=9), {"memory": EXCESS._replace(command="")}, ("CRASHED", "OutOfMemory", "certain"), ["pid 812 with 1.1 GB."]),
    (Ending(signal=9), {"job_timed_out": 60.0}, ("FAILED", "TimedOut", "certain"), ["job's timeout of 60 s", "killed"]),
    (Ending(signal=9), {"memory": EXCESS, "job_timed_out": 60.0}, ("CRASHED", "OutOfMemory", "certain"), ["memory limit"]),
    (Ending(), {"recovered": True}, ("CRASHED", "Lost", "likely"), ["most likely", "host restarted"]),
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


ENDINGS = st.builds(Ending, code=st.none() | st.integers(0, 255), signal=st.none() | st.integers(1, 64))
KNOWN = st.fixed_dictionaries(
    {
        "asked": st.none() | st.builds(Asked, st.none() | st.just("anna"), st.just("noon"), st.booleans()),
        "timed_out": st.none() | st.floats(0.001, 1e6),
        "job_timed_out": st.none() | st.floats(0.001, 1e6),
        "memory": st.none() | st.just(EXCESS),
        "oom_killed": st.none() | st.booleans(),
        "has_stack": st.booleans(),
        "recovered": st.booleans(),
    }
)
GUESSING = ("likely", "probably", "maybe", "perhaps", "seems")


@given(ENDINGS, KNOWN)
def test_every_ending_has_a_terminal_verdict_that_never_claims_success(ending: Ending, known: dict) -> None:
    """A supervisor saw no report of an end: nothing says that the run finished, not even exit code 0."""
    verdict = judge(ending, **known)

    assert verdict.type in TERMINAL - {"COMPLETED"}
    assert BY_NAME[verdict.name].type.value == verdict.type
    assert verdict.certainty in ("certain", "likely", "unknown")
    assert verdict.message.endswith((".", ")."))


@given(ENDINGS, KNOWN)
def test_a_guess_is_never_told_as_certain(ending: Ending, known: dict) -> None:
    """Words of doubt stand exactly where the grade says so, and a grade of certain rests on something seen."""
    verdict = judge(ending, **known)

    assert any(word in verdict.message for word in GUESSING) == (verdict.certainty == "likely")
    if verdict.certainty == "certain":
        done_by_us = known["asked"] or known["memory"] or known["timed_out"] or known["job_timed_out"]
        assert done_by_us or ending != Ending()
    if verdict.certainty == "unknown":
        assert "could not be seen" in verdict.message


@given(ENDINGS, KNOWN)
def test_no_cause_is_named_that_nobody_saw(ending: Ending, known: dict) -> None:
    """Each claim of a message needs its evidence; without it the words do not come up."""
    message = judge(ending, **known).message

    claims: dict[str, bool] = {
        "Cancel was asked": known["asked"] is not None,
        "memory limit": known["memory"] is not None,
        "ran out of memory": known["oom_killed"] is True and ending.signal == signal.SIGKILL,
        "OOM killer did not": known["oom_killed"] is False and ending.signal == signal.SIGKILL,
        "passed its timeout": known["timed_out"] is not None,
        "the job's timeout": known["job_timed_out"] is not None,
        "exit code": ending.code is not None,
        "Killed by": ending.signal is not None,
        "The Python stack": known["has_stack"],
        "host restarted": known["recovered"],
        "grace time": known["asked"] is not None and known["asked"].killed,
    }
    assert [claim for claim, seen in claims.items() if claim in message and not seen] == []


@given(ENDINGS, KNOWN)
def test_what_the_supervisor_did_itself_comes_before_what_the_kernel_tells(
    ending: Ending, known: dict
) -> None:
    """A SIGKILL that we sent ourselves is told by its reason, not by its number."""
    verdict: Verdict = judge(ending, **known)

    if known["asked"] is not None:
        assert verdict.name == "Cancelled"
    elif known["memory"] is not None:
        assert verdict.name == "OutOfMemory"
    elif known["timed_out"] is not None or known["job_timed_out"] is not None:
        assert verdict.name == "TimedOut"
    else:
        assert verdict.name not in ("Cancelled", "OutOfMemory", "TimedOut")


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
