"""What is known of a death beyond its state: where the process stood, and whether it ran out of memory."""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from headrace.journal.sample import read_sample

from .house import House, evidence_of, state_of, until

ROOM_BYTES = 250_000_000

GROUPS = Path("/sys/fs/cgroup")


@pytest.fixture
def small_group() -> Iterator[Path]:
    """A control group that holds 250 MB; only root may make one."""
    parent = GROUPS / "memory" if (GROUPS / "memory" / "memory.limit_in_bytes").exists() else GROUPS
    group = parent / f"headrace_test_{time.monotonic_ns()}"
    limit = group / ("memory.limit_in_bytes" if parent != GROUPS else "memory.max")
    try:
        group.mkdir()
        limit.write_text(str(ROOM_BYTES), encoding="ascii")
    except OSError as error:
        with contextlib.suppress(OSError):
            group.rmdir()
        pytest.skip(f"no control group with a memory limit can be made here: {error}")
    yield group

    def is_removed() -> bool:
        """A group goes when the last process in it has: the companion stays until all is shipped."""
        with contextlib.suppress(OSError):
            group.rmdir()
        return not group.exists()

    until(is_removed, "the control group to be empty")


def test_a_process_that_the_oom_killer_took_is_told_so(house: House, small_group: Path) -> None:
    """A real one: the kernel ends a process that outgrows its control group, and the verdict says what it can know."""
    script = house.start(
        """
        import sys
        open(sys.argv[1] + "/cgroup.procs", "w").write("0")
        from headrace import flow

        @flow
        def hungry():
            print("ready", flush=True)
            sys.stdin.readline()
            held = []
            while True:
                held.append(bytearray(b"x") * 10_000_000)

        hungry()
        """,
        str(small_group),
        stdin=-1,
    )
    script.until_said("ready")
    script.companion()
    assert script.process.stdin is not None
    script.process.stdin.close()
    run = house.end_of(script)

    assert script.wait() == -signal.SIGKILL
    assert state_of(run) == ("CRASHED", "Crashed")
    evidence = evidence_of(run)
    assert evidence["oom_killed"] is True
    assert evidence["cgroup_oom_kills"] == 1
    assert evidence["certainty"] == "likely"
    assert evidence["cgroup_limit_bytes"] <= ROOM_BYTES
    assert "most likely it ran out of memory" in run["state"]["message"]
    told = house.headrace_json("flow-run", "explain", run["id"])
    assert told["certainty"] == "likely"
    assert any("memory_limit" in sentence for sentence in told["next"])


def test_a_killed_process_leaves_where_it_last_stood(house: House) -> None:
    """SIGKILL gives nobody time to speak; the last sample is at most some seconds old."""
    script = house.start(
        """
        import time
        from headrace import flow, task

        @task
        def wait_for_the_bank():
            time.sleep(100)  # the call

        @flow
        def pay():
            wait_for_the_bank()

        pay()
        """
    )
    script.companion()

    def is_sampled() -> bool:
        folder = script.folder()
        sample = read_sample(folder.path / "sample", 0) if folder is not None else None
        return sample is not None and "wait_for_the_bank" in sample[0]

    until(is_sampled, "a sample", told=script.told)
    script.kill()
    run = house.end_of(script)

    evidence = evidence_of(run)
    assert "in wait_for_the_bank\n    time.sleep(100)  # the call" in evidence["sampled_stack"]
    assert 0 <= evidence["sample_age_seconds"] < 10
    assert "stack" not in evidence
    (task,) = house.tasks(run["id"])
    assert evidence_of(task)["signal"] == "SIGKILL"
    assert "sampled_stack" not in evidence_of(
        task
    )  # told once, of the flow run: a thousand tasks may be open
    shown = house.headrace("flow-run", "explain", run["id"])
    assert "time.sleep(100)  # the call" in shown
    assert "who sends SIGKILL" in shown
