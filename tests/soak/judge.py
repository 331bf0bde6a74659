"""What state a run has earned, by what it wrote to the disk itself: the oracle of the soak."""

from __future__ import annotations

from typing import Any, NamedTuple

Json = dict[str, Any]

EARNED = {
    "returns": "COMPLETED",
    "raises": "FAILED",
    "dies": "CRASHED",
    "sleeps": "FAILED",
    "waits": "CANCELLED",
}
"""The last thing that a run says it does, and what must come of that."""


class Line(NamedTuple):
    """One line of a diary."""

    at: float
    pid: int
    word: str
    rest: str


def read(text: str) -> list[Line]:
    """Return the lines of a diary."""
    found = []
    for line in text.splitlines():
        at, pid, word, *rest = line.split(" ")
        found.append(Line(float(at), int(pid), word, " ".join(rest)))
    return found


def judge(diary: list[Line], record: Json) -> str | None:
    """Say what is wrong with a run's state; ``None`` when it has earned it."""
    deeds = [line for line in diary if line.word in EARNED or line.word == "begins"]
    begun = sum(1 for line in deeds if line.word == "begins")
    state, name = record["state_type"], record["state_name"]
    if not deeds:
        # Nothing killed its process; whoever was to start it was killed before it had.
        return None if state == "CRASHED" and record["run_count"] == 0 else "it never began"
    last = deeds[-1].word
    if last == "begins":
        return f"it began and {name} is on record, and nothing told it to end there"
    if state != EARNED[last]:
        return f"it {last}, and {name} is on record"
    if last == "sleeps" and name != "TimedOut":
        return f"it slept over its time, and {name} is on record"
    if record["run_count"] < begun:
        return f"it began {begun} times, and {record['run_count']} are on record"
    pids = [line.pid for line in deeds if line.word == "begins"]
    journals = [line.rest for line in deeds if line.word == "begins"]
    if len(set(journals)) != len(set(pids)):
        return f"its attempts {journals} were carried out by processes {pids}"
    return None


def lives(diaries: list[list[Line]]) -> list[tuple[float, float]]:
    """Return when each attempt certainly had a process: from its first line to its last."""
    found = []
    for diary in diaries:
        for pid in {line.pid for line in diary}:
            times = [line.at for line in diary if line.pid == pid]
            found.append((min(times), max(times)))
    return found
