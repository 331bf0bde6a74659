"""Rows 23 to 25 under a worker: the server or its database goes away under a run, and comes back."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path

from headrace.model.states import TERMINAL
from headrace.testing.postgres import Cluster

from .crew import Crew, Run, at_work
from .house import Json, history_of, state_of, until
from .test_outages import moment_us
from .test_worker_rows_endings import assert_fact

STEADY = """
    import os
    import time
    from headrace import flow, get_run_logger, task

    @task
    def step(number):
        get_run_logger().info("task %d", number)

    @flow
    def steady(enough: str):
        logger = get_run_logger()
        number = 0
        while not os.path.exists(enough):
            number += 1
            logger.info("line %d", number)
            if number % 5 == 0:
                step(number)
                print("printed", number)
            time.sleep(0.004)
        logger.info("written %d", number)
"""


def begin(crew: Crew) -> tuple[Run, Path]:
    """Start the flow `steady`; return its run on record, and the file whose making ends it."""
    enough = crew.folder / f"enough_{len(crew.runs)}"
    run = crew.run(crew.deploy(STEADY, "steady"), enough=str(enough))
    run.until_running()
    return run, enough


def assert_all_there_once(crew: Crew, run: Run) -> None:
    """Check that each log line, each printed line and each task run is on record exactly once."""
    logged = crew.logs(run.id)
    written = int(next(line for line in logged if line.startswith("written ")).split()[1])
    tasks = crew.find("task_runs", {"flow_runs": {"id": {"any_": [run.id]}}})

    def lines(kind: str) -> list[str]:
        return [line for line in logged if line.startswith(kind + " ")]

    assert written >= 50
    assert [f"line {n}" for n in range(1, written + 1)] == lines("line")
    assert [f"task {n}" for n in range(5, written + 1, 5)] == lines("task")
    assert [f"printed {n}" for n in range(5, written + 1, 5)] == lines("printed")
    assert Counter(state_of(task) for task in tasks) == {("COMPLETED", "Completed"): written // 5}


def assert_undisturbed(crew: Crew, given: Run, run: Json) -> None:
    """Check that nothing of an outage shows in a run that has ended."""
    assert state_of(run) == ("COMPLETED", "Completed")
    assert history_of(run)[-2:] == ["Running", "Completed"]
    until(lambda: given.folder().path.parent == crew.spool.shipped, "the journal to be shipped")
    assert_all_there_once(crew, given)
    assert_fact(crew, run)


def held(run: Run) -> int:
    """Return how many bytes of a run's journal are on record."""
    journal = run.crew.get(f"/journals/{run.folder().id}")
    return journal["offset"] if journal is not None else 0


def test_row_23_server_killed_and_started_again(own_crew: Crew) -> None:
    """A server that is SIGKILLed again and again under a run loses nothing and doubles nothing."""
    crew = own_crew
    given, enough = begin(crew)
    for _ in range(3):
        known = held(given)
        until(lambda before=known: held(given) > before, "more on record", told=given.told)
        crew.server.kill()
        crew.server.start()
    enough.touch()
    run = given.end(within=2.0)

    assert_undisturbed(crew, given, run)
    assert crew.worker.is_alive()
    assert state_of(crew.run(crew.deploy(STEADY, "steady"), enough=str(enough)).end()) == (
        "COMPLETED",
        "Completed",
    )


def test_row_23_server_killed_while_runs_are_given_out(own_crew: Crew) -> None:
    """Runs that are asked for, claimed or started while the server is SIGKILLed are each carried out once."""
    crew = own_crew
    marks = crew.folder / "marks"
    marks.mkdir()
    deployment = crew.deploy(
        """
        import os
        from pathlib import Path
        from headrace import flow
        from headrace.runtime import flow_run

        @flow
        def main(marks: str):
            with open(Path(marks, str(flow_run.id)), "a") as file:
                file.write(f"{os.getpid()}\\n")
        """
    )
    for _ in range(3):
        for _ in range(5):
            crew.run(deployment, marks=str(marks))
        crew.server.kill()
        crew.server.start()
    for given in crew.runs:
        run = given.until(lambda one: one["state_type"] in TERMINAL, "its end on record")
        assert state_of(run) == ("COMPLETED", "Completed")
        assert run["run_count"] == 1
        assert_fact(crew, run)
    begun = {path.name: path.read_text().splitlines() for path in marks.iterdir()}
    assert begun.keys() == {given.id for given in crew.runs}
    assert {len(pids) for pids in begun.values()} == {1}, "each was carried out once"


def test_row_24_server_down_when_the_run_ends(own_crew: Crew) -> None:
    """A run that ends while the server is down is on record soon after it is up, with the times of its life."""
    crew = own_crew
    given, enough = begin(crew)
    crew.server.kill()
    seen = len(given.lines())
    until(lambda: len(given.lines()) > seen + 200, "the run to go on", told=given.told)
    process = given.process()
    enough.touch()
    until(lambda: not process.is_alive(), "the run's process to end", told=given.told)
    ended_us = time.time_ns() // 1000
    crew.server.start()
    run = given.until(lambda one: one["state_type"] == "COMPLETED", "the end on record", within=5.0)

    assert moment_us(run["end_time"]) < ended_us
    assert moment_us(run["end_time"]) == given.journal().runs[given.id].end
    assert_undisturbed(crew, given, run)


def test_row_24_crash_while_the_server_is_down(own_crew: Crew) -> None:
    """A run that is killed while the server is down is Crashed soon after it is up, at the time of its death."""
    crew = own_crew
    given, _ = begin(crew)
    crew.server.kill()
    given.kill()
    ended_us = time.time_ns() // 1000
    crew.server.start()
    run = given.until(lambda one: one["state_type"] == "CRASHED", "the end on record", within=5.0)

    assert state_of(run) == ("CRASHED", "Crashed")
    assert run["state"]["state_details"]["evidence"]["signal"] == "SIGKILL"
    assert abs(moment_us(run["end_time"]) - ended_us) < 2_000_000


def test_row_25_postgresql_restarted(tmp_path: Path, postgres: Cluster) -> None:
    """A database that is restarted, and even SIGKILLed, under a run loses nothing and doubles nothing."""
    with postgres.database() as url, at_work(tmp_path / "crew", database_url=url) as crew:
        given, enough = begin(crew)
        try:
            for end in (postgres.stop, postgres.kill):
                known = len(crew.logs(given.id))
                end()
                seen = len(given.lines())
                until(
                    lambda before=seen: len(given.lines()) > before + 100, "the run to go on", told=given.told
                )
                postgres.start()
                until(
                    lambda before=known: len(crew.logs(given.id)) > before + 20,
                    "more lines on record",
                    within=5.0,
                    told=given.told,
                )
            enough.touch()
            run = given.end(within=5.0)

            assert_undisturbed(crew, given, run)
            assert "Traceback" not in (crew.server.home / "server.log").read_text()
            assert state_of(crew.run(crew.deploy(STEADY, "steady"), enough=str(enough)).end()) == (
                "COMPLETED",
                "Completed",
            )
        finally:
            postgres.start()
