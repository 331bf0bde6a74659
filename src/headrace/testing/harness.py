"""Run flows in a test: recorded in a private home, read back as values."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..engine import recorder as _recorder
from ..journal.reader import iterate
from ..journal.spool import Spool
from ..model import entries
from ..model.runs import Journal, Run, fold
from ..settings import Settings, load


class Harness:
    """What ran inside a test, as the runs' own journals tell it."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    @property
    def home(self) -> Path:
        """The private home folder."""
        return self.settings.home_path

    def runs(self) -> list[Run]:
        """Return every flow run and task run so far, in the order of their making."""
        return [run for journal in self._journals() for run in journal.runs.values()]

    def flow_runs(self, flow: str | None = None) -> list[Run]:
        """Return the flow runs, or those of one flow by its name."""
        return [
            run
            for run in self.runs()
            if isinstance(run.entry, entries.FlowRun) and flow in (None, run.entry.flow)
        ]

    def task_runs(self, name: str | None = None) -> list[Run]:
        """Return the task runs, or those whose name begins with ``name``."""
        return [
            run
            for run in self.runs()
            if isinstance(run.entry, entries.TaskRun) and run.entry.name.startswith(name or "")
        ]

    def logs(self) -> list[str]:
        """Return the messages of all logs so far, oldest first."""
        return [
            entry.message
            for folder in Spool(self.home).folders()
            for _, entry in iterate(folder.journal)
            if isinstance(entry, entries.Log)
        ]

    def _journals(self) -> list[Journal]:
        return [fold(Journal(f.id), iterate(f.journal)) for f in Spool(self.home).folders()]


@contextlib.contextmanager
def headrace_test_harness(record: bool = True, **settings: Any) -> Iterator[Harness]:
    """Run the flows within in a private home, which is gone afterwards; yields a :class:`Harness`.

    No server is needed and no process is started. With ``record=False`` nothing is written at all. Other
    settings can be given by name (``logging_level="DEBUG"``). For a whole test session, use it in a fixture::

        @pytest.fixture(autouse=True, scope="session")
        def private_home():
            with headrace_test_harness():
                yield

    Raises:
        SettingError: an unknown setting.
    """
    with tempfile.TemporaryDirectory(prefix="headrace-test-") as home:
        chosen = load().replace(
            home=home, api_url="", record=record, **{"logging_console": False, **settings}
        )
        made = _recorder.Recorder(chosen, supervised=False)
        made.open()
        before = _recorder.use(made)
        try:
            yield Harness(chosen)
        finally:
            _recorder.use(before)
            made.close()
