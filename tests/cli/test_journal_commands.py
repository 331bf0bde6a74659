"""``journal ls`` and ``journal show``: the black box is readable without any server."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path

import pytest

from headrace.cli.journal_lines import LEFT_BEHIND, LIVING, SHIPPED, SHIPPING
from headrace.journal.spool import Folder, Spool, boot_id, start_ticks, try_lock
from headrace.model import entries
from headrace.model.entries import encode

from .conftest import Headrace

T = 1_790_000_000_000_000
FIRST = "0198aaaa-0000-7000-8000-111111111111"
SECOND = "0198aaaa-0000-7000-8000-222222222222"
RUN = "0198aaab-0000-7000-8000-000000000001"
TASK = "0198aaab-0000-7000-8000-000000000002"


def lines(journal: str, *, pid: int, started: int | None) -> list[entries.Entry]:
    """The records of a run that failed."""
    return [
        entries.Open(journal, T, (T * 1000, 0), pid, started or 0, boot_id(), socket.gethostname()),
        entries.Adopted(T, 77),
        entries.FlowRun(RUN, T, "etl", "brave-otter"),
        entries.State(RUN, T + 1, "RUNNING"),
        entries.TaskRun(TASK, T + 2, "extract", "extract-0", "0", RUN),
        entries.Log(T + 3, 30, "headrace.flow_runs", "careful:\n\x1b[2Jtwo lines", RUN),
        entries.Missing(T + 4, 3, "the disk is full"),
        entries.State(RUN, T + 1_500_000, "FAILED", message="ValueError: no"),
        entries.Exit(T + 2_000_000, code=1),
    ]


def write(home: Path, journal: str, *, alive: bool = False) -> Folder:
    """Write a journal into the spool; its process is this one, or dead."""
    folder = Spool(home).create(journal)
    folder.adopt()
    pid = os.getpid() if alive else 2**22 + 1
    records = lines(journal, pid=pid, started=start_ticks(pid))
    folder.journal.write_bytes(b"".join(encode(record) + b"\n" for record in records))
    return folder


def test_a_list_tells_whose_each_journal_is_and_how_it_stands(headrace: Headrace, home: Path) -> None:
    """Running, being shipped, left behind, shipped."""
    write(home, FIRST, alive=True)
    left = write(home, SECOND)
    lock = try_lock(left)
    assert lock is not None
    shipping = {row["id"]: row["status"] for row in headrace("journal", "ls", "-o", "json").json}
    lock.release()
    behind = {row["id"]: row for row in headrace("journal", "ls", "-o", "json").json}
    Spool(home).retire(left)
    shipped = {row["id"]: row["status"] for row in headrace("journal", "ls", "-o", "json").json}

    assert shipping == {FIRST: LIVING, SECOND: SHIPPING}
    assert behind[SECOND]["status"] == LEFT_BEHIND
    assert shipped == {FIRST: LIVING, SECOND: SHIPPED}
    assert behind[SECOND]["flows"] == ["etl"]
    assert (behind[SECOND]["state_type"], behind[SECOND]["state_name"]) == ("FAILED", "Failed")
    assert behind[SECOND]["flow_run_ids"] == [RUN]


def test_the_table_has_a_line_a_journal(headrace: Headrace, home: Path) -> None:
    """With nothing cut."""
    write(home, FIRST)
    out = headrace("journal", "ls").out.splitlines()

    assert out[0].split() == ["ID", "STATUS", "PID", "FLOWS", "STATE", "SIZE", "WRITTEN"]
    assert out[1].startswith(f"{FIRST}  left behind")


def test_an_empty_home_has_no_journals(headrace: Headrace) -> None:
    """Which is no error."""
    done = headrace("journal", "ls")

    assert (done.code, done.out) == (0, "")
    assert "No journals" in done.err
    assert headrace("journals", "ls", "-o", "json").json == []


def test_a_long_journal_is_summed_up_from_its_ends(headrace: Headrace, home: Path) -> None:
    """The state stands at its end, the flow at its beginning."""
    folder = write(home, FIRST)
    first, *rest = folder.journal.read_bytes().splitlines(keepends=True)
    noise = encode(entries.Log(T, 20, "x", "y" * 1000, RUN)) + b"\n"
    folder.journal.write_bytes(first + rest[1] + rest[2] + noise * 1000 + b"".join(rest[3:]))
    row = headrace("journal", "ls", "-o", "json").json[0]

    assert (row["flows"], row["state_name"]) == (["etl"], "Failed")


def test_show_reads_like_a_log(headrace: Headrace, home: Path) -> None:
    """Runs are called by their names, and nothing in it steers the terminal."""
    write(home, FIRST)
    out = headrace("journal", "show", FIRST).out

    assert "brave-otter is Running" in out
    assert "brave-otter is Failed: ValueError: no" in out
    assert "extract-0" in out
    assert "WARNING headrace.flow_runs: careful:⏎\ufffd[2Jtwo lines" in out
    assert "3 records are missing here: the disk is full" in out
    assert "the process is gone: exit code 1" in out
    assert len(out.splitlines()) == 9


@pytest.mark.parametrize("name", [FIRST, FIRST[-12:], "…" + FIRST[-12:], FIRST[:28]])
def test_a_journal_is_found_by_an_end_of_its_id(headrace: Headrace, home: Path, name: str) -> None:
    """As lists on narrow terminals show it."""
    write(home, FIRST)
    write(home, SECOND)

    assert headrace("journal", "show", name, "--raw").out.startswith('{"k":"open","journal":"' + FIRST)


def test_a_journal_is_found_by_its_file_or_folder(headrace: Headrace, home: Path, tmp_path: Path) -> None:
    """Also outside any home: somebody sent it."""
    folder = write(home, FIRST)
    copy = tmp_path / "sent.jsonl"
    copy.write_bytes(folder.journal.read_bytes())

    assert headrace("journal", "show", str(copy)).out == headrace("journal", "show", str(folder.path)).out


def test_raw_is_the_file_and_json_has_offsets(headrace: Headrace, home: Path) -> None:
    """An offset is a record's place, as errors of shipping name it."""
    folder = write(home, FIRST)
    with folder.journal.open("ab") as file:
        file.write(b'{"k":"state","run":"torn')
    raw, records = (
        headrace("journal", "show", FIRST, "--raw").out,
        headrace("journal", "show", FIRST, "-o", "json").json,
    )

    assert raw == folder.journal.read_text()
    assert records[-1] == {"offset": raw.rindex('{"k":"state"'), "k": "torn"}
    assert json.loads(raw[records[2]["offset"] :].split("\n", 1)[0])["flow"] == "etl"
    assert "cannot be read" in headrace("journal", "show", FIRST).out


def test_an_unknown_or_ambiguous_journal_is_told(headrace: Headrace, home: Path) -> None:
    """With the candidates."""
    write(home, FIRST)
    write(home, SECOND)
    unknown, ambiguous = headrace("journal", "show", "ffff"), headrace("journal", "show", "0198")

    assert (unknown.code, ambiguous.code) == (1, 1)
    assert "journal ls" in unknown.err
    assert FIRST in ambiguous.err
    assert SECOND in ambiguous.err


def test_a_journal_without_a_header_is_listed(headrace: Headrace, home: Path) -> None:
    """Its process died in its first write, or the disk was full."""
    Spool(home).create(FIRST)
    row = headrace("journal", "ls", "-o", "json").json[0]

    assert (row["id"], row["pid"], row["flows"], row["bytes"]) == (FIRST, None, [], 0)
