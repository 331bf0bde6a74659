"""The benchmarks' table says what was measured, and what was not."""

from __future__ import annotations

import struct
import sys
from contextlib import closing
from pathlib import Path

import pytest

from benchmarks import __main__ as program
from benchmarks import page, peer, processes
from benchmarks.client import Client
from benchmarks.measure import Row
from benchmarks.servers import serving
from benchmarks.side import OURS
from benchmarks.table import Line, missed, render

_COST = Row("a task", "µs", 35)
_RATE = Row("ingest", "/s", 10_000)


def test_a_line_quotes_the_median_the_best_and_the_ratio() -> None:
    """The ratio is the peer's cost over ours, or our rate over the peer's."""
    text = render([Line(_COST, [30, 20, 90], [3_000]), Line(_RATE, [12_000], [3_000])], "3.9.1")
    first, second = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines()[2:]]

    assert first == ["a task", "≤ 35 µs", "30 µs", "20 µs", "3,000 µs", "100 ×"]
    assert second == ["ingest", "≥ 10,000/s", "12,000/s", "12,000/s", "3,000/s", "4 ×"]


def test_a_missed_floor_and_a_row_without_values_are_told() -> None:
    """Neither passes for kept."""
    lines = [Line(_COST, [36.0], []), Line(_RATE, [], [])]

    assert missed(lines) == ["a task", "ingest"]
    assert "36 µs (missed)" in render(lines, None)
    assert "not measured" in render(lines, None)


def test_the_page_keeps_all_but_what_stands_between_its_markers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Written twice it holds the second table alone; without markers it is not touched."""
    monkeypatch.setattr(page, "PATH", tmp_path / "page.md")
    page.PATH.write_text(f"above\n{page.BEGIN}\n{page.END}\nbelow\n", encoding="utf-8")
    page.write("first")
    page.write("second")

    assert page.PATH.read_text(encoding="utf-8") == f"above\n{page.BEGIN}\n\nsecond\n\n{page.END}\nbelow\n"
    page.PATH.write_text("no markers", encoding="utf-8")
    with pytest.raises(ValueError, match="markers"):
        page.write("third")


def test_a_requirement_is_known_by_its_name_alone() -> None:
    """However its versions are written."""
    written = ["certifi>=2026.10.19", "httpx[http2]!=0.23.2", "pendulum<4,>=3.1.0; python_version < '3.13'"]

    assert [peer._name_of(line) for line in written] == ["certifi", "httpx", "pendulum"]


@pytest.mark.skipif(
    sys.platform != "linux", reason="only Linux hands orphans to a process that asks for them"
)
def test_what_a_program_leaves_behind_is_waited_for_and_counted(tmp_path: Path) -> None:
    """A child that outlives its parent, in a session of its own, counts with all its processor time."""
    burn = "import time; t = time.process_time()\nwhile time.process_time() - t < 0.2: pass"
    leave = (
        f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {burn!r}], start_new_session=True)"
    )
    # In a process of its own: the test's other children are not to be reaped.
    code = (
        "import os, sys; from benchmarks import processes\n"
        f"ended = processes.run([sys.executable, '-c', {leave!r}], {{**os.environ, 'HOME': {str(tmp_path)!r}}})\n"
        "print(ended.left_behind_cpu)"
    )
    told = processes.subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=page.ROOT
    )

    assert 0.2 <= float(told.stdout) < 2


def test_every_measurement_is_taken_and_told_of() -> None:
    """A file that measures is part of the program and of the page, and no two rows have one name."""
    files = {
        path.stem for path in page.ROOT.glob("benchmarks/*.py") if "MEASUREMENT = " in path.read_text("utf-8")
    }
    taken = [module.__name__.split(".")[-1] for module in program.ALL]
    told = page.PATH.read_text(encoding="utf-8")
    titles = [row.title for module in program.ALL for row in module.MEASUREMENT.rows]

    assert files == set(taken)
    assert [name for name in taken if f"| `{name}.py` |" not in told] == []
    assert sorted(titles) == sorted(set(titles))


def test_a_server_that_counts_its_statements_serves_as_another_does(tmp_path: Path) -> None:
    """What requests write and read is counted."""
    counts = tmp_path / "counts"
    command = OURS.program("counted_server", counts)
    with serving(OURS, tmp_path, command) as server, closing(Client(server.port)) as ask:
        before = struct.unpack("<3q", counts.read_bytes())
        flow = ask("POST", "/flows/", {"name": "counted"})["id"]
        between = struct.unpack("<3q", counts.read_bytes())
        assert ask("GET", f"/flows/{flow}")["name"] == "counted"
        after = struct.unpack("<3q", counts.read_bytes())

    assert between[1] > before[1]
    assert between[2] > before[2]
    assert after[0] > between[0]
