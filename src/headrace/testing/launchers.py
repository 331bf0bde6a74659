"""What every launcher has to keep: tests to inherit, and the bench on which they are run.

A test file of a launcher makes a :class:`Bench` in a fixture named ``bench`` and inherits the tests::

    class TestProcessLauncher(LauncherSuite):
        pass

Everything is real: a server, claimed runs, flows from files; what happened is read from the server. So the same
tests hold for processes, containers and pods. The folder of the bench has to be there, under the same path, where
its runs are.
"""

from __future__ import annotations

import concurrent.futures
import itertools
import select
import textwrap
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from ..client.connection import Connection
from ..errors import LaunchError
from ..journal.spool import Folder, Spool
from ..model.orders import FILE, Claims, Order, encode_order
from ..worker.job import order_of
from ..worker.launcher import Gone, Launcher, Running

Json = dict[str, Any]
T = TypeVar("T")

PATIENCE_S = 30.0
"""How long anything may take before a test gives up; a launcher of pods may raise it."""

_LOOK_S = 0.02
_TERMINAL = ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")


class Started:
    """A run that a bench has started."""

    def __init__(self, bench: Bench, order: Order, folder: Folder, running: Running) -> None:
        self.id = order.claim.run.id
        self.folder = folder
        self.running = running
        self._bench = bench

    def json(self) -> Json:
        """Return the run as the server has it."""
        run: Json = self._bench.connection.get(f"/flow_runs/{self.id}")
        return run

    def state(self, *, within: float = PATIENCE_S) -> tuple[str, str, str]:
        """Wait until the run has ended; return its state's type, name and message."""
        self._bench.until(lambda: self.json()["state_type"] in _TERMINAL, f"the end of run {self.id}", within)
        state = self.json()["state"]
        return state["type"], state["name"], state["message"] or ""

    def gone(self, *, within: float = PATIENCE_S) -> Gone:
        """Wait until what carries the run out has ended."""
        self._bench.until(lambda: self.running.poll() is not None, "the end of what carries it out", within)
        found = self.running.poll()
        assert found is not None, "what had ended is there again"
        return found

    def lines(self) -> list[str]:
        """Return the messages of its log so far."""
        body = {"logs": {"flow_run_id": {"any_": [self.id]}}, "sort": "TIMESTAMP_ASC", "limit": 200}
        logs = self._bench.connection.post("/logs/filter", body, repeatable=True)
        return [log["message"] for log in logs]

    def says(self, text: str) -> None:
        """Wait until its log has a line that holds ``text``."""
        self._bench.until(
            lambda: any(text in line for line in self.lines()),
            f"{text!r} in the log of run {self.id}",
            PATIENCE_S,
        )


