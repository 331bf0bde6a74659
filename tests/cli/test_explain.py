"""``headrace flow-run explain``: the cause, how sure it is, and what to do next, for every way in which a run may end."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.cli.advice import account
from headrace.model.states import KINDS

from .conftest import Headrace
from .recorded import SECOND, Recorded

RUN = {"id": "01a20895-1cb6-7c3c-a3d8-66c0ff0e3eb1", "name": "sad-newt"}


def run_in(kind: str, name: str, evidence: dict, *, rank: str = "verdict", **more: object) -> dict:
    """Return a flow run as the API tells it."""
    details = {"evidence": evidence}
    state = {"id": "1", "type": kind, "name": name, "message": "It was so.", "state_details": details}
    history = [
        {"id": "0", "rank": "fact", "source": "run"},
        {"id": "1", "rank": rank, "source": "supervisor"},
    ]
    return {**RUN, "state": state, "state_type": kind, "state_name": name, "state_history": history, **more}


ADVICE = [
    ("CRASHED", "OutOfMemory", {"memory_limit_bytes": 10**9, "memory_bytes": 12 * 10**8}, ["raise memory_limit", "1.0 GB", "1.2 GB", "chunks"]),
    ("CRASHED", "Crashed", {"signal": "SIGKILL", "oom_killed": True, "cgroup_limit_bytes": 5 * 10**8}, ["memory_limit", "500.0 MB", "chunks"]),
    ("CRASHED", "Crashed", {"signal": "SIGKILL", "oom_killed": False, "host": "box-7"}, ["who sends SIGKILL on box-7", "does not tell the sender"]),
    ("CRASHED", "Crashed", {"signal": "SIGKILL"}, ["journalctl -k", "who sends SIGKILL"]),
    ("CRASHED", "Crashed", {"signal": "SIGSEGV", "stack": "File x"}, ["native code"]),
    ("CRASHED", "Crashed", {"exit_code": 1, "open_tasks": ["load-0"]}, ["os._exit", "load-0", "retries"]),
    ("CRASHED", "Crashed", {}, ["Linux 6.15"]),
    ("CRASHED", "Terminated", {"signal": "SIGTERM", "host": "box-7"}, ["stopped on box-7"]),
    ("CRASHED", "Lost", {"host": "box-7"}, ["whether box-7 is up", "journal ship"]),
    ("FAILED", "LoadError", {"tried": "/srv/etl.py"}, ["/srv/etl.py", "entrypoint", "module"]),
    ("FAILED", "TimedOut", {"timeout_seconds": 60.0, "sampled_stack": "File x"}, ["where it stood", "timeout_seconds (1 min)"]),
    ("FAILED", "TimedOut", {"timeout_seconds": 60.0, "timeout_of": "job"}, ["the deployment's timeout (1 min)"]),
    ("FAILED", "Failed", {}, ["no exception"]),
    ("FAILED", "Failed", {"exception": {"type": "MemoryError", "message": ""}}, ["chunks", "MemoryError"]),
    ("CANCELLED", "Cancelled", {"killed_by": "headrace"}, ["grace_seconds"]),
    ("SCHEDULED", "Late", {}, ["worker"]),
    ("PAUSED", "Suspended", {}, ["flow-run resume"]),
    ("RUNNING", "Running", {}, ["flow-run watch"]),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "name", "evidence", "words"), ADVICE)
def test_each_end_has_advice_that_fits_it(kind: str, name: str, evidence: dict, words: list[str]) -> None:
    """What to do follows from the verdict and from what was seen."""
    told = " ".join(account(run_in(kind, name, evidence)).next)
    assert [word for word in words if word not in told] == []


def test_an_oom_kill_is_advised_only_where_it_was_seen() -> None:
    """A SIGKILL alone is no reason to buy memory."""
    for seen in (False, None):
        told = account(run_in("CRASHED", "Crashed", {"signal": "SIGKILL", "oom_killed": seen}))
        assert "memory" not in " ".join(told.next)


@pytest.mark.parametrize(
    ("rank", "evidence", "expected"),
    [
        ("fact", {}, "certain"),
        ("verdict", {"certainty": "likely"}, "likely"),
        ("verdict", {"certainty": "unknown"}, "unknown"),
        ("verdict", {}, "unknown"),
        ("verdict", {"certainty": ["odd"]}, "unknown"),
        ("presumption", {"certainty": "certain"}, "presumed"),
    ],
)
def test_the_grade_is_never_higher_than_what_was_seen(rank: str, evidence: dict, expected: str) -> None:
    """A presumption stays one, and a verdict without a grade counts as unknown."""
    told = account(run_in("CRASHED", "Crashed", evidence, rank=rank))
    assert (told.certainty, told.said_by) == (expected, "supervisor")


def test_a_failure_is_told_by_its_exception_and_root_cause() -> None:
    """Where to begin is the line of the user's own code."""
    exception = {
        "type": "BadDelivery",
        "message": "line 3 holds no amount\nand more",
        "traceback": 'Traceback:\n  File "etl.py", line 3, in read\n  File "etl.py", line 9, in parse\n'
        '  File "/usr/lib/python3.11/json/decoder.py", line 355, in raw_decode\nBadDelivery',
        "root_cause": {"type": "ValueError", "message": "no number"},
    }
    told = account(run_in("FAILED", "Failed", {"exception": exception}, rank="fact", deployment_id="x"))
    assert (
        told.cause
        == "It raised BadDelivery: line 3 holds no amount; the root cause is ValueError: no number."
    )
    assert told.next[0].startswith("Begin with ValueError, at etl.py:9 in parse;")
    assert told.next[-1].endswith(f"headrace flow-run retry {RUN['id']}")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
