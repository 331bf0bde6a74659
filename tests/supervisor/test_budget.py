"""What goes when a journal passes its budget, and what never does."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.journal.reader import iterate
from headrace.journal.spool import Folder
from headrace.model import entries
from headrace.model.shipping import Shipping
from headrace.supervisor.budget import Budget
from headrace.supervisor.ship import Shipper, Still

RUN = "01a20895-1cb6-7c3c-a3d8-66c0ff0e3eb1"


class StandIn(Shipper):
    """A shipper that ships nothing; the server's copy may end at any of ``ends``."""

    def __init__(self, folder: Folder, ends: list[int]) -> None:
        self._shipping = Shipping(is_first=False)
        self.ends = ends
        self._file = folder.journal

    def catch_up(self) -> int:
        """Return the file's size."""
        return self._file.stat().st_size

    @contextlib.contextmanager
    def standing_still(self) -> Iterator[Still | None]:
        """Give the whole file."""
        yield Still(0, self.ends, self.catch_up())


def log(level: int, number: int, size: int) -> bytes:
    """Return a log line of the journal."""
    return entries.encode(entries.Log(number, level, "headrace", f"{number} {'x' * size}", RUN)) + b"\n"


def state(number: int) -> bytes:
    """Return a state of the journal."""
    return entries.encode(entries.State(RUN, number, "RUNNING")) + b"\n"


def messages(found: list[entries.Entry | None], level: int) -> list[int]:
    """Return the numbers of the log lines of a level."""
    return [int(e.message.split()[0]) for e in found if isinstance(e, entries.Log) and e.level == level]


def states(found: list[entries.Entry | None]) -> list[int]:
    """Return the numbers of the states."""
    return [entry.t for entry in found if isinstance(entry, entries.State)]


lines = st.lists(
    st.tuples(st.sampled_from(["debug", "info", "state"]), st.integers(0, 3000)), min_size=100, max_size=250
)


@settings(max_examples=40)
@given(lines, st.integers(20_000, 200_000), st.data())
def test_states_and_offsets_survive(made: list[tuple[str, int]], limit: int, data: st.DataObject) -> None:
    """Wherever the server's copy ends, with the rest of the packed file it has every state once, in order."""
    with tempfile.TemporaryDirectory() as name:
        folder = Folder(Path(name))
        levels = {"debug": 10, "info": 20}
        written = [
            state(n) if kind == "state" else log(levels[kind], n, size) for n, (kind, size) in enumerate(made)
        ]
        before = b"".join(written)
        folder.journal.write_bytes(before)
        positions = [sum(map(len, written[:n])) for n in range(len(written))]
        ends = sorted(set(data.draw(st.lists(st.sampled_from(positions), max_size=4))))

        dropped = Budget(folder, limit).keep(StandIn(folder, ends))
        after = folder.journal.read_bytes()

        assert len(after) == len(before)
        for end in [0, *ends]:
            joined = folder.path / "joined"
            joined.write_bytes(before[:end] + after[end:])
            found = [entry for _, entry in iterate(joined)]
            assert None not in found, "no line is torn"
            assert states(found) == [n for n, (kind, _) in enumerate(made) if kind == "state"]
        kept = [entry for _, entry in iterate(folder.journal)]
        assert len(kept) + dropped == len(made)
        assert messages(kept, 10) == sorted(messages(kept, 10))


def test_a_journal_within_its_budget_is_left_alone(tmp_path: Path) -> None:
    """Nothing is read and nothing goes while there is room."""
    folder = Folder(tmp_path)
    folder.journal.write_bytes(b"".join(log(10, n, 500) for n in range(100)))
    before = folder.journal.read_bytes()

    assert Budget(folder, 1_000_000).keep(StandIn(folder, [])) == 0
    assert folder.journal.read_bytes() == before


def test_debug_logs_between_states_make_room(tmp_path: Path) -> None:
    """Logs go also where every second line is a state, and their room goes back to the file system."""
    folder = Folder(tmp_path)
    folder.journal.write_bytes(b"".join(log(10, n, 900) + state(n) for n in range(2000)))
    dropped = Budget(folder, 500_000).keep(StandIn(folder, []))
    found = [entry for _, entry in iterate(folder.journal)]

    assert dropped > 1000
    assert states(found) == list(range(2000))
    assert messages(found, 10) == list(range(dropped, 2000)), "the oldest went"
    assert folder.journal.stat().st_blocks * 512 <= 500_000


def test_logs_go_only_when_debug_logs_are_not_enough(tmp_path: Path) -> None:
    """The debug logs of the whole journal go before its oldest other log."""
    folder = Folder(tmp_path)
    folder.journal.write_bytes(b"".join(log(20, n, 500) + log(10, n, 500) for n in range(1000)))
    budget = Budget(folder, 1_000_000)
    budget.keep(StandIn(folder, []))
    found = [entry for _, entry in iterate(folder.journal)]

    assert messages(found, 20) == list(range(1000))
    assert len(messages(found, 10)) < 1000


def test_packing_that_a_kill_cut_short_is_finished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A supervisor killed while it moved lines loses none: the next one finishes from its note."""
    folder = Folder(tmp_path)
    folder.journal.write_bytes(b"".join(log(10, n, 900) + state(n) for n in range(2000)))

    def killed(fd: int, data: bytes, offset: int) -> int:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("headrace.supervisor.budget.os.pwrite", killed)
        with pytest.raises(KeyboardInterrupt):
            Budget(folder, 500_000).keep(StandIn(folder, []))
    with folder.journal.open("r+b") as file:  # half of the move was made
        file.write(b"\0" * 3000)
    Budget(folder, 500_000)
    found = [entry for _, entry in iterate(folder.journal)]

    assert states(found) == list(range(2000))
    assert not (tmp_path / "packing").exists()
