"""Made-up reports about a run, as honest processes, supervisors, servers and people could make them."""

from __future__ import annotations

from hypothesis import strategies as st

from headrace.model.ids import state_id_at
from headrace.model.resolve import Rank, StateRow
from headrace.model.states import DEFAULT_NAME
from headrace.model.transitions import EDGES

MINUTE = 60_000_000
START = 1_700_000_000_000_000

#: {state type: [types a run's own process may go to next]}, without what only a supervisor writes.
_OWN_EDGES = {
    before: [
        e.after.value
        for e in EDGES
        if e.before is not None and e.before.value == before and e.verb != "crash"
    ]
    for before in {e.before.value for e in EDGES if e.before is not None}
}


def journal_of(attempt: int) -> str:
    """Return the id of the journal of an attempt: ids of different journals do not meet."""
    return f"0190c0e0-0000-7000-8000-{attempt << 40:012x}"


@st.composite
def facts(draw: st.DrawFn, attempt: int, begins: int) -> list[StateRow]:
    """States of one attempt along permitted edges: offsets and times grow from the first to the last."""
    type, offset, moment = "PENDING", draw(st.integers(40, 400)), begins
    rows = []
    for _ in range(draw(st.integers(1, 7))):
        rows.append(
            StateRow(
                state_id_at(journal_of(attempt), offset),
                type,
                DEFAULT_NAME[type],
                moment,
                Rank.FACT,
                attempt,
                offset,
            )
        )
        following = _OWN_EDGES.get(type)
        if not following:
            break
        type = draw(st.sampled_from(following))
        offset += draw(st.integers(40, 400))
        moment += draw(st.integers(0, MINUTE))
    return rows


def _row(number: int, type: str, moment: int, rank: Rank, attempt: int, offset: int = 0) -> StateRow:
    return StateRow(
        f"0190c0e0-1111-7000-8000-{number:012x}", type, DEFAULT_NAME[type], moment, rank, attempt, offset
    )


@st.composite
def reports(draw: st.DrawFn) -> list[StateRow]:
    """All that is ever said about one run, in one to three attempts; every report has its own id."""
    rows: list[StateRow] = []
    moment = START
    for attempt in range(1, draw(st.integers(1, 3)) + 1):
        own = draw(facts(attempt, moment))
        moment = own[-1].t + draw(st.integers(1, MINUTE))
        places = [row.offset for row in own]
        rows += own
        number = attempt << 16
        for again in range(draw(st.integers(0, 2))):  # twice: a supervisor died before it saw its own verdict
            offset = places[-1] + 100 + 400 * again
            rows.append(_row(number, "CRASHED", moment + again, Rank.VERDICT, attempt, offset))
            number += 1
        for at in draw(
            st.lists(st.sampled_from([0, *(p + 1 for p in places), places[-1] + 1000]), max_size=3)
        ):
            number += 1
            rows.append(_row(number, "CRASHED", moment + number % 7, Rank.PRESUMPTION, attempt, at))
        for type in draw(st.lists(st.sampled_from(["CANCELLING", "CANCELLED"]), max_size=2)):
            number += 1
            rows.append(_row(number, type, moment + draw(st.integers(0, 2)), Rank.PROPOSAL, attempt))
        for type in draw(st.lists(st.sampled_from(["FAILED", "COMPLETED", "SCHEDULED"]), max_size=2)):
            number += 1
            rows.append(_row(number, type, moment + draw(st.integers(0, 2)), Rank.FORCED, attempt))
        moment += MINUTE
    return rows
