"""The one place of a process that writes its journal, and that starts the companion which ships it.

A process has at most one recorder; it is made at the first run. A forked child never writes in its
parent's journal: its copy is muted, and a run of its own makes it a journal of its own.
"""

from __future__ import annotations

import atexit
import contextlib
import faulthandler
import logging
import os
import pwd
import sys
import threading
import time
from pathlib import Path

import msgspec

from .. import settings as _settings
from ..journal import cgroup
from ..journal import spool as _spool
from ..journal.writer import JournalWriter, open_high
from ..model import entries, marks
from ..model.clock import AnchoredClock
from ..model.ids import IdFactory
from ..model.release import __version__
from . import companion, sampler

_CHECK_EVERY_US = 2_000_000
"""How often a record looks whether the supervisor still lives (about 10 µs each time)."""

_STARTING_US = 3_000_000
"""How long a companion may take until it holds its lock, before another is started."""

encode = entries.encode
Entry = entries.Entry


class Recorder:
    """Write a process's records; with ``settings.record`` off it does nothing, as fast as it can."""

    def __init__(
        self, settings: _settings.Settings, *, clock: AnchoredClock | None = None, supervised: bool = True
    ) -> None:
        self.settings = settings
        self._is_supervised = supervised
        """Whether a companion ships the journal; a test harness reads it itself."""
        self.clock = clock or AnchoredClock()
        self.now = self.clock.now_us
        self.ids = IdFactory()
        self.pid = os.getpid()
        self.helper_pid: int | None = None
        """Set in a process that carries out tasks for another one: written into its records."""
        self.muted = not settings.record
        self.muted_by_fork = False
        self.folder: _spool.Folder | None = None
        self.journal = self.ids.new(self.now())
        self.level: int = getattr(logging, settings.logging_level.upper())
        self._writer: JournalWriter | None = None
        self._supervised_at = 0
        self._started_at = 0
        self._stacks = -1

    @property
    def writes(self) -> bool:
        """Whether records go anywhere."""
        return not self.muted

    @property
    def is_shipped(self) -> bool:
        """Whether a server will know what is recorded here."""
        return self._is_supervised and not self.muted

    def new_id(self) -> str:
        """Return a new id."""
        return self.ids.new(self.now())

    def record(self, *records: Entry, keep: bool = False) -> None:
        """Append records in one write; states (``keep``) are kept in memory while the disk is full."""
        if self.muted:
            return
        writer = self._writer
        assert writer is not None
        try:
            data = b"".join([encode(record) + b"\n" for record in records])
        except (TypeError, ValueError, RecursionError) as error:  # text or values that JSON cannot hold
            data = _without_details(records) if keep else b""
            if not data:
                writer.lost_records += len(records)
                writer.lost_reason = f"not JSON: {error}"
                return
        written = writer.append(data, keep=keep)
        if writer.lost_records and written:
            self._tell_lost(writer)
        now = self.now()
        if now - self._supervised_at > _CHECK_EVERY_US:
            self._look_for_supervisor(now)

    def open(self) -> None:
        """Make the journal and start the companion; called once, before the first record."""
        if self.muted:
            return
        try:
            self.folder = _spool.Spool(self.settings.home_path).create(self.journal)
            self._writer = JournalWriter(self.folder.journal, reserve=self.folder.reserve)
        except OSError as error:
            self.muted = True
            print(  # the one way left to tell the user
                f"headrace: no journal can be written in {self.settings.home_path} ({error.strerror}), so this "
                "process's runs are not recorded. Free or change the folder (HEADRACE_HOME).",
                file=sys.__stderr__,
            )
            return
        self._writer.append(encode(self._header()) + b"\n", keep=True)
        self._watch_faults()
        self._writer.on_replaced = self._watch_faults
        if not self._is_supervised:
            self._supervised_at = sys.maxsize // 2
            return
        self._start_companion()
        os.environ[marks.JOURNAL] = self.journal
        atexit.register(self._at_exit)
        sampler.start(self)

    def adopt(self, path: Path, journal: str) -> None:
        """Write in another process's journal, as one of its helpers."""
        self.journal = journal
        self.helper_pid = os.getpid()
        self._writer = JournalWriter(path)
        self._supervised_at = sys.maxsize // 2  # the process itself looks after its supervisor

    def take_over(self, folder: _spool.Folder, header: entries.Open) -> None:
        """Write in the journal that a supervisor began for this process."""
        self.folder, self.journal = folder, header.journal
        self.clock = AnchoredClock(header.anchor)
        self.now = self.clock.now_us
        self._writer = JournalWriter(folder.journal, reserve=folder.reserve)
        self._watch_faults()
        self._writer.on_replaced = self._watch_faults
        self._supervised_at = self.now()
        os.environ[marks.JOURNAL] = self.journal
        atexit.register(self._at_exit)

    def close(self) -> None:
        """Write nothing more; for a recorder that ends before its process does."""
        self.muted = True
        sampler.stop_for(self)
        if self._writer is not None:
            self._writer.close()
        if self._stacks != -1:
            faulthandler.disable()
            os.close(self._stacks)
            self._stacks = -1

    def ensure_supervised(self) -> None:
        """Start another companion if the one there was has died; called where a run ends."""
        if not self.muted and self.helper_pid is None:
            now = self.now()
            if now - self._supervised_at > _CHECK_EVERY_US // 4:
                self._look_for_supervisor(now)

    def _header(self) -> entries.Open:
        import platform  # only once a process

        pid = os.getpid()
        try:
            user: str | None = pwd.getpwuid(os.getuid()).pw_name
        except KeyError:  # a container's user without a name
            user = None
        return entries.Open(
            journal=self.journal,
            t=self.now(),
            anchor=self.clock.anchor,
            pid=pid,
            started=_spool.start_ticks(pid) or 0,
            boot=_spool.boot_id(),
            host=_spool.host_name(),
            user=user,
            python=platform.python_version(),
            headrace=__version__,
            oom_kills=cgroup.oom_kills(cgroup.oom_counter()),
            argv=[str(word) for word in getattr(sys, "argv", [])][:50],
            cwd=_cwd(),
            kind="container" if pid == 1 else "script",
        )

    def _watch_faults(self) -> None:
        """Have the Python stacks written beside the journal if native code faults."""
        if self.folder is None or (faulthandler.is_enabled() and self._stacks == -1):
            return  # the user's own faulthandler stays as it is
        with contextlib.suppress(OSError, ValueError):
            self._stacks = open_high(self.folder.stacks)
            faulthandler.enable(self._stacks, all_threads=True)

    def _start_companion(self) -> None:
        assert self.folder is not None
        self._started_at = self._supervised_at = self.now()
        companion.start(self.folder.path, self.settings)

    def _look_for_supervisor(self, now: int) -> None:
        self._supervised_at = now
        if self.folder is None or now - self._started_at < _STARTING_US:
            return
        if not _spool.is_supervised(self.folder) and self.folder.journal.exists():
            self._start_companion()

    def _tell_lost(self, writer: JournalWriter) -> None:
        lost = writer.take_lost()
        writer.append(encode(entries.Missing(self.now(), lost, writer.lost_reason)) + b"\n", keep=True)

    def _at_exit(self) -> None:
        if self.muted or os.getpid() != self.pid or self._writer is None:
            return
        self._writer.close(lambda lost, why: encode(entries.Missing(self.now(), lost, why)) + b"\n")
        self.ensure_supervised()
        wait = self.settings.wait_for_shipping
        if wait < 0:
            wait = 30.0 if os.getpid() == 1 else 0.0
        if wait > 0 and self.folder is not None:
            _wait_until_shipped(self.folder, wait)


