"""Rows 26 to 30 and 39 under a worker: workers, supervisors and whole hosts that are killed, and come back."""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from headrace.journal.reader import iterate
from headrace.model import entries

from .crew import Crew, Run, Worker, at_work
from .house import Json, evidence_of, history_of, share, state_of, until
from .server import Network, Server

# Servers and workers of their own, on machines that do other things too.
pytestmark = pytest.mark.timeout(180)

LEASE_S = 2.0
BACK_S = 10.0
"""Row 30: from the start of a worker to the states that its host's journals tell."""

STEADY = """
    import os
    import time
    from headrace import flow, get_run_logger, task

    @task
    def step(number):
        get_run_logger().info("task %d", number)

    @flow
    def main(enough: str):
        logger = get_run_logger()
        number = 0
        while not os.path.exists(enough):
            number += 1
            logger.info("line %d", number)
            if number % 5 == 0:
                step(number)
            if number == 1:
                print("begun", flush=True)
            time.sleep(0.004)
        print("lines", number, flush=True)
"""

SILENT = """
    from pathlib import Path
    from headrace import flow

    @flow
    def main(pipe: str):
        print("begun", flush=True)
        with open(pipe) as end:
            end.read()
"""


def begin(crew: Crew, name: str = "enough", **job: object) -> Run:
    """Have a run of `STEADY` going, which ends once the file of that name is made."""
    run = crew.run(crew.deploy(STEADY, **job), enough=str(crew.folder / name))
    run.until_said("begun")
    run.until_running()
    return run


def begin_silent(crew: Crew) -> tuple[Run, Path]:
    """Have a run going that waits in one call and records nothing, and ends once the pipe is opened and closed."""
    pipe = crew.folder / "pipe"
    os.mkfifo(pipe)
    run = crew.run(crew.deploy(SILENT), pipe=str(pipe))
    run.until_said("begun")
    return run, pipe


def let_end(crew: Crew, name: str = "enough") -> None:
    """Let the runs end that wait for the file of that name."""
    (crew.folder / name).touch()


def go_on(run: Run, records: int = 50) -> None:
    """Wait until a run has written so many records more."""
    seen = len(run.lines())
    until(lambda: len(run.lines()) > seen + records, "the run to go on", told=run.told)


