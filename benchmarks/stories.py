"""What flow runs of a busy week write down: task runs that differ in name, length, end and what they are given.

Most task runs are Pending, Running, Completed. Of a hundred two fail, two are tried again first, some take a result of
a task run before them, and a few carry tags. Eight are on their way at once. The same seed tells the same stories.
"""

from __future__ import annotations

import heapq
import random
import socket
from collections.abc import Iterator
from typing import Any

from headrace.model import entries, names
from headrace.model.ids import IdFactory

from .journals import Journal

FLOWS = tuple(
    f"{what}-{how}"
    for what in ("orders", "billing", "search", "stock")
    for how in ("hourly", "daily", "backfill")
)
_TASKS = ("list_partitions", "extract", "clean", "join_customers", "validate", "load", "publish", "notify")
_AT_ONCE = 8
_FRAME = '  File "/srv/flows/warehouse/{}.py", line {}, in {}\n    {}\n'

_LINES = (
    "Read {n} rows of s3://warehouse/{table}/day={day}/part-{part:05}.parquet in {ms} ms",
    "Wrote {n} rows to {table}_staging, {m} rows were there already; commit took {ms} ms",
    "GET https://api.example.com/v2/{table}?page={part}&size=500 200 {n} bytes {ms} ms",
    "Partition {part} of {table}: {n} valid, {m} rejected, checksum {hash:08x}",
    "Retrying {table} after a timeout, attempt {m}, waited {ms} ms, next host is db-{part:02}",
    "Cache hit for key {table}/{hash:08x}, {n} bytes, age {ms} s",
)
_LINE = 100


