"""The spool: where journals lie on a host, and who owns each.

::

    HOME/spool/<journal id>/     journals of living processes, and those left behind
        journal.jsonl            what happened
        lock                     held (flock) by the journal's supervisor while it lives
        stacks                   what faulthandler wrote
        commands                 what the supervisor asks of the process, read on SIGTERM
        reserve                  disk space kept back for the last states
        stop                     how long a run that is to be stopped has to end
        heard                    there once the process has heard that it is to end
        run.json                 what a worker told the process to do
        output                   what a worker's run wrote to standard output and error
        sample                   where a worker's run stood when it last looked
    HOME/journals/<journal id>/  journals that the server has whole
"""

from __future__ import annotations

import fcntl
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import msgspec

from ..model.entries import Open
from ..model.orders import FILE as ORDER_FILE
from ..model.orders import Order, decode_order, encode_order
from .reader import read_header
from .writer import fill_reserve

_BEGIN_S = 60.0
"""How long the first record of a journal may take on a busy machine."""


class Folder(NamedTuple):
    """The files of one journal."""

    path: Path

    @property
    def id(self) -> str:
        """The journal's id."""
        return self.path.name

    @property
    def journal(self) -> Path:
        """The records."""
        return self.path / "journal.jsonl"

    @property
    def lock(self) -> Path:
        """Held by the supervisor while it lives."""
        return self.path / "lock"

    @property
    def stacks(self) -> Path:
        """Where faulthandler writes."""
        return self.path / "stacks"

    @property
    def commands(self) -> Path:
        """JSON that the run process reads when it gets a SIGTERM."""
        return self.path / "commands"

    def request(self, action: str, run: str) -> Path:
        """JSON that asks a run to ``suspend`` or to ``resume``; the run process looks for it."""
        return self.path / f"{action}-{run}.json"

    @property
    def output(self) -> Path:
        """What a worker's run wrote to standard output and error."""
        return self.path / "output"

    @property
    def heard(self) -> Path:
        """There once the process has heard that it is to end."""
        return self.path / "heard"

    @property
    def stop(self) -> Path:
        """Holds the seconds that a run which is to be stopped has to end."""
        return self.path / "stop"

    @property
    def code(self) -> Path:
        """Where what pull steps bring is put; it goes with the run."""
        return self.path.parent.parent / "code" / self.id

    def drop_code(self) -> None:
        """Delete what pull steps brought."""
        if self.code.exists():
            _remove(Folder(self.code))

    def order(self) -> Order | None:
        """Return what a worker told the process to do; ``None`` for a script."""
        try:
            return decode_order((self.path / ORDER_FILE).read_bytes())
        except (OSError, msgspec.MsgspecError):
            return None

    def write_order(self, order: Order) -> None:
        """Write down what the process is to do, for it and its supervisors."""
        with open(self.path / ORDER_FILE, "wb", opener=_private) as file:  # pathlib takes no opener
            file.write(encode_order(order))

    @property
    def reserve(self) -> Path:
        """Disk space kept back."""
        return self.path / "reserve"

    def keep_room(self) -> None:
        """Keep disk space back for the last states of a run before it begins.

        Raises:
            OSError: the disk is full.
        """
        fill_reserve(self.reserve)

    def adopt(self) -> None:
        """Mark that a supervisor has come: from now on a free lock means that it has died."""
        (self.path / "adopted").touch()

    def is_adopted(self) -> bool:
        """Say whether a supervisor has come, dead by now or not."""
        return (self.path / "adopted").exists()

    def awaits_supervisor(self, seconds: float, now: float) -> bool:
        """Say whether the journal is so young that its own supervisor is still to come.

        Only that one was handed a way to see how the process ended; nobody should come before it.
        """
        try:
            return not self.is_adopted() and now - self.journal.stat().st_mtime < seconds
        except OSError:
            return False

    def never_began(self, now: float) -> bool:
        """Say whether it is a minute old and holds no record: whoever made it died before anything began."""
        try:
            return now - self.path.stat().st_mtime > _BEGIN_S and read_header(self.journal) is None
        except OSError:
            return False

    def shipped(self) -> int:
        """Return how many bytes the server is known to hold, as the supervisor last wrote down."""
        try:
            return int((self.path / "shipped").read_text(encoding="ascii"))
        except (OSError, ValueError):
            return 0

    def set_shipped(self, offset: int) -> None:
        """Write down how many bytes the server holds. It is a hint for people and for a script's exit."""
        (self.path / "shipped").write_text(str(offset), encoding="ascii")


class Lock(NamedTuple):
    """The ownership of a journal; it ends with the process, or with :meth:`release`."""

    fd: int

    def release(self) -> None:
        """Give the ownership up, also where a forked child still has a copy of the descriptor."""
        fcntl.flock(self.fd, fcntl.LOCK_UN)
        os.close(self.fd)


