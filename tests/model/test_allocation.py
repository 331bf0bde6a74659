"""Who is given which due runs: limits hold, nobody waits for what does not concern him, and shares are fair."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from headrace.model.allocation import Due, Room, allocate, deal

_rooms = st.integers(0, 4).map(Room)
_due = st.lists(st.tuples(st.sampled_from("qr"), st.sampled_from("de")), max_size=30).map(
    lambda places: [Due(str(number), *place) for number, place in enumerate(places)]
)


@given(
    _due,
    st.integers(0, 10),
    st.none() | st.integers(0, 6),
    st.dictionaries(st.sampled_from("qr"), _rooms),
    st.dictionaries(st.sampled_from("de"), _rooms),
)
def test_no_limit_is_passed_and_no_room_is_wasted(
    due: list[Due], capacity: int, pool: int | None, queues: dict[str, Room], deployments: dict[str, Room]
) -> None:
    """Each run that waits has a limit without room in its way; those that are taken fit into all limits."""
    found = allocate(due, capacity=capacity, pool=pool, queues=queues, deployments=deployments)
    taken = [run for run in due if run.id in found.taken]
    in_queue, of_deployment = Counter(run.queue for run in taken), Counter(run.deployment for run in taken)

    assert [run.id for run in taken] == found.taken, "in the order in which they come"
    assert len(taken) <= capacity and (pool is None or len(taken) <= pool)
    assert all(in_queue[id] <= room.free for id, room in queues.items())
    assert all(of_deployment[id] <= room.free for id, room in deployments.items())
    if len(taken) < capacity and (pool is None or len(taken) < pool):
        for run in due:
            if run.id not in found.taken:
                full_queue = run.queue in queues and in_queue[run.queue] == queues[run.queue].free
                full = run.deployment in deployments
                full_deployment = full and of_deployment[run.deployment] == deployments[run.deployment].free
                assert full_queue or full_deployment
    greater = allocate(due, capacity=capacity + 1, pool=pool, queues=queues, deployments=deployments)
    assert found.more == (len(greater.taken) > len(found.taken)), "what a greater hand would take"


@given(st.lists(st.integers(), max_size=40), st.lists(st.integers(0, 9), max_size=6))
def test_shares_are_fair_and_nothing_is_dealt_twice(things: list[int], most: list[int]) -> None:
    """Nobody gets more than he takes, nobody less than another but for want or by one, and nothing is lost."""
    hands = deal(list(enumerate(things)), most)
    dealt = [thing for hand in hands for thing in hand]

    assert len(hands) == len(most)
    assert sorted(dealt) == list(enumerate(things))[: min(len(things), sum(most))]
    assert all(len(hand) <= limit for hand, limit in zip(hands, most, strict=True))
    for hand, limit in zip(hands, most, strict=True):
        if len(hand) < limit:  # he could have taken more, so nobody has two more than he
            assert all(len(other) <= len(hand) + 1 for other in hands)
