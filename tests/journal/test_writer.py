"""The writer, in processes that are treated badly: what was recorded is in the file, and only there."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from headrace.journal.writer import JournalWriter, open_high
from headrace.model import entries
from headrace.model.entries import Log, encode
from tests import disks

from . import scripts
from .scripts import ended, messages, records, run


def line(text: str) -> bytes:
    return encode(Log(1, 20, "user", text)) + b"\n"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the journal of a test lies."""
    return tmp_path / "journal.jsonl"


def test_a_record_is_in_the_file_when_append_returns(path: Path) -> None:
    """No buffer: another reader sees it at once, and so does the disk after the process is gone."""
    writer = JournalWriter(path)

    assert writer.append(line("one")) is True
    assert messages(path) == ["one"]
    assert writer.append(line("two") + line("three")) is True
    assert messages(path) == ["one", "two", "three"]

    writer.close()


def test_a_process_that_ends_without_a_word_leaves_all_its_records(path: Path) -> None:
    """``os._exit`` runs no clean-up."""
    run(
        """
        writer = JournalWriter(Path(sys.argv[1]))
        for n in range(1000):
            writer.append(line(str(n)))
        os._exit(0)
        """,
        path,
    )

    assert [str(n) for n in range(1000)] == messages(path)


@pytest.mark.parametrize("high", [256, 65_536])
def test_closerange_and_files_opened_in_its_place_get_not_one_byte_of_ours(
    path: Path, tmp_path: Path, high: int
) -> None:
    """Daemons close what they did not open; the numbers are then taken by the user's own files."""
    run(
        """
        journal, folder, high = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
        writer = JournalWriter(journal)
        writer.append(line("before"))
        os.closerange(3, high)
        own = [open(folder / f"user-{n}", "wb", buffering=0) for n in range(600)]
        assert {4, 200, 510} <= {file.fileno() for file in own}, "the journal's number must be taken"
        for n, file in enumerate(own):
            file.write(b"%d" % n)
            writer.append(line(f"after {n}"))
        writer.close()
        for n, file in enumerate(own):
            file.write(b"!")  # still open: closing the journal closed none of them
        """,
        path,
        tmp_path,
        high,
    )

    assert ["before", *(f"after {n}" for n in range(600))] == messages(path)
    assert [f"{n}!" for n in range(600)] == [(tmp_path / f"user-{n}").read_text() for n in range(600)]


def test_a_file_put_exactly_in_the_journals_place_is_left_alone(path: Path, tmp_path: Path) -> None:
    """``dup2`` onto the very descriptor; whoever else lost one is told to look."""
    writer = JournalWriter(path)
    told: list[bool] = []
    writer.on_replaced = lambda: told.append(True)
    number = next(fd for fd in _descriptors() if _is_same(fd, path))
    with open(tmp_path / "user", "wb", buffering=0) as own:
        os.dup2(own.fileno(), number)
        writer.append(line("ours"))
        os.write(number, b"theirs")
        writer.append(line("ours too"))
        writer.close()
        os.close(number)

    assert messages(path) == ["ours", "ours too"]
    assert (tmp_path / "user").read_bytes() == b"theirs"
    assert told == [True]


def _descriptors() -> list[int]:
    return [int(name) for name in os.listdir("/dev/fd")]


def _is_same(fd: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(fd), path.stat())
    except OSError:
        return False


def test_the_journal_stays_out_of_the_way(path: Path) -> None:
    """A program that counts on low descriptor numbers, as old C code does, finds them free."""
    before = os.dup(0)
    os.close(before)
    writer = JournalWriter(path)
    stacks = open_high(path.with_name("stacks"))
    after = os.dup(0)
    os.close(after)
    os.close(stacks)
    writer.close()

    assert before == after
    assert stacks >= 500


def test_a_lowered_limit_of_descriptors_does_not_stop_the_journal(path: Path) -> None:
    """Below our number, then with every descriptor closed: a low one does as well."""
    run(
        """
        import resource
        writer = JournalWriter(Path(sys.argv[1]))
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
        writer.append(line("limit lowered"))
        os.closerange(3, 65536)
        writer.append(line("and closed"))
        late = JournalWriter(Path(sys.argv[1]))
        late.append(line("and opened"))
        """,
        path,
    )

    assert messages(path) == ["limit lowered", "and closed", "and opened"]