class Spool:
    """The folders of journals below a home folder."""

    def __init__(self, home: Path) -> None:
        self.open = home / "spool"
        self.shipped = home / "journals"

    def create(self, journal: str) -> Folder:
        """Make the folder of a new journal."""
        folder = Folder(self.open / journal)
        folder.path.mkdir(parents=True, mode=0o700)
        return folder

    def discard(self, journal: str) -> None:
        """Delete the folder of a journal that was not begun."""
        _remove(Folder(self.open / journal))

    def folders(self) -> list[Folder]:
        """Return the journals that are not known to be shipped, oldest first."""
        return _folders(self.open)

    def shipped_folders(self) -> list[Folder]:
        """Return the shipped journals that are still kept, oldest first."""
        return _folders(self.shipped)

    def find(self, text: str) -> list[Folder]:
        """Return the journals whose id begins with ``text``."""
        return [f for f in [*self.folders(), *self.shipped_folders()] if f.id.startswith(text)]

    def retire(self, folder: Folder) -> None:
        """Move a journal that the server has whole out of the spool."""
        self.shipped.mkdir(parents=True, exist_ok=True, mode=0o700)
        target = self.shipped / folder.id
        if target.exists():
            _remove(folder)
            return
        folder.path.replace(target)
        for name in ("reserve", "commands", "heard", "stop", "output", "output.at", "sample", ORDER_FILE):
            (target / name).unlink(missing_ok=True)
        for request in (*target.glob("resume-*"), *target.glob("suspend-*")):
            request.unlink(missing_ok=True)

    def prune(self, keep_days: int, now: float | None = None) -> int:
        """Delete shipped journals older than ``keep_days``; return how many."""
        before = (time.time() if now is None else now) - keep_days * 86_400
        pruned = 0
        for folder in self.shipped_folders():
            try:
                if folder.journal.stat().st_mtime < before:
                    _remove(folder)
                    pruned += 1
            except OSError:
                continue
        return pruned

    def left_behind(self) -> Iterator[tuple[Folder, Lock]]:
        """Yield each journal that has no supervisor, with its lock taken; the caller releases it."""
        for folder in self.folders():
            lock = try_lock(folder)
            if lock is not None:
                yield folder, lock


def _folders(parent: Path) -> list[Folder]:
    try:
        names = sorted(entry.name for entry in os.scandir(parent) if entry.is_dir())
    except FileNotFoundError:
        return []
    return [Folder(parent / name) for name in names]


def try_lock(folder: Folder) -> Lock | None:
    """Take a journal's ownership, or return ``None`` when a living supervisor has it."""
    try:
        fd = os.open(folder.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError:
        return None
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        found = folder.lock.stat()  # its last owner may have retired the folder since we opened the file
        if not os.path.samestat(found, os.fstat(fd)):
            raise FileNotFoundError
    except OSError:
        os.close(fd)
        return None
    return Lock(fd)


def take_lock(folder: Folder, seconds: float) -> Lock | None:
    """Take a journal's ownership, also from those who only look whether somebody has it.

    They hold it for microseconds, on a busy machine for longer; whoever has it after ``seconds`` is a supervisor:
    then ``None`` is returned, as for a journal that is gone.
    """
    until = time.monotonic() + seconds
    while (lock := try_lock(folder)) is None and folder.path.exists() and time.monotonic() < until:
        time.sleep(0.005)
    return lock


def is_supervised(folder: Folder) -> bool:
    """Say whether a living supervisor holds the journal (a few microseconds)."""
    lock = try_lock(folder)
    if lock is None:
        return True
    lock.release()
    return False


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _remove(folder: Folder) -> None:
    import shutil  # only supervisors and the command line remove journals

    shutil.rmtree(folder.path, ignore_errors=True)


def host_name() -> str:
    """Return this host's name, as journals tell it."""
    return os.uname().nodename


def boot_id() -> str:
    """Return a text that is another after each boot of this host."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        import psutil  # macOS: heavy, and only needed there

        return str(int(psutil.boot_time()))


_HAS_PROC = sys.platform == "linux"


def start_ticks(pid: int) -> int | None:
    """Return a process's start time as the kernel counts it, or ``None`` when there is no such process."""
    if _HAS_PROC:
        try:
            stat = Path(f"/proc/{pid}/stat").read_bytes()
        except OSError:
            return None
        return int(stat[stat.rindex(b")") + 2 :].split()[19])
    import psutil  # not Linux: the portable way

    try:
        return int(psutil.Process(pid).create_time() * 1000)
    except psutil.NoSuchProcess:
        return None


def is_alive(header: Open) -> bool:
    """Say whether the process that a journal belongs to still runs on this host."""
    here = header.host == host_name() and header.boot == boot_id()
    return here and is_running(header.pid, header.started)


def is_running(pid: int, started: int) -> bool:
    """Say whether the process of this host that began at ``started`` runs; what has ended and lingers does not."""
    return start_ticks(pid) == started and not _is_zombie(pid)


def _is_zombie(pid: int) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return False
    return stat[stat.rindex(b")") + 2 : stat.rindex(b")") + 3] in (b"Z", b"X")


def owner_of(folder: Folder) -> Open | None:
    """Return the header of a journal, or ``None`` when not even that is readable."""
    return read_header(folder.journal)