def assert_whole(crew: Crew, run: Run) -> None:
    """Check that each log line and each task run of `STEADY` is on record exactly once."""
    record = run.record()
    last = until(
        lambda: [line for line in crew.logs(run.id) if line.startswith("lines ")],
        "the last of its output on record",
        told=run.told,
    )
    written = int(last[0].split()[1])
    logged = crew.logs(run.id)
    tasks = crew.find("task_runs", {"flow_runs": {"id": {"any_": [run.id]}}})

    assert state_of(record) == ("COMPLETED", "Completed")
    assert history_of(record)[-3:] == ["Pending", "Running", "Completed"]
    assert record["run_count"] == 1
    assert [f"line {n}" for n in range(1, written + 1)] == [
        line for line in logged if line.startswith("line ")
    ]
    assert [f"task {n}" for n in range(5, written + 1, 5)] == [
        line for line in logged if line.startswith("task ")
    ]
    assert Counter(state_of(task) for task in tasks) == Counter({("COMPLETED", "Completed"): written // 5})
    assert logged.count("begun") == 1


def never_crashed(record: Json) -> bool:
    """Say whether a run was never told to have crashed, not even for a moment."""
    return all(state["type"] != "CRASHED" for state in record["state_history"])


def test_row_26_worker_killed_and_started_again(tmp_path: Path, new_database_url: str | None) -> None:
    """The run goes on without its worker; the next one counts it against its limit and takes no other before its end."""
    with at_work(tmp_path / "crew", "--limit", "1", database_url=new_database_url) as crew:
        run = begin(crew)
        crew.worker.kill()
        go_on(run)
        crew.worker.start()
        crew.worker.until_said("an earlier worker started it")
        second = crew.run(crew.deploy(STEADY), enough=str(crew.folder))  # that is there: it ends at once
        go_on(run)
        let_end(crew)
        first = run.end(within=1.0)
        after = second.end()

        assert never_crashed(first)
        assert_whole(crew, run)
        assert state_of(after) == ("COMPLETED", "Completed")
        assert after["start_time"] > first["end_time"]
        crew.worker.until_said(f"Flow run {first['name']!r} ended as Completed")


def test_row_27_worker_told_to_stop(own_crew: Crew) -> None:
    """It takes no new runs and ends; its runs go on to their own end without it."""
    run = begin(own_crew)
    own_crew.worker.terminate()

    assert own_crew.worker.wait(10.0) == 0
    late = own_crew.run(own_crew.deploy(STEADY), enough=str(own_crew.folder))
    go_on(run)
    let_end(own_crew)
    record = run.end(within=1.0)
    assert never_crashed(record)
    assert_whole(own_crew, run)
    assert state_of(late.record()) == ("SCHEDULED", "Scheduled")
    assert late.folders() == []
    assert "1 run go on under their own supervisors" in own_crew.worker.output()


def test_row_27_drained(tmp_path: Path, new_database_url: str | None) -> None:
    """With `--drain-seconds` runs have so long; what ends by itself is Completed, the rest Terminated."""
    with at_work(tmp_path / "crew", "--drain-seconds", "4", database_url=new_database_url) as crew:
        quick, slow = begin(crew, "quick", grace_seconds=1), begin(crew, "slow", grace_seconds=1)
        crew.worker.terminate()
        told = time.time()
        crew.worker.until_said("have 4 s to end")
        let_end(crew, "quick")
        ended = quick.end(within=1.0)
        terminated = slow.end(within=1.0)

        assert state_of(ended) == ("COMPLETED", "Completed")
        assert state_of(terminated) == ("CRASHED", "Terminated")
        assert slow.deaths[slow.folder().id] - told >= 4.0
        assert crew.worker.wait(15.0) == 0


def test_row_27_drained_of_a_run_that_does_not_obey(tmp_path: Path, new_database_url: str | None) -> None:
    """A run that ignores SIGTERM is killed after its grace time, and is Terminated all the same."""
    source = """
        import signal
        import time
        from headrace import flow

        @flow
        def main():
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            print("begun", flush=True)
            while True:
                time.sleep(1)
    """
    with at_work(tmp_path / "crew", "--drain-seconds", "0", database_url=new_database_url) as crew:
        run = crew.carry_out(source, grace_seconds=1)
        run.until_said("begun")
        crew.worker.terminate()
        record = run.end(within=1.0)

        assert state_of(record) == ("CRASHED", "Terminated")
        assert crew.worker.wait(15.0) == 0
        assert not run.process().is_alive()


def test_row_28_supervisor_killed(crew: Crew) -> None:
    """The run goes on, another supervisor takes over, and the run ends in its own state with nothing lost or doubled."""
    run = begin(crew, "enough-28")
    first = run.supervisor()
    first.kill()
    killed = time.monotonic()
    second = run.supervisor(2)
    took = time.monotonic() - killed
    go_on(run)
    let_end(crew, "enough-28")
    record = run.end(within=1.0)

    assert took < 5.0 * share()
    assert second.pid != first.pid
    assert never_crashed(record)
    assert_whole(crew, run)


def test_row_28_supervisor_killed_while_the_run_records_nothing(own_crew: Crew) -> None:
    """A run that waits in one call, and so writes nothing, gets another supervisor all the same."""
    run, pipe = begin_silent(own_crew)
    run.supervisor().kill()
    killed = time.monotonic()
    run.supervisor(2)
    took = time.monotonic() - killed
    pipe.write_text("")
    record = run.end(within=1.0)

    assert took < 5.0 * share()
    assert state_of(record) == ("COMPLETED", "Completed")
    assert never_crashed(record)


def test_row_28_killed_after_its_supervisor(crew: Crew) -> None:
    """A run that is killed under its second supervisor is Crashed, with the signal as evidence."""
    run = begin(crew, "never-28")
    run.supervisor().kill()
    run.supervisor(2)
    run.kill()
    record = run.end(within=1.0)

    assert state_of(record) == ("CRASHED", "Crashed")
    assert evidence_of(record)["signal"] == "SIGKILL"


def test_row_28_cancelled_after_its_supervisor(crew: Crew) -> None:
    """The second supervisor hears of a cancel, and kills what does not obey within the job's grace time."""
    source = """
        import signal
        import time
        from headrace import flow

        @flow
        def main():
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            print("begun", flush=True)
            while True:
                time.sleep(1)
    """
    run = crew.carry_out(source, grace_seconds=1)
    run.until_said("begun")
    run.supervisor().kill()
    run.supervisor(2)
    run.until_running()  # a run of which the server knows nothing yet is cancelled at once, before its process ends
    crew.headrace("flow-run", "cancel", run.id)
    record = run.end(within=2.0)

    assert state_of(record) == ("CANCELLED", "Cancelled")
    assert evidence_of(record)["killed_by"] == "headrace"
    assert not run.process().is_alive()


def test_row_28_supervisor_and_run_killed_under_a_worker(own_crew: Crew) -> None:
    """The worker has the journal taken up that nobody looks after any more: the verdict does not wait for the lease."""
    run = begin(own_crew)
    run.supervisor().kill(signal.SIGSTOP)  # so that it sees nothing of what follows
    run.kill()
    run.supervisor().kill()
    record = run.until(lambda one: one["state_type"] == "CRASHED", "the verdict", within=BACK_S)

    assert record["state_history"][-1]["rank"] == "verdict"
    until(lambda: own_crew.spool.folders() == [], "the journal to be shipped", told=run.told)
    written = [entry.message for entry in run.lines() if isinstance(entry, entries.Log)]
    assert sorted(written) == sorted(own_crew.logs(run.id))


class Host:
    """A host with a worker that reaches its server by a network which can be cut."""

    def __init__(self, crew: Crew, network: Network) -> None:
        self.crew = crew
        self.network = network

    def lose(self, *runs: Run) -> float:
        """Kill all that runs on the host at once; return when that was."""
        worker = self.crew.worker
        template = worker.template()
        supervisors = [run.supervisors()[-1] for run in runs]
        # Stopped first: nobody is to see the end of another, as nobody does when a host loses its power.
        for process in [*supervisors, *([template] if template is not None else [])]:
            if process.is_alive():
                os.kill(process.pid, signal.SIGSTOP)
        worker.kill()
        for run in runs:
            run.kill()
        for process in [*supervisors, *([template] if template is not None else [])]:
            process.kill()
        return time.monotonic()

    def come_back(self) -> Worker:
        """Start the host's worker again."""
        return self.crew.worker.start()


@pytest.fixture
def host(tmp_path: Path, new_database_url: str | None) -> Iterator[Host]:
    """A host whose server has a lease of two seconds."""
    server = Server(tmp_path / "server", lease_s=LEASE_S, database_url=new_database_url).start()
    network = Network(server.port)
    crew = Crew(tmp_path / "host", server, url=network.url)
    try:
        crew.hire()
        yield Host(crew, network)
    finally:
        network.mend()
        crew.close()
        network.close()
        server.stop()


def test_row_29_and_30_host_lost_and_back(host: Host) -> None:
    """Lost is presumed after the lease, with the last sign of life; the journal left behind tells the rest later."""
    run = begin(host.crew)
    host.network.cut()  # what is written from now on is on the lost host alone
    go_on(run)
    host.lose(run)
    host.network.mend()
    lost = run.until(lambda one: one["state_type"] == "CRASHED", "it presumed lost", within=LEASE_S + 5.0)

    assert state_of(lost) == ("CRASHED", "Lost")
    assert lost["state_history"][-1]["rank"] == "presumption"
    assert evidence_of(lost)["certainty"] == "presumed"
    assert evidence_of(lost)["last_sign_of_life"][:4].isdigit()
    assert evidence_of(lost)["host"] == run.header().host

    on_record = host.crew.logs(run.id)
    host.come_back()
    record = run.until(
        lambda one: one["state_history"][-1]["rank"] == "verdict", "the journal's own tale", within=BACK_S
    )
    assert state_of(record) == ("CRASHED", "Lost")
    assert "Lost" in history_of(record)
    until(lambda: host.crew.spool.folders() == [], "the journal to be shipped", told=run.told)
    written = [entry.message for entry in run.lines() if isinstance(entry, entries.Log)]
    assert len(written) > len(on_record)  # what was written after the cut was on the lost host alone
    assert sorted(written) == sorted(host.crew.logs(run.id))
    tasks = [run_ for run_ in run.journal().runs.values() if not run_.is_flow]
    assert len(host.crew.tasks(run.id)) == len(tasks)


def test_row_30_the_journal_holds_the_end(host: Host) -> None:
    """A run that had completed when its host was lost is Lost at first, and then Completed."""
    run = begin(host.crew)
    host.network.cut()
    let_end(host.crew)
    until(lambda: "COMPLETED" in _types(run), "the run to end", told=run.told)
    host.lose(run)
    host.network.mend()
    run.until(lambda one: state_of(one) == ("CRASHED", "Lost"), "it presumed lost", within=LEASE_S + 5.0)
    host.come_back()
    record = run.until(lambda one: one["state_type"] == "COMPLETED", "the state it earned", within=BACK_S)

    assert "Lost" in history_of(record)
    until(lambda: host.crew.spool.folders() == [], "the journal to be shipped", told=run.told)
    for task in host.crew.tasks(run.id):
        assert state_of(task) == ("COMPLETED", "Completed")


def _types(run: Run) -> list[str]:
    return [entry.type for entry in run.lines() if isinstance(entry, entries.State) and entry.run == run.id]


def test_row_29_lost_before_it_began(host: Host) -> None:
    """A run whose worker dies between the claim and the start of its process is presumed Lost, too."""
    template = until(host.crew.worker.template, "the template process")
    os.kill(template.pid, signal.SIGSTOP)  # the worker waits for it; nothing is started
    run = host.crew.run(host.crew.deploy(STEADY), enough=str(host.crew.folder))
    run.until(lambda one: one["state_type"] == "PENDING", "the claim")
    until(host.crew.spool.folders, "the worker to begin it", told=run.told)
    host.crew.worker.kill()
    template.kill()
    lost = run.until(lambda one: one["state_type"] == "CRASHED", "it presumed lost", within=LEASE_S + 5.0)

    assert state_of(lost) == ("CRASHED", "Lost")
    assert lost["start_time"] is None
    assert lost["run_count"] == 0


def test_row_39_torn_last_line(host: Host) -> None:
    """A journal whose last line is torn is shipped up to it, and the run is judged as one of a lost host."""
    run = begin(host.crew)
    host.lose(run)
    folder = run.folder()
    whole = [entry.message for _, entry in iterate(folder.journal) if isinstance(entry, entries.Log)]
    printed = folder.output.read_text(encoding="utf-8", errors="replace").replace("\0", "").splitlines()
    with folder.journal.open("ab") as file:
        file.write(b'{"k":"log","t":1790000000000000,"level":20,"logger":"headrace.flow_r')
    run.until(lambda one: state_of(one) == ("CRASHED", "Lost"), "it presumed lost", within=LEASE_S + 5.0)
    host.come_back()
    record = run.until(
        lambda one: one["state_history"][-1]["rank"] == "verdict", "the verdict on record", within=BACK_S
    )

    assert state_of(record) == ("CRASHED", "Lost")
    until(lambda: host.crew.spool.folders() == [], "the journal to be shipped", told=run.told)
    told = Counter(host.crew.logs(run.id))
    assert Counter(whole) - told == Counter()
    # What it had printed when its supervisor was killed is told by the one who takes the journal up.
    assert set(told - Counter(whole)) <= set(printed)


def test_the_worker_is_stopped_twice(own_crew: Crew) -> None:
    """A second SIGTERM ends a worker at once; what it started goes on."""
    run = begin(own_crew)
    own_crew.worker.terminate()
    own_crew.worker.terminate()
    assert own_crew.worker.wait(10.0) in (0, -signal.SIGTERM)
    let_end(own_crew)

    assert state_of(run.end(within=1.0)) == ("COMPLETED", "Completed")