FIELDS = ["exception", "signal", "oom_killed", "memory_limit_bytes", "memory_bytes", "timeout_seconds", "stack",
          "open_tasks", "host", "exit_code", "tried", "killed_by", "cgroup_limit_bytes", "certainty"]  # fmt: skip


@given(
    st.sampled_from(KINDS),
    st.dictionaries(st.sampled_from(FIELDS), JSON),
    st.sampled_from(["fact", "verdict", "presumption", "proposal", ""]),
)
def test_any_run_can_be_explained(kind: object, evidence: dict, rank: str) -> None:
    """Evidence may come from other versions and other clients; a person gets an answer all the same."""
    told = account(run_in(kind.type.value, kind.name, evidence, rank=rank))  # type: ignore[attr-defined]
    assert told.cause
    assert told.certainty in ("certain", "likely", "unknown", "presumed")
    assert all(isinstance(sentence, str) and sentence for sentence in told.next)
    assert account({**RUN, "state": None}).cause


def test_the_command_tells_cause_evidence_and_what_to_do(home: Path, headrace: Headrace) -> None:
    """One look at 3 a.m., and the same for programs."""
    now = time.time_ns() // 1000
    bad = Recorded(home, now - 60 * SECOND)
    id = bad.flow_run("sync", "sad-newt")
    bad.task_run(id, "extract-0", failed="HTTPError: HTTP Error 409: Conflict")
    exception = {"type": "HTTPError", "message": "HTTP Error 409: Conflict", "traceback": "Traceback ..."}
    bad.end(id, "FAILED", message="HTTPError: ...", details={"evidence": {"exception": exception}})
    gone = Recorded(home, now - 30 * SECOND)
    gone.flow_run("sync", "gone-crab")

    told = headrace("flow-run", "explain", "sad-newt")
    assert told.code == 0, told.err
    assert "cause          It raised HTTPError: HTTP Error 409: Conflict." in told.out
    assert "certainty      certain: it was seen, or done on purpose (told by the run)" in told.out
    assert "Tasks that did not complete\n  extract-0  Failed  HTTPError: HTTP Error 409: Conflict" in told.out
    assert "What to do next\n  * Begin with HTTPError" in told.out

    found = headrace("flow-run", "explain", "gone-crab", "-o", "json").json
    assert found["state_name"] == "Lost"
    assert found["certainty"] == "likely"
    assert found["said_by"] == "supervisor"
    assert "most likely the host restarted" in found["cause"]
    assert any("journal ship" in sentence for sentence in found["next"])
