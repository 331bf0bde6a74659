"""The spool: every journal has at most one owner, and none is forgotten."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from headrace.journal import spool as spools
from headrace.journal.spool import Folder, Spool
from headrace.model.entries import Open, encode

from . import scripts

DAY = 86_400

HOLD = """
    from headrace.journal.spool import Folder, try_lock
    lock = try_lock(Folder(Path(sys.argv[1])))
    print("held" if lock else "refused", flush=True)
    sys.stdin.read()
    """


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    """The spool of a home folder that does not exist yet."""
    return Spool(tmp_path / "home")


def journal_in(spool: Spool, id: str, header: Open | None = None) -> Folder:
    """Make a journal with its first record."""
    folder = spool.create(id)
    folder.journal.write_bytes(encode(header or header_of(os.getpid())) + b"\n")
    return folder


def header_of(pid: int, **changed: Any) -> Open:
    """Return the first record that the process ``pid`` would write."""
    known: dict[str, Any] = {
        "journal": "j", "t": 1, "anchor": (1, 2), "pid": pid, "started": spools.start_ticks(pid),
        "boot": spools.boot_id(), "host": socket.gethostname(),
    }  # fmt: skip
    return Open(**{**known, **changed})


def holder(folder: Folder) -> subprocess.Popen[str]:
    """Start a process that takes a journal's lock and holds it until its input ends."""
    process = subprocess.Popen(
        scripts.command(HOLD, folder.path), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


# Folders


def test_a_home_folder_that_does_not_exist_has_no_journals(spool: Spool) -> None:
    """The first command a user types may be a listing."""
    assert spool.folders() == []
    assert spool.shipped_folders() == []
    assert list(spool.left_behind()) == []
    assert spool.prune(7) == 0


def test_a_journals_folder_is_its_users_alone(spool: Spool) -> None:
    """Parameters and logs may hold secrets."""
    folder = spool.create("a")

    assert folder.path.stat().st_mode & 0o777 == 0o700
    assert folder.id == "a"


def test_a_folder_without_a_record_never_began_once_it_is_a_minute_old(spool: Spool) -> None:
    """A young one may still begin, and one with a record did."""
    empty, begun = spool.create("empty"), journal_in(spool, "begun")
    made = empty.path.stat().st_mtime

    assert not empty.never_began(made + 59)
    assert empty.never_began(made + 61)
    assert not begun.never_began(made + 1000)
    assert not Folder(spool.open / "gone").never_began(made + 1000)


def test_a_folder_that_was_not_begun_can_be_made_anew(spool: Spool) -> None:
    """What could not be started is forgotten and may come again under the same id."""
    spool.create("j").keep_room()
    spool.discard("j")
    spool.discard("j")

    assert spool.folders() == []
    assert spool.create("j").path.is_dir()


def test_room_for_the_last_states_is_taken_from_the_disk(spool: Spool) -> None:
    """It is taken in full, and taking it twice takes no more."""
    folder = spool.create("j")
    folder.keep_room()
    folder.keep_room()

    assert folder.reserve.stat().st_size == 64 * 1024
    assert folder.reserve.stat().st_blocks * 512 >= 64 * 1024


def test_an_id_is_used_once(spool: Spool) -> None:
    """Two processes never share a folder by accident."""
    spool.create("a")

    with pytest.raises(FileExistsError):
        spool.create("a")


def test_journals_are_listed_oldest_first_and_found_by_the_beginning_of_their_id(spool: Spool) -> None:
    """Ids sort by time; shipped journals are found too; files that lie about are no journals."""
    for id in ("0192-b", "0191-a", "0193-c"):
        journal_in(spool, id)
    (spool.open / "notes.txt").write_text("mine")
    spool.retire(spool.folders()[2])

    assert [folder.id for folder in spool.folders()] == ["0191-a", "0192-b"]
    assert [folder.id for folder in spool.shipped_folders()] == ["0193-c"]
    assert [folder.id for folder in spool.find("0193")] == ["0193-c"]
    assert [folder.id for folder in spool.find("019")] == ["0191-a", "0192-b", "0193-c"]
    assert spool.find("9") == []


def test_a_journal_without_a_readable_beginning_has_no_known_owner(spool: Spool) -> None:
    """Empty, torn or not ours: it is told by ``None``, not by an exception."""
    folder = spool.create("a")

    assert spools.owner_of(folder) is None

    for beginning in (b"", b'{"k":"open","jour', b'{"k":"adopted","t":1,"pid":2}\n', b"\0\0\n"):
        folder.journal.write_bytes(beginning)

        assert spools.owner_of(folder) is None

    folder.journal.write_bytes(encode(header_of(os.getpid())) + b"\n" + b"more\n")

    assert os.getpid() == spools.owner_of(folder).pid  # type: ignore[union-attr]


# Locks


def test_a_journal_has_one_supervisor(spool: Spool) -> None:
    """While one process holds it, no other gets it; with its death, however it died, it is free."""
    folder = journal_in(spool, "a")
    process = holder(folder)

    assert spools.try_lock(folder) is None
    assert spools.is_supervised(folder) is True
    assert list(spool.left_behind()) == []

    process.kill()
    process.communicate()
    lock = spools.try_lock(folder)

    assert lock is not None
    assert spools.try_lock(folder) is None  # nor a second time within one process

    lock.release()

    assert spools.is_supervised(folder) is False


def test_asking_who_supervises_takes_nothing(spool: Spool) -> None:
    """After the question the journal can be taken, by anybody."""
    folder = journal_in(spool, "a")
    for _ in range(3):
        assert spools.is_supervised(folder) is False
    process = holder(folder)
    process.communicate()


def test_a_child_of_the_supervisor_does_not_keep_its_lock(spool: Spool) -> None:
    """The descriptor is closed on exec: what a supervisor starts outlives it without owning its journal."""
    folder = journal_in(spool, "a")
    lock = spools.try_lock(folder)
    assert lock is not None
    child = subprocess.Popen(
        [sys.executable, "-c", "print('up', flush=True); input()"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, close_fds=False,
    )  # fmt: skip
    assert child.stdout is not None
    child.stdout.readline()
    os.close(lock.fd)  # what the kernel does when the supervisor dies
    supervised = spools.is_supervised(folder)
    child.communicate("\n")

    assert supervised is False


def test_a_lock_that_is_given_up_is_free_at_once(spool: Spool) -> None:
    """Even while a forked child still holds a copy of the descriptor."""
    folder = journal_in(spool, "a")
    lock = spools.try_lock(folder)
    assert lock is not None
    copy = os.dup(lock.fd)
    lock.release()
    supervised = spools.is_supervised(folder)
    os.close(copy)

    assert supervised is False


def test_a_journal_that_is_gone_cannot_be_owned(spool: Spool) -> None:
    """Its folder was moved or deleted between the listing and the question."""
    folder = journal_in(spool, "a")
    spool.retire(folder)

    assert spools.try_lock(folder) is None
    assert not folder.path.exists()


@pytest.mark.parametrize("made_anew", [False, True])
def test_a_journal_retired_at_the_moment_of_locking_is_not_owned(
    spool: Spool, monkeypatch: pytest.MonkeyPatch, made_anew: bool
) -> None:
    """Its last owner moved it away after we had opened the lock file and before we held it."""
    folder = journal_in(spool, "a")
    real = spools.fcntl.flock

    def flock(fd: int, how: int) -> None:
        spool.retire(folder)
        if made_anew:
            journal_in(spool, "a").lock.touch()
        real(fd, how)

    monkeypatch.setattr(spools.fcntl, "flock", flock)
    before = len(os.listdir("/dev/fd"))

    assert spools.try_lock(folder) is None
    assert before == len(os.listdir("/dev/fd"))


def test_what_was_left_behind_is_offered_with_its_lock(spool: Spool) -> None:
    """Journals of dead supervisors, oldest first; those of living ones are theirs; two takers share nothing."""
    journals = [journal_in(spool, id) for id in ("a", "b", "c")]
    process = holder(journals[1])
    taken = list(spool.left_behind())

    assert [folder.id for folder, _ in taken] == ["a", "c"]
    assert list(spool.left_behind()) == []

    for _, lock in taken:
        lock.release()
    process.communicate()
    again = list(spool.left_behind())

    assert [folder.id for folder, _ in again] == ["a", "b", "c"]

    for _, lock in again:
        lock.release()


# Retiring and pruning


def test_a_shipped_journal_is_kept_for_a_while_without_what_nobody_needs(spool: Spool) -> None:
    """The records stay, as the run's black box; the reserve and old commands go."""
    folder = journal_in(spool, "a")
    for file in (folder.reserve, folder.commands, folder.stacks):
        file.write_bytes(b"x")
    content = folder.journal.read_bytes()
    spool.retire(folder)
    kept = spool.shipped_folders()[0]

    assert spool.folders() == []
    assert content == kept.journal.read_bytes()
    assert {"journal.jsonl", "stacks"} == {path.name for path in kept.path.iterdir()}


def test_a_journal_that_was_retired_before_is_retired_again_without_harm(spool: Spool) -> None:
    """A supervisor died between the two steps of it."""
    folder = journal_in(spool, "a")
    spool.retire(folder)
    content = spool.shipped_folders()[0].journal.read_bytes()
    spool.retire(journal_in(spool, "a", header_of(1)))

    assert spool.folders() == []
    assert [content] == [kept.journal.read_bytes() for kept in spool.shipped_folders()]


def test_shipped_journals_are_deleted_when_their_days_are_over(spool: Spool) -> None:
    """Only shipped ones: what is not on the server is never deleted."""
    for id, age in (("a", 8), ("b", 6), ("c", 30)):
        folder = journal_in(spool, id)
        os.utime(folder.journal, (1_000 * DAY - age * DAY,) * 2)
        if id != "c":
            spool.retire(folder)
    pruned = spool.prune(7, now=1_000 * DAY)

    assert pruned == 1
    assert [folder.id for folder in spool.shipped_folders()] == ["b"]
    assert [folder.id for folder in spool.folders()] == ["c"]


def test_what_the_server_holds_is_written_down_and_read(spool: Spool) -> None:
    """A hint: nothing, or nonsense, counts as nothing."""
    folder = journal_in(spool, "a")

    assert folder.shipped() == 0

    folder.set_shipped(4096)

    assert folder.shipped() == 4096

    (folder.path / "shipped").write_text("")

    assert folder.shipped() == 0


# Who is alive


def test_a_process_is_alive_until_it_ends(tmp_path: Path) -> None:
    """A zombie is not alive: it runs nothing any more, whoever has not asked for its exit status."""
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    header = header_of(process.pid)

    assert spools.is_alive(header) is True

    process.kill()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # dead, and not reaped

    assert spools.is_alive(header) is False

    process.communicate()

    assert spools.is_alive(header) is False


@pytest.mark.parametrize("changed", [{"started": 1}, {"boot": "an earlier one"}, {"host": "elsewhere"}])
def test_another_process_with_the_same_number_is_another(changed: dict[str, Any]) -> None:
    """Pids come round again: on this host, after a boot, and on every other host."""
    assert spools.is_alive(header_of(os.getpid())) is True
    assert spools.is_alive(header_of(os.getpid(), **changed)) is False


def test_a_process_is_known_by_its_start_whatever_its_name(tmp_path: Path) -> None:
    """The kernel puts the name in brackets, and the name may hold brackets and spaces."""
    odd = tmp_path / "a) R (b"
    odd.symlink_to(Path(sys.executable).resolve())
    process = subprocess.Popen([odd, "-c", "import sys; print('up', flush=True); sys.stdin.read()"],
                               stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)  # fmt: skip
    assert process.stdout is not None
    process.stdout.readline()
    ours, theirs = spools.start_ticks(os.getpid()), spools.start_ticks(process.pid)
    alive = spools.is_alive(header_of(process.pid))
    process.communicate()

    assert ours is not None
    assert theirs is not None
    assert theirs >= ours
    assert alive is True


def test_there_is_no_start_of_a_process_that_is_not() -> None:
    """A number beyond all numbers of processes."""
    assert spools.start_ticks(2**22 + 1) is None