class Bench:
    """A launcher before a real server: makes deployments of flows, claims their runs, has them started."""

    def __init__(
        self,
        connection: Connection,
        make: Callable[[], Launcher],
        destroy: Callable[[Started], None],
        home: Path,
    ) -> None:
        """Make a bench with a work pool of its own.

        ``make`` makes a launcher whose runs speak to the server behind ``connection``; ``destroy`` kills
        everything of a run from outside, its supervisor too, as when the power goes. Journals lie below ``home``.
        """
        self.connection = connection
        self.make = make
        self.destroy = destroy
        self.launcher = make()
        self.folder = home / "bench"
        self.folder.mkdir(parents=True, exist_ok=True)
        self.pool = f"bench-{uuid.uuid4().hex[:8]}"
        connection.post("/work_pools/", {"name": self.pool, "type": "process"})
        self._launchers = [self.launcher]
        self._spool = Spool(home)
        self._worker_id = str(uuid.uuid4())
        self._have: list[str] = []
        self._numbers = itertools.count()

    def another(self) -> Launcher:
        """Return a launcher of another worker of the pool."""
        self._launchers.append(self.make())
        return self._launchers[-1]

    def close(self) -> None:
        """Close the launchers."""
        for launcher in self._launchers:
            launcher.close()

    def deploy(self, code: str, *, decorator: str = "@flow", **variables: Any) -> str:
        """Deploy a flow whose body is ``code`` with job variables; return the deployment's id."""
        name = f"flow_{next(self._numbers)}"
        body = textwrap.indent(textwrap.dedent(code).strip(), "    ")
        text = f"import os, signal, subprocess, sys, time\nfrom pathlib import Path\nfrom headrace import flow\n\n\n{decorator}\ndef body():\n{body}\n"
        (self.folder / f"{name}.py").write_text(text, encoding="utf-8")
        flow = self.connection.post("/flows/", {"name": name})
        made = self.connection.post(
            "/deployments/",
            {
                "name": "bench",
                "flow_id": flow["id"],
                "work_pool_name": self.pool,
                "path": str(self.folder),
                "entrypoint": f"{name}.py:body",
                "job_variables": variables,
            },
        )
        return str(made["id"])

    def orders(self, deployment: str, count: int = 1) -> list[Order]:
        """Make runs of a deployment, claim them, and return their orders."""
        for _ in range(count):
            self.connection.post(f"/deployments/{deployment}/create_flow_run", {})
        orders: list[Order] = []
        while len(orders) < count:
            found = self._claim(count - len(orders))
            assert found.claims, f"the server gave {len(orders)} of {count} runs"
            orders += [order_of(claim, found.template, "bench") for claim in found.claims]
        return orders

    def _claim(self, limit: int) -> Claims:
        asked = {
            "worker_id": self._worker_id,
            "worker_name": "bench",
            "limit": limit,
            "wait": 10,
            "have": self._have,
        }
        found = msgspec.convert(self.connection.post(f"/work_pools/{self.pool}/claim", asked), Claims)
        self._have += [claim.journal for claim in found.claims]
        return found

    def start(self, order: Order) -> Started:
        """Write an order into the folder of its journal and have it started."""
        folder: Folder = self._spool.create(order.claim.journal)
        (folder.path / FILE).write_bytes(encode_order(order))
        return Started(self, order, folder, self.launcher.start(order, folder))

    def run(self, code: str, *, decorator: str = "@flow", **variables: Any) -> Started:
        """Deploy a flow, and start a run of it."""
        [order] = self.orders(self.deploy(code, decorator=decorator, **variables))
        return self.start(order)

    def until(self, look: Callable[[], T], what: str, within: float) -> T:
        """Return what ``look`` returns once it is true.

        Raises:
            AssertionError: that took longer than ``within`` seconds.
        """
        end = time.monotonic() + within
        while not (found := look()):
            if time.monotonic() > end:
                raise AssertionError(f"Waited {within:g} s for {what}, in vain.")
            time.sleep(_LOOK_S)
        return found


