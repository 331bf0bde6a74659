"""A run's process: user code that logs, calls tasks, fails, is tried again, dies or is told to end."""

from __future__ import annotations

from typing import TYPE_CHECKING

from headrace.model import entries
from headrace.model.orders import Claim
from headrace.model.verdict import Ending

from .world import Actor

if TYPE_CHECKING:
    from .host import Folder, Host

KINDS = ("returns", "raises", "killed", "exits")


class Process(Actor):
    """One process; it speaks to nobody, and only writes in its journal."""

    def __init__(self, host: Host, folder: Folder, claim: Claim) -> None:
        super().__init__(host.world)
        self.ending: Ending | None = None
        self._host, self._folder, self._claim = host, folder, claim
        random = host.world.random
        self._retries = host.retries_of(claim.run.id)
        self._used = claim.run.tries_used
        self._kind = random.choices(KINDS, host.habits.endings)[0]
        self._obeys = random.random() < 0.7
        self._code_runs = False
        self._steps = random.randint(0, host.habits.steps)
        self.later(random.uniform(0.01, 0.3), self._begin)

    def _begin(self) -> None:
        self._host.oracle.code_begins(self._folder.journal)
        self._code_runs = True
        self._tell("RUNNING", "Retrying" if self._used else "Running")
        self._later_step(self._steps)

    def _later_step(self, left: int) -> None:
        self.later(self._host.world.random.expovariate(1 / self._host.habits.step_s), self._step, left)

    def _step(self, left: int) -> None:
        random = self._host.world.random
        if left <= 0 or (self._kind in ("killed", "exits") and random.random() < 0.3):
            return self._finish()
        now_us = self._host.now_us
        self._folder.logged += 1
        line = entries.Log(now_us, 20, "flow", f"line {self._folder.logged}", flow_run=self._claim.run.id)
        if random.random() < 0.4:
            self._write(line, *self._task(now_us))
        else:
            self._write(line)
        return self._later_step(left - 1)

    def _task(self, now_us: int) -> list[entries.Entry]:
        """Return the records of a task that may still run when this process dies."""
        id = self._host.world.new_id()
        made = entries.TaskRun(id, now_us, "task", "task-0", id[:8], flow_run=self._claim.run.id)
        records: list[entries.Entry] = [made, entries.State(id, now_us, "RUNNING")]
        if self._host.world.random.random() < 0.8:
            records.append(entries.State(id, now_us + 1, "COMPLETED"))
        return records

    def _finish(self) -> None:
        if self._kind == "killed":
            return self.die(Ending(signal=9))
        if self._kind == "exits":
            return self.die(Ending(code=1))
        if self._kind == "raises" and self._used < self._retries:
            self._used += 1
            self._tell("SCHEDULED", "AwaitingRetry")
            return self.later(1.0, self._try_again)
        return self._conclude("COMPLETED" if self._kind == "returns" else "FAILED")

    def _try_again(self) -> None:
        self._kind = self._host.world.random.choices(KINDS, self._host.habits.endings)[0]
        self._tell("RUNNING", "Retrying")
        self._later_step(self._steps)

    def _conclude(self, type: str) -> None:
        end = self._tell(type, None)
        self._tell_refused()
        self._stop_code((end, type))
        self.later(0.02, self.die, Ending(code=0 if type == "COMPLETED" else 1))

    def cancel(self) -> None:
        """Be told to end; some do, some do not hear."""
        if self._obeys and self._code_runs:
            self.later(0.2, self._obey)

    def _obey(self) -> None:
        if self._code_runs:
            self._conclude("CANCELLED")

    def die(self, ending: Ending) -> None:
        """End, however that comes; whoever stands over it sees it at once."""
        if not self.is_up:
            return
        self.end()
        self.ending = ending
        self._stop_code(None)
        supervisor = self._folder.supervisor
        if supervisor is not None and supervisor.is_up:
            supervisor.later(0.001, supervisor.close)

    def _stop_code(self, told: tuple[int, str] | None) -> None:
        if self._code_runs:
            self._code_runs = False
            self._host.oracle.code_ends(self._folder.journal, told)
            self.life += 1  # nothing of what it was about to do is done

    def _tell(self, type: str, name: str | None) -> int:
        return self._write(entries.State(self._claim.run.id, self._host.now_us, type, name))

    def _tell_refused(self) -> None:
        """Say how many lines found no room; who is killed cannot."""
        refused = self._folder.disk.refused
        if refused:
            self._host.oracle.seen["unwritten"] += refused
            self._write(entries.Missing(self._host.now_us, refused, "No space left on device", logs=refused))
        self._folder.is_accounted_for = True

    def _write(self, *records: entries.Entry) -> int:
        end = self._folder.disk.append(*records)
        if self._folder.supervisor is not None:
            self._folder.supervisor.wake()
        return end