def _without_details(records: tuple[Entry, ...]) -> bytes:
    """Encode states once more, bare: their details may hold what JSON cannot, but how a run stands must be told.

    Raises:
        RecursionError: there is no room on the stack even for that; a caller further up has more.
    """
    bare = [
        msgspec.structs.replace(record, details=None, message=record.message and ascii(record.message))
        if isinstance(record, entries.State)
        else record
        for record in records
    ]
    try:
        return b"".join([encode(record) + b"\n" for record in bare])
    except (TypeError, ValueError):
        return b""


def _wait_until_shipped(folder: _spool.Folder, seconds: float) -> None:
    """Hold the process's end up until its companion has shipped all there is, and say what is left if not."""
    size = folder.journal.stat().st_size
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if folder.shipped() >= size:
            return
        if folder.is_adopted() and not _spool.is_supervised(folder):
            break  # its supervisor has come and gone: nobody ships any more
        time.sleep(0.05)
    left = size - folder.shipped()
    if left > 0:
        print(  # the script ends: nobody else can say it
            f"headrace: {left} bytes of this run's journal are not on the server yet. They stay in "
            f"{folder.path}; `headrace journal ship` sends them.",
            file=sys.__stderr__,
        )


def _cwd() -> str | None:
    try:
        return str(Path.cwd())
    except OSError:
        return None


_current: Recorder | None = None
_making = threading.Lock()


def recorder() -> Recorder:
    """Return this process's recorder; make it, its journal and its companion if there is none yet.

    Raises:
        SettingError: a setting cannot be read.
    """
    global _current
    found = _current
    if found is not None:
        return found
    with _making:
        if _current is None:
            made = Recorder(_settings.load())
            made.open()
            _current = made
        return _current


def use(made: Recorder | None) -> Recorder | None:
    """Make ``made`` this process's recorder (``None``: the next run makes one); return the one before."""
    global _current
    before, _current = _current, made
    return before


def current_settings() -> _settings.Settings:
    """Return the settings of this process's runs without making a recorder."""
    if _current is not None:
        return _current.settings
    return _settings.load()


def _after_fork_in_child() -> None:
    global _current, _making
    _making = threading.Lock()
    if _current is not None:
        _current.muted = _current.muted_by_fork = True
        _current.ids.reseed()
        _current = None


os.register_at_fork(after_in_child=_after_fork_in_child)