class LauncherSuite:
    """Tests that every launcher passes; a subclass in a test file inherits them, with a fixture ``bench``."""

    def test_a_run_ends_in_its_own_state(self, bench: Bench) -> None:
        """It is found while it goes on, and gone afterwards, however often one asks."""
        gate = bench.folder / "gate"
        run = bench.run(f"while not Path({str(gate)!r}).exists(): time.sleep(0.01)")
        run_says = bench.until(lambda: run.json()["state_type"] == "RUNNING", "the run to begin", PATIENCE_S)
        found = bench.another().find(run.running.identity)
        assert run_says and run.running.poll() is None
        assert found is not None and found.poll() is None and found.identity == run.running.identity
        gate.touch()

        assert run.state()[0] == "COMPLETED"
        run.gone()
        assert isinstance(run.running.poll(), Gone)
        assert bench.launcher.find(run.running.identity) is None
        run.running.stop(0.0)  # what has ended is left alone

    def test_an_error_of_the_flow_is_the_flows(self, bench: Bench) -> None:
        """Failed, with its message; the launcher has no say in it."""
        run = bench.run("raise ValueError('out of paper')")
        kind, _, message = run.state()
        assert kind == "FAILED" and "out of paper" in message
        run.gone()

    def test_the_end_can_be_waited_for(self, bench: Bench) -> None:
        """The descriptor is readable at the end and not before, where there is one."""
        gate = bench.folder / "gate"
        run = bench.run(f"while not Path({str(gate)!r}).exists(): time.sleep(0.01)")
        waited_for = run.running.fileno()
        if waited_for is not None:
            assert select.select([waited_for], [], [], 0) == ([], [], [])
        gate.touch()
        if waited_for is not None:
            assert select.select([waited_for], [], [], PATIENCE_S)[0] == [waited_for]
        run.gone()

    def test_a_fresh_start_is_the_same_to_a_run(self, bench: Bench) -> None:
        """Only slower."""
        run = bench.run("print('from a new interpreter')", start="fresh")
        assert run.state()[0] == "COMPLETED"
        run.says("from a new interpreter")

    def test_environment_and_working_folder_arrive(self, bench: Bench) -> None:
        """A variable is set, another one unset; the folder is the current one."""
        place = bench.folder / "place"
        place.mkdir()
        code = "print('is', os.environ['COLOUR'], os.environ.get('LANG'), os.getcwd())"
        for start in ("warm", "fresh"):
            run = bench.run(code, env={"COLOUR": "blue", "LANG": None}, working_dir=str(place), start=start)
            assert run.state()[0] == "COMPLETED"
            run.says(f"is blue None {place}")

    def test_what_a_run_prints_is_in_its_log(self, bench: Bench) -> None:
        """By print, to standard error, past Python, and by what it starts."""
        run = bench.run(
            """
            print("a print")
            print("to standard error", file=sys.stderr)
            os.write(1, b"past Python\\n")
            subprocess.run(["echo", "by another program"], check=True)
            """
        )
        assert run.state()[0] == "COMPLETED"
        for text in ("a print", "to standard error", "past Python", "by another program"):
            run.says(text)

    def test_what_a_run_logs_is_told_once(self, bench: Bench) -> None:
        """Also where its worker shows what it logs."""
        run = bench.run("from headrace import get_run_logger; get_run_logger().info('one line')")
        assert run.state()[0] == "COMPLETED"
        run.gone()
        assert [line for line in run.lines() if "one line" in line] == ["one line"]

    def test_a_run_is_called_as_its_flow_says(self, bench: Bench) -> None:
        """``flow_run_name`` holds for planned runs, too."""
        run = bench.run("print('called')", decorator="@flow(flow_run_name='by-its-flow')")
        assert run.state()[0] == "COMPLETED"
        assert run.json()["name"] == "by-its-flow"

    def test_a_refused_order_is_reported(self, bench: Bench) -> None:
        """The run ends as Failed, with the reason."""
        [order] = bench.orders(bench.deploy("print('never')"))
        order.refusal = "The job setting timeout is 'soon'."
        run = bench.start(order)
        kind, _, message = run.state()
        assert kind == "FAILED" and "timeout is 'soon'" in message
        run.gone()
        assert "never" not in run.lines()

    def test_a_stopped_run_may_clean_up(self, bench: Bench) -> None:
        """It is told to end, and not that somebody had asked for a cancel."""
        run = bench.run(
            "try:\n    print('begun', flush=True); time.sleep(600)\nfinally:\n    print('cleaned up')"
        )
        run.says("begun")
        run.running.stop(20.0)
        assert run.state()[:2] == ("CRASHED", "Terminated")
        run.says("cleaned up")
        run.gone()

    def test_a_run_that_ignores_it_is_killed_after_the_grace_time(self, bench: Bench) -> None:
        """With all that it has started; also when another worker asks."""
        run = bench.run(
            """
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            print("deaf", flush=True)
            while True:
                try:
                    time.sleep(600)
                except BaseException:
                    pass
            """
        )
        run.says("deaf")
        found = bench.another().find(run.running.identity)
        assert found is not None
        found.stop(0.2)
        assert run.state()[0] == "CRASHED"
        run.gone()

    def test_what_is_killed_from_outside_is_seen(self, bench: Bench) -> None:
        """It is gone; the run, of which nobody is left to tell, is presumed lost by the server."""
        run = bench.run("print('begun', flush=True); time.sleep(600)")
        run.says("begun")
        bench.destroy(run)
        run.gone()
        assert bench.launcher.find(run.running.identity) is None
        assert run.state()[0] == "CRASHED"

    def test_twenty_are_started_at_once(self, bench: Bench) -> None:
        """From several threads; each is its own, and all end well."""
        orders = bench.orders(bench.deploy("print('one of many')"), 20)
        with concurrent.futures.ThreadPoolExecutor(8) as threads:
            runs = list(threads.map(bench.start, orders))
        assert len({run.running.identity for run in runs}) == 20
        assert [run.state()[0] for run in runs] == ["COMPLETED"] * 20
        for run in runs:
            run.gone()

    def test_a_closed_launcher_leaves_its_runs_alone(self, bench: Bench) -> None:
        """They go on and end as they would have; closing twice is fine."""
        gate = bench.folder / "gate"
        run = bench.run(
            f"print('begun', flush=True)\nwhile not Path({str(gate)!r}).exists(): time.sleep(0.01)"
        )
        run.says("begun")
        bench.launcher.close()
        bench.launcher.close()
        later = bench.another().find(run.running.identity)
        assert later is not None and later.poll() is None
        gate.touch()
        assert run.state()[0] == "COMPLETED"
        bench.until(lambda: later.poll() is not None, "its end", PATIENCE_S)

    def test_what_cannot_be_known_is_not_guessed(self, bench: Bench) -> None:
        """A name that means nothing here is no proof that its run has ended."""
        try:
            found = bench.launcher.find("nobody here made this name")
        except LaunchError as error:
            assert str(error)
        else:
            raise AssertionError(f"find() said {found!r} of a name that it cannot know")
