"""Made-up journals, as bytes: what an honest process could have written until its last moment."""

from __future__ import annotations

from hypothesis import strategies as st

from headrace.model import entries
from headrace.model.entries import encode

from .strategies import START, facts

JOURNAL = "0190c0e0-0000-7000-8000-0000000000aa"


@st.composite
def records(draw: st.DrawFn, most_runs: int = 4) -> list[entries.Entry]:
    """Records of a flow and some tasks, mixed as their threads mixed them, with log lines between."""
    flow = entries.FlowRun("flow", START, "etl", "quiet-otter")
    strands: list[list[entries.Entry]] = [[flow, *draw(_states("flow"))]]
    for number in range(draw(st.integers(0, most_runs - 1))):
        task = entries.TaskRun(
            f"task-{number}", START, "load", f"load-{number}", str(number), flow_run="flow"
        )
        strands.append([task, *draw(_states(task.run))])
    mixed: list[entries.Entry] = [entries.Open(JOURNAL, START, (1, 2), 10, 20, "boot", "mill")]
    while strands:
        strand = draw(st.sampled_from(strands))
        mixed.append(strand.pop(0))
        if not strand:
            strands.remove(strand)
        if draw(st.booleans()):
            mixed.append(
                entries.Log(START, 20, "headrace", "né\0\n" * draw(st.integers(1, 20)), flow_run="flow")
            )
    return mixed


def journals() -> st.SearchStrategy[bytes]:
    """Whole journals, as bytes."""
    return records().map(lambda made: b"".join(encode(record) + b"\n" for record in made))


def _states(run: str) -> st.SearchStrategy[list[entries.State]]:
    return facts(1, START).map(
        lambda rows: [entries.State(run=run, t=row.t, type=row.type, name=row.name) for row in rows[1:]]
    )
