"""A server that is away for long: supervisors take no more memory and disk than they may, and what is left out is told.

On SQLite: a server that is away is so whatever its database is, and this is of the hosts.
"""

from __future__ import annotations

import contextlib
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from ..verdicts.crew import Crew, Run, at_work
from ..verdicts.house import House, Script, state_of, until

pytestmark = pytest.mark.timeout(120)

LIMIT = 2_000_000
"""What one journal may take on disk."""

MEGABYTES = 16
"""What each run writes in some seven seconds while the server is away."""

RATE = 2_400_000
"""Bytes a second, about: the flow rests in between, as flows do."""

FLOOD = """
    import os
    import sys
    import time
    from headrace import flow, get_run_logger, task

    @task
    def step(number):
        return number

    @flow
    def main(go: str):
        while not os.path.exists(go):
            time.sleep(0.02)
        logger = get_run_logger()
        for number in range(MEGABYTES * 1000):
            logger.info("line %06d %s", number, "x" * 850)
            if number % 100 == 0:
                step(number)
                print("output", number, "y" * 1000, flush=True)
                time.sleep(0.04)

    if __name__ == "__main__":
        main(sys.argv[1])
""".replace("MEGABYTES", str(MEGABYTES))


class Watch:
    """Looks at a supervisor's memory and at the disk under a spool until it is left."""

    def __init__(self, house: House, pid: int) -> None:
        self.first = self.most_memory = 0
        self.most_disk = 0
        self._house, self._process = house, psutil.Process(pid)
        self._enough = threading.Event()
        self._thread = threading.Thread(target=self._look, name="watch")

    def __enter__(self) -> Watch:
        """Begin."""
        self.first = self._process.memory_full_info().uss
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """End."""
        self._enough.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._enough.wait(0.05):
            with contextlib.suppress(psutil.Error, OSError):  # it has just ended, or moved a file
                self.most_memory = max(self.most_memory, self._process.memory_full_info().uss)
                files = [path for path in self._house.spool.open.rglob("*") if path.is_file()]
                self.most_disk = max(self.most_disk, sum(path.stat().st_blocks * 512 for path in files))


@pytest.fixture
def crew(tmp_path: Path) -> Iterator[Crew]:
    """A server, and a worker whose journals may take two megabytes."""
    with at_work(tmp_path / "crew", HEADRACE_SPOOL_LIMIT=LIMIT, HEADRACE_LOGGING_CONSOLE=0) as made:
        yield made


def test_memory_and_disk_stay_within_their_bounds(crew: Crew, tmp_path: Path) -> None:
    """A run and a script write eight times what a journal may take; all their states are there afterwards, and the count."""
    go = tmp_path / "go"
    run = crew.run(crew.deploy(FLOOD, stream_output=False), go=str(go))
    run.until_running()
    script = crew.start(FLOOD, str(go), HEADRACE_SPOOL_LIMIT=LIMIT, HEADRACE_LOGGING_CONSOLE=0)
    companion = script.companion()
    until(lambda: crew.flow_run(script.root()), "the script's run on record")
    crew.server.kill()
    with Watch(crew, run.supervisor().pid) as parents, Watch(crew, companion.pid) as companions:
        go.touch()
        assert script.wait(60.0) == 0, script.output()
        until(lambda: not run.process().is_alive(), "the run to end", within=60.0, told=run.told)
    crew.server.start()
    until(lambda: not crew.spool.folders(), "the journals to be shipped", told=run.told)

    for watch in (parents, companions):
        assert watch.most_memory - watch.first < 12_000_000, (watch.first, watch.most_memory)
    # Two journals, and what two flows write between two looks, a second apart at most.
    assert parents.most_disk < 2 * (LIMIT * 1.1 + RATE * 2), parents.most_disk
    assert_told(crew, run.id, run)
    assert_told(crew, script.root(), script)


def assert_told(crew: Crew, id: str, witness: Run | Script) -> None:
    """Check what is on record of a run that wrote too much: each state, the latest lines, and how many are missing."""
    record = crew.flow_run(id)
    assert record is not None and state_of(record) == ("COMPLETED", "Completed")
    tasks = crew.find("task_runs", {"flow_runs": {"id": {"any_": [id]}}})
    assert Counter(map(state_of, tasks)) == {("COMPLETED", "Completed"): MEGABYTES * 10}
    numbers = [int(line.split()[1]) for line in crew.logs(id) if line.startswith("line ")]
    assert 0 < len(numbers) < MEGABYTES * 500, "nothing had to be left out: nothing is proved"
    assert numbers == sorted(set(numbers))
    assert numbers[-1] == MEGABYTES * 1000 - 1, "the oldest go first"
    missing = MEGABYTES * 1000 - len(numbers)
    told = [line for line in crew.logs(id, logger="headrace.supervisor") if "spool_limit" in line]
    assert told, witness.told()
    journal = crew.get(f"/journals/{witness.folder().id}")  # type: ignore[union-attr]  # it is shipped, and kept
    assert journal is not None and journal["missing"] >= missing