class Teller:
    """Make up the journals of whole flow runs, one after the other."""

    def __init__(self, seed: int) -> None:
        self._rng = random.Random(seed)
        self._ids = IdFactory()

    def of_tasks(self, t: int, tasks: int, *, open_runs: int = 0) -> Journal:
        """Return the journal of a flow run with so many task runs that began at ``t``; the last ``open_runs`` go on."""
        return self._journal(
            t, lambda run: self._tasks(run, t + 20_000, tasks, open_runs), ends=not open_runs
        )

    def of_logs(self, t: int, lines: int) -> Journal:
        """Return the journal of a flow run that logs so many lines of 100 characters, ten of each task run."""
        return self._journal(t, lambda run: self._logs(run, t + 20_000, lines), ends=True)

    def _journal(self, t: int, middle: Any, *, ends: bool) -> Journal:
        id, run, rng = self._ids.new(t), self._ids.new(t), self._rng
        anchor = (t * 1_000, rng.randrange(10**15))
        told: list[entries.Entry] = [
            entries.Open(
                id,
                t,
                anchor,
                rng.randrange(1 << 20),
                rng.randrange(1 << 22),
                self._ids.new(t),
                socket.gethostname(),
            ),
            entries.FlowRun(
                run, t + 300, rng.choice(FLOWS), names.run_name(rng.getrandbits(32)), tags=["nightly"]
            ),
            entries.State(run, t + 15_000, "RUNNING"),
            *middle(run),
        ]
        if ends:
            end = max(entry.t for entry in told)
            told += [entries.State(run, end + 900, "COMPLETED"), entries.Exit(end + 40_000, 0)]
        return Journal(id, b"".join(entries.encode(one) + b"\n" for one in told))

    def _tasks(self, flow_run: str, t: int, tasks: int, open_runs: int) -> Iterator[entries.Entry]:
        """Yield the records of task runs in the order of their times, as threads of one process write them."""
        made: list[str] = []
        free = [t] * _AT_ONCE  # when each thread has done what it does
        waiting: list[tuple[int, int, entries.Entry]] = []
        for number in range(tasks):
            begin = heapq.heappop(free)
            story = list(self._task(flow_run, begin, number, made))
            if number >= tasks - open_runs:
                story = story[:2]
            for entry in story:
                heapq.heappush(waiting, (entry.t, self._rng.getrandbits(40), entry))
            heapq.heappush(free, story[-1].t + 120)
            while waiting and waiting[0][0] <= free[0]:
                yield heapq.heappop(waiting)[2]
        while waiting:
            yield heapq.heappop(waiting)[2]

    def _task(self, flow_run: str, t: int, number: int, made: list[str]) -> Iterator[entries.Entry]:
        rng, run = self._rng, self._ids.new(t)
        end = rng.random()
        task = _TASKS[number % len(_TASKS)]
        inputs = None
        if made and rng.random() < 0.3:
            inputs = {"rows": [{"input_type": "task_run", "id": rng.choice(made[-_AT_ONCE:])}]}
        made.append(run)
        dynamic_key = str(number // len(_TASKS))
        yield entries.TaskRun(
            run, t, f"{task}-{hash_of(task):08x}", f"{task}-{dynamic_key}", dynamic_key, flow_run,
            tags=["external"] if rng.random() < 0.05 else None, retries=2 if end < 0.02 else 0, inputs=inputs,
        )  # fmt: skip
        t += rng.randrange(150, 30_000)
        yield entries.State(run, t, "RUNNING")
        if end < 0.02:  # tried again, and then well
            t += rng.randrange(1_000, 20_000_000)
            message = "Attempt 1 of 3 failed: TimeoutError: no answer within 10 s"
            yield entries.State(run, t, "SCHEDULED", "AwaitingRetry", message, _evidence(task, number))
            t += rng.randrange(1_000_000, 3_000_000)
            yield entries.State(run, t, "RUNNING", "Retrying")
        t += int(rng.lognormvariate(12, 2))  # half of them take longer than 0.16 s
        if 0.02 <= end < 0.04:
            yield entries.State(
                run, t, "FAILED", None, f"ValueError: no rows in part {number}", _evidence(task, number)
            )
        elif 0.04 <= end < 0.041:
            yield entries.State(run, t, "CRASHED", None, "The process was killed by signal 9.")
        elif 0.041 <= end < 0.06:
            yield entries.State(run, t, "COMPLETED", "Cached")
        else:
            yield entries.State(run, t, "COMPLETED")

    def _logs(self, flow_run: str, t: int, lines: int) -> Iterator[entries.Entry]:
        rng, task = self._rng, None
        for number in range(lines):
            if number % 10 == 0:
                task = self._ids.new(t)
            t += int(rng.lognormvariate(9, 2))
            level = rng.choices((10, 20, 30, 40), (20, 70, 8, 2))[0]
            yield entries.Log(t, level, "headrace.task_runs", self._line(t), flow_run, task)

    def _line(self, t: int) -> str:
        rng = self._rng
        text = rng.choice(_LINES).format(
            n=rng.randrange(1, 100_000), m=rng.randrange(1, 50), ms=rng.randrange(2, 5_000), part=rng.randrange(200),
            table=rng.choice(FLOWS).replace("-", "_"), day=f"2026-11-{1 + t // 86_400_000_000 % 28:02}", hash=rng.getrandbits(32),
        )  # fmt: skip
        return (text + " | host etl-07 zone eu-central-1b worker pool default queue nightly")[:_LINE].ljust(
            _LINE, "."
        )


def hash_of(text: str) -> int:
    """Return 32 bits of a text, the same ones in every process."""
    return random.Random(text).getrandbits(32)


def _evidence(task: str, number: int) -> dict[str, Any]:
    frames = _FRAME.format("tasks", 40 + number % 90, task, "rows = source.read(part)")
    frames += _FRAME.format("sources", 212, "read", 'raise ValueError(f"no rows in part {part}")')
    told = f"Traceback (most recent call last):\n{frames}ValueError: no rows in part {number}"
    return {
        "evidence": {
            "exception": {"type": "ValueError", "message": f"no rows in part {number}", "traceback": told}
        }
    }
