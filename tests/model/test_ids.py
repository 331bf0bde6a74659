"""Ids: they sort by time, and nothing that a user's code does repeats them."""

from __future__ import annotations

import os
import random
import uuid

from hypothesis import given
from hypothesis import strategies as st

from headrace.model.ids import IdFactory, first_of, state_id_at

MOMENTS = st.integers(0, (1 << 48) * 1000 - 1)


@given(MOMENTS)
def test_an_id_is_a_uuid_of_version_7_that_holds_its_millisecond(moment: int) -> None:
    """Canonical text: 36 characters, lower case; RFC 9562, 5.7."""
    text = IdFactory().new(moment)
    parsed = uuid.UUID(text)

    assert str(parsed) == text
    assert (parsed.version, parsed.variant) == (7, uuid.RFC_4122)
    assert moment // 1000 == parsed.int >> 80


@given(st.lists(MOMENTS, min_size=2, unique=True))
def test_ids_sort_as_their_times_do(moments: list[int]) -> None:
    """To the microsecond, as text and as numbers."""
    factory = IdFactory()
    ids = [factory.new(moment) for moment in sorted(moments)]

    assert sorted(ids) == ids


@given(MOMENTS, MOMENTS)
def test_the_first_id_of_a_moment_parts_earlier_ids_from_later_ones(bound: int, moment: int) -> None:
    """To the millisecond: so a table whose key is an id can be walked up to a time."""
    assert (IdFactory().new(moment) < first_of(bound)) == (moment // 1000 < bound // 1000)


def test_ids_of_one_microsecond_differ() -> None:
    """Time alone does not make an id."""
    factory = IdFactory()

    assert len({factory.new(1_700_000_000_000_000) for _ in range(20_000)}) == 20_000


def test_a_users_seed_does_not_repeat_ids() -> None:
    """``random.seed(0)`` at the top of a script is common."""
    state = random.getstate()
    try:
        factory = IdFactory()
        random.seed(0)
        first = [factory.new(0) for _ in range(10)]
        random.seed(0)
        second = [factory.new(0) for _ in range(10)] + [IdFactory().new(0)]
    finally:
        random.setstate(state)

    assert len({*first, *second}) == 21


def test_a_forked_child_that_reseeds_repeats_no_id_of_its_parent() -> None:
    """The child's stream is another one."""
    factory = IdFactory()
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        factory.reseed()
        os.write(write, "\n".join(factory.new(0) for _ in range(100)).encode())
        os._exit(0)
    os.close(write)
    with os.fdopen(read) as pipe:
        theirs = pipe.read().split("\n")
    os.waitpid(child, 0)
    ours = [factory.new(0) for _ in range(100)]

    assert len({*ours, *theirs}) == 200


@given(st.lists(st.integers(0, (1 << 40) - 1), min_size=2, max_size=50, unique=True))
def test_the_id_of_a_state_is_its_place(offsets: list[int]) -> None:
    """The same place makes the same id, another place another one, and it still names its journal's time."""
    journal = IdFactory().new(1_700_000_000_000_000)
    ids = [state_id_at(journal, offset) for offset in offsets]

    assert ids == [state_id_at(journal, offset) for offset in offsets]
    assert len(offsets) == len(set(ids))
    assert all(str(uuid.UUID(text)) == text for text in ids)
    assert {journal[:24]} == {text[:24] for text in ids}