def test_without_any_descriptor_states_are_kept_and_logs_are_counted(path: Path) -> None:
    """The run goes on; what is kept is written as soon as a descriptor is to be had."""
    printed = run(
        """
        import resource
        writer = JournalWriter(Path(sys.argv[1]), reserve=Path(sys.argv[1] + ".reserve"))
        os.closerange(3, 65536)
        own = []
        resource.setrlimit(resource.RLIMIT_NOFILE, (40, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
        try:
            while True:
                own.append(os.open("/dev/null", os.O_RDONLY))
        except OSError:
            pass
        print(writer.append(state("kept"), keep=True), writer.append(line("lost") + line("lost too")))
        print(writer.lost_records, writer.lost_reason)
        os.close(own.pop())
        print(writer.append(line("again")), writer.take_lost(), writer.take_lost())
        """,
        path,
    )

    assert printed.splitlines() == ["False False", "2 Too many open files", "True 2 0"]
    assert [entries.State("kept", 1, "COMPLETED"), Log(1, 20, "user", "again")] == records(path)


def test_a_user_who_changes_folder_does_not_change_the_journals(tmp_path: Path) -> None:
    """Even a journal named by a relative path is opened anew where it lay."""
    (tmp_path / "elsewhere").mkdir()
    run(
        """
        writer = JournalWriter(Path("journal.jsonl"), reserve=Path("reserve"))
        os.chdir("elsewhere")
        os.closerange(3, 65536)
        writer.append(line("found"))
        writer.close()
        """,
        cwd=tmp_path,
    )

    assert messages(tmp_path / "journal.jsonl") == ["found"]
    assert list((tmp_path / "elsewhere").iterdir()) == []
    assert not (tmp_path / "reserve").exists()


