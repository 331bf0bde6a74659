"""The fold of one batch of a journal: what its lines come to, beside what the database holds.

A line says what has happened and is taken so. What cannot be, beside what the database holds (a state of a
run that nobody made, a run that another journal owns), is counted as torn and harms nothing beside it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
from sqlalchemy.engine import RowMapping

from headrace.model import entries, runs
from headrace.model.ids import state_id_at
from headrace.model.ownership import may_report, may_take_over
from headrace.model.runs import Run
from headrace.server.store import logs
from headrace.server.store.runs import Known

from .lines import LATEST_US
from .made import planned_policy


class Intake:
    """Takes the lines of one batch; :func:`~.saving.save` writes down what they came to."""

    def __init__(self, journal: str, row: RowMapping | None, end: int, now_us: int, *, leased: bool) -> None:
        self.end = end
        """Up to which byte the journal is held with this batch."""
        self.now_us = now_us
        self._leased = leased
        self._row = row
        self._journal = runs.Journal(journal, row["attempt"] if row is not None else 1)
        self._known: dict[str, Known] = {}
        """Runs that have a row."""
        self._new: dict[str, Run] = {}
        """Runs that this batch makes, in its order."""
        self._touched: set[str] = set()
        self._stand_ins: set[str] = set()
        """Task runs that this batch makes to stand for subflows."""
        self._logs: dict[str | None, list[logs.Line]] = {}
        self._asked: dict[str, int] = {}
        self._inputs: list[tuple[int, entries.Input]] = []
        self._planned: dict[str, entries.FlowRun] = {}
        """Runs that the server made, as their own process tells them."""
        self.openings: set[str] = set()
        """Ids of queues and deployments in which room was made, or work: workers that wait should look."""

    def take(self, lines: list[tuple[int, entries.Entry | None]], known: dict[str, Known]) -> None:
        """Fold lines that were never taken before; ``known`` are the runs they tell of that have a row, locked."""
        self._known = dict(known)
        self._journal.runs = {id: one.run for id, one in known.items()}
        for offset, entry in lines:
            if not self._take_line(offset, entry):
                self._journal.torn += 1

    def _take_line(self, offset: int, entry: entries.Entry | None) -> bool:
        """Fold one line; return whether it could be."""
        kind = type(entry)  # by identity: ten thousands of lines a second come through here
        if kind is entries.State or kind is entries.Verdict:
            return self._take_state(offset, entry)  # type: ignore[arg-type]  # narrowed by identity
        if kind is entries.TaskRun or kind is entries.FlowRun:
            return self._take_made(offset, entry)  # type: ignore[arg-type]  # narrowed by identity
        if isinstance(entry, entries.Log):
            line = logs.Line(entry.t, entry.level, entry.logger, entry.message, entry.task_run, offset)
            self._logs.setdefault(entry.flow_run, []).append(line)
            return True
        if isinstance(entry, entries.Asked):
            self._asked.setdefault(entry.run, entry.t)
            return True
        if isinstance(entry, entries.Input):
            return self._take_input(offset, entry)
        if entry is None or (isinstance(entry, entries.Open) and offset != 0):
            return False
        runs.apply(self._journal, offset, entry)
        return True

    def _take_state(self, offset: int, entry: entries.State | entries.Verdict) -> bool:
        if entry.run not in self._new and not self._may_report(self._known.get(entry.run)):
            return False
        runs.apply(self._journal, offset, entry)
        self._touched.add(entry.run)
        return True

    def _take_input(self, offset: int, entry: entries.Input) -> bool:
        run = self._journal.runs.get(entry.run)
        if run is None or not run.is_flow:
            return False
        if entry.run not in self._new and not self._may_report(self._known.get(entry.run)):
            return False
        self._inputs.append((offset, entry))
        return True

    def _may_report(self, known: Known | None) -> bool:
        """Whether this journal may speak of a run: its owner may, and an older attempt may add to the history."""
        if known is None or known.child is not None:
            return False
        journal = self._journal
        return may_report(known.journal, known.run.strength.attempt, journal.id, journal.attempt)

    def _take_made(self, offset: int, entry: entries.FlowRun | entries.TaskRun) -> bool:
        is_flow = isinstance(entry, entries.FlowRun)
        run = self._journal.runs.get(entry.run)
        if isinstance(entry, entries.FlowRun) and entry.planned and entry.run not in self._known:
            return False  # it was deleted while it ran
        if entry.run in self._stand_ins or (run is not None and run.is_flow != is_flow):
            return False
        known = self._known.get(entry.run)
        if known is not None and not self._may_report(known) and not self._take_over(known):
            return False
        if run is None:
            self._new[entry.run] = self._journal.runs[entry.run] = Run(entry.run, is_flow, entry.t)
            if isinstance(entry, entries.FlowRun):
                self._claim_stand_in(entry)
        runs.apply(self._journal, offset, entry)
        self._touched.add(entry.run)
        if isinstance(entry, entries.FlowRun) and entry.planned:
            self._planned[entry.run] = entry
        return True

    def _take_over(self, known: Known) -> bool:
        """Make this journal the owner of a run, if nobody owns it or only an older attempt does."""
        if known.child is not None:
            return False
        if not may_take_over(known.journal, known.run.strength.attempt, self._journal.attempt):
            return False
        self._known[known.run.id] = known._replace(journal=self._journal.id)
        return True

    def _claim_stand_in(self, entry: entries.FlowRun) -> None:
        """Note which task run stands for a subflow, or that none does when the id is taken."""
        id = entry.placeholder
        if id is not None and id not in self._journal.runs and id not in self._stand_ins:
            self._stand_ins.add(id)
        else:
            entry.placeholder = None

    def made(self) -> list[Run]:
        """Return the runs that this batch makes, in its order."""
        return list(self._new.values())

    def seen(self) -> list[Known]:
        """Return the runs that have a row and that lines told of, by id."""
        return [self._known[id] for id in sorted(self._touched - self._new.keys())]

    @property
    def journal(self) -> str:
        """The journal's id."""
        return self._journal.id

    @property
    def closed_us(self) -> int | None:
        """When the journal's process ended, if this batch tells."""
        return self._journal.exit.t if self._journal.exit is not None else None

    def log(self, run: str, line: logs.Line) -> None:
        """Add a line to the log of a flow run."""
        self._logs.setdefault(run, []).append(line)

    def chunks(self) -> Iterator[dict[str, Any]]:
        """Yield the rows of log chunks that hold this batch's lines."""
        for run, lines in self._logs.items():
            yield from logs.chunks(run, self.journal, lines)

    def scattered(self) -> list[str]:
        """Return the flow runs that have just ended whose logs came in several batches."""
        if self._row is None or not self._row["offset"]:
            return []
        ended = (self._journal.runs[id] for id in sorted(self._touched - self._new.keys()))
        return [run.id for run in ended if run.is_flow and not run.is_open]

    def inputs(self) -> Iterator[tuple[str, entries.Input]]:
        """Yield what was said to flow runs, each with the id under which it is kept."""
        for offset, entry in self._inputs:
            yield state_id_at(self.journal, offset), entry

    @property
    def asked(self) -> dict[str, int]:
        """When commands about flow runs reached the supervisor: ``{flow run id: when}``."""
        return self._asked

    def note_openings(self) -> None:
        """Note where room was made by what ended or waits, once all that follows from that has followed."""
        for known in self.seen():
            state = known.run.state
            if not known.run.is_flow or state is None:
                continue
            if not known.run.is_open or state.type in ("SCHEDULED", "PAUSED"):
                self.openings |= {id for id in (known.queue, known.deployment) if id is not None}

    def policies(self) -> dict[str, dict[str, Any]]:
        """Return what the processes of planned runs told in this batch of how they are to be tried again."""
        return {
            id: planned_policy(entry, self._known[id].policy)
            for id, entry in self._planned.items()
            if entry.version is not None  # the supervisor, who makes the record first, does not know the code
        }

    def plans(self) -> dict[str, dict[str, Any]]:
        """Return what the processes of planned runs know of them, as columns."""
        plans: dict[str, dict[str, Any]] = {id: {} for id in self._planned}
        opened = self._journal.opened
        if opened is not None:
            for columns in plans.values():
                columns["infrastructure_pid"] = f"{opened.host}:{opened.pid}:{opened.started}"
        for id, policy in self.policies().items():
            entry = self._planned[id]
            # the name, because the code may have one of its own for its runs (`flow_run_name`)
            plans[id] |= {"name": entry.name, "flow_version": entry.version, "empirical_policy": policy}
        return plans

    def journal_row(self) -> dict[str, Any]:
        """Return the journal's columns as they are to be.

        A lease begins with a poll, and bytes from one who does not poll end it: a script's may be handed over by
        somebody who never comes again. What a worker has confirmed always has a supervisor that polls, or should.
        """
        journal, row, leased = self._journal, self._row, self._leased
        saved: dict[str, Any] = {
            "id": journal.id,
            "offset": self.end,
            "opened_us": self.now_us if row is None else row["opened_us"],
            "last_seen_us": self.now_us,
            "leased": row is not None and row["leased"] and (leased or row["worker_id"] is not None),
            "attempt": journal.attempt,
            "missing": min(journal.missing + (0 if row is None else row["missing"]), LATEST_US),
            "torn": journal.torn + (0 if row is None else row["torn"]),
        }
        if (opened := journal.opened) is not None:
            saved |= {"opened_us": opened.t, "host": opened.host, "pid": opened.pid}
            saved["header"] = msgspec.to_builtins(opened)
        if self.closed_us is not None:
            saved["closed_us"] = self.closed_us
        return saved