def test_ten_threads_write_whole_lines_each_in_its_own_order(path: Path) -> None:
    """Nothing is lost, torn or overtaken."""
    writer = JournalWriter(path)
    begin = threading.Barrier(10)

    def work(thread: int) -> None:
        begin.wait()
        for n in range(500):
            writer.append(line(f"{thread} {n} " + "x" * (n % 97)))

    threads = [threading.Thread(target=work, args=(thread,)) for thread in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    writer.close()
    found = [text.split(" ")[:2] for text in messages(path)]

    assert len(found) == 5000
    for number in range(10):
        assert [str(n) for n in range(500)] == [n for thread, n in found if thread == str(number)]


def test_processes_that_share_a_journal_write_whole_lines(path: Path) -> None:
    """A process of a pool appends to its parent's journal: no line within another's, none over another's."""
    script = """
        writer = JournalWriter(Path(sys.argv[1]))
        print("ready", flush=True)
        sys.stdin.readline()
        for n in range(1000):
            writer.append(line(f"{sys.argv[2]} {n} " + "x" * (n % 5000)))
        """
    import subprocess

    processes = [
        subprocess.Popen(
            scripts.command(script, path, who), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for who in "ab"
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        process.communicate("go\n", timeout=30)
    found = [text.split(" ")[:2] for text in messages(path)]

    for who in "ab":
        assert [str(n) for n in range(1000)] == [n for name, n in found if name == who]


def test_a_writer_that_is_killed_leaves_whole_lines_before_the_last(path: Path) -> None:
    """SIGKILL in the middle of writing: every record that was told to be written is there."""
    process = scripts.start(
        """
        writer = JournalWriter(Path(sys.argv[1]))
        n = 0
        while True:
            writer.append(line(f"{n} " + "x" * (n % 9000)))
            n += 1
            if n % 100 == 0:
                print(n, flush=True)
        """,
        path,
    )
    assert process.stdout is not None
    while int(process.stdout.readline()) < 2000:
        pass
    process.send_signal(signal.SIGKILL)
    printed, _ = process.communicate(timeout=30)
    told = int(printed.split("\n")[-2]) if "\n" in printed else 2000
    data = path.read_bytes()
    path.write_bytes(data[: data.rfind(b"\n") + 1])
    numbers = [int(text.split(" ")[0]) for text in messages(path)]

    assert list(range(len(numbers))) == numbers
    assert len(numbers) >= told


def test_a_signal_handler_that_logs_while_a_record_is_written_does_no_harm(path: Path) -> None:
    """The lock is re-entrant, and neither record is lost or torn."""
    run(
        """
        import signal
        writer = JournalWriter(Path(sys.argv[1]))
        heard = 0
        def handler(*_):
            global heard
            writer.append(line(f"signal {heard}"))
            heard += 1
            if heard < 200:
                signal.setitimer(signal.ITIMER_REAL, 0.0003)
        signal.signal(signal.SIGALRM, handler)
        signal.setitimer(signal.ITIMER_REAL, 0.0003)
        n = 0
        while heard < 200:
            writer.append(line(f"main {n}"))
            n += 1
        writer.append(line(f"total {n} {heard}"))
        """,
        path,
    )
    found = messages(path)
    _, main, heard = found[-1].split(" ")

    assert [f"main {n}" for n in range(int(main))] == [text for text in found if text.startswith("main")]
    assert [f"signal {n}" for n in range(int(heard))] == [text for text in found if text.startswith("signal")]


def test_a_journal_that_was_closed_is_opened_again_by_a_late_record(path: Path) -> None:
    """A thread that outlives the main one still has something to say; and closing twice is fine."""
    writer = JournalWriter(path, reserve=path.with_name("reserve"))
    writer.close()
    writer.close()

    assert writer.append(line("late")) is True
    assert messages(path) == ["late"]
    assert not path.with_name("reserve").exists()

    writer.close()


def test_a_journal_that_was_deleted_loses_records_and_raises_nothing(path: Path) -> None:
    """Somebody cleaned up the home folder: the run goes on."""
    printed = run(
        """
        writer = JournalWriter(Path(sys.argv[1]))
        os.closerange(3, 65536)
        os.unlink(sys.argv[1])
        print(writer.append(line("gone")), writer.lost_records, writer.lost_reason)
        writer.close(tell)
        """,
        path,
    )

    assert printed == "False 1 No such file or directory\n"
    assert not path.exists()


@pytest.mark.parametrize("by", ["a supervisor that takes over", "a process that shares it"])
def test_what_is_appended_to_a_torn_line_is_not_lost_with_it(path: Path, by: str) -> None:
    """A process was killed, or out of room, at any byte of its last line: the next record begins a line."""
    whole = line("first") + line("torn")
    for cut in range(len(line("first")), len(whole)):
        path.write_bytes(b"")
        writer = JournalWriter(path)
        writer.append(line("zeroth"))
        with path.open("ab", buffering=0) as other:
            other.write(whole[:cut])
        if by.startswith("a supervisor"):
            writer.close()
            writer = JournalWriter(path)
        writer.append(line("verdict"))
        writer.append(line("exit"))
        writer.close()
        found = [entry.message for entry in records(path) if isinstance(entry, Log)]

        assert [text for text in found if text != "torn"] == ["zeroth", "first", "verdict", "exit"]
        assert ("torn" in found) == (cut == len(whole) - 1)  # only its line end was missing
        assert len(records(path)) == 4 + (cut > len(line("first")))


# A full disk


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 256 KiB."""
    with disks.small_disk(tmp_path / "disk", "256k") as disk:
        yield disk


FULL = """
    folder = Path(sys.argv[1])
    writer = JournalWriter(folder / "journal.jsonl", reserve=folder / "reserve")
    told = 0
    def say(data, keep=False):
        global told
        told += 1
        return writer.append(data, keep=keep)
    say(state("flow", "RUNNING"), keep=True)
    while say(line("x" * 500)):
        pass
    """


def readable(found: list[entries.Entry | None]) -> int:
    """Return how many records can be read, but for those that tell of lost ones."""
    return len([entry for entry in found if entry is not None and not isinstance(entry, entries.Missing)])


def lost(found: list[entries.Entry | None]) -> int:
    """Return how many records a journal says are lost."""
    return sum(entry.records for entry in found if isinstance(entry, entries.Missing))


def test_on_a_full_disk_logs_are_counted_and_states_are_written_from_the_reserve(small_disk: Path) -> None:
    """The run goes on and ends; its end is on the disk, and so is the number of records that are not."""
    script = """
        for n in range(100):
            assert say(state(f"task-{n}"), keep=True)
            assert not say(line("no room"))
        assert say(state("flow"), keep=True)
        print(told, writer.lost_records, writer.lost_reason)
        writer.close(tell)
        """
    told, counted, reason = run([FULL, script], small_disk).split(maxsplit=2)
    found = records(small_disk / "journal.jsonl")

    assert [*(f"task-{n}" for n in range(100)), "flow"] == ended(small_disk / "journal.jsonl")
    assert [entries.Missing(1, int(counted), "the disk is full")] == [
        entry for entry in found if isinstance(entry, entries.Missing)
    ]
    assert reason == "the disk is full\n"
    assert int(told) == readable(found) + lost(found)
    assert found.count(None) <= 1
    assert not (small_disk / "reserve").exists()


def test_the_end_of_a_run_is_written_even_when_its_tasks_used_up_the_reserve(small_disk: Path) -> None:
    """Ten thousand tasks on a full disk: the newest states are kept longest, and the last of all is the flow's."""
    script = """
        for n in range(10_000):
            say(state(f"task-{n}"), keep=True)
        assert not say(state("flow"), keep=True)
        assert writer.lost_records > 5000, "memory is not the place for all of them"
        writer.close(tell)
        print(told)
        """
    told = run([FULL, script], small_disk)
    found = records(small_disk / "journal.jsonl")

    assert ended(small_disk / "journal.jsonl")[-2:] == ["task-9999", "flow"]
    assert int(told) == readable(found) + lost(found)


def test_when_there_is_room_again_what_was_kept_is_written_and_logs_are_taken(small_disk: Path) -> None:
    """Somebody freed the disk while the run went on: no state is lost, and they are in their order."""
    fill = """
        (Path(sys.argv[1]) / "other").write_bytes(b"x" * 100_000)
        """
    script = """
        for n in range(1500):
            say(state(f"task-{n}"), keep=True)
        assert not say(state("last"), keep=True)
        (folder / "other").unlink()
        assert say(line("room again"))
        assert (folder / "reserve").stat().st_size == 65536
        writer.close(tell)
        """
    run([fill, FULL, script], small_disk)

    assert [*(f"task-{n}" for n in range(1500)), "last"] == ended(small_disk / "journal.jsonl")
    assert Log(1, 20, "user", "room again") in records(small_disk / "journal.jsonl")


def test_past_a_limit_on_the_size_of_files_the_run_goes_on(tmp_path: Path) -> None:
    """``ulimit -f``: the signal that it sends ends nobody, and what is kept is written when the limit is lifted."""
    limit = """
        import resource
        hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
        """
    script = """
        for n in range(50):
            assert not say(state(f"task-{n}"), keep=True)
            assert not say(line("no room"))
        assert writer.lost_reason == "File too large"
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
        assert say(line("lifted"))
        writer.close(tell)
        """
    run([limit, FULL, script], tmp_path)
    found = records(tmp_path / "journal.jsonl")

    assert [f"task-{n}" for n in range(50)] == ended(tmp_path / "journal.jsonl")
    assert lost(found) == 51
    assert found.count(None) <= 1


def test_a_file_system_that_cannot_keep_room_back_still_takes_logs(
    path: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """No reserve is no reason to hold anything back: the folder may be read-only, or descriptors scarce."""
    writer = JournalWriter(path, reserve=tmp_path / "no such folder" / "reserve")

    assert writer.append(line("taken")) is True
    assert messages(path) == ["taken"]

    writer.close()


def test_room_is_kept_back_where_the_system_has_no_call_for_it(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """macOS: zeros take room too."""
    monkeypatch.delattr(os, "posix_fallocate")
    writer = JournalWriter(path, reserve=path.with_name("reserve"))

    assert path.with_name("reserve").stat().st_size == 65_536

    writer.close()
