"""However answers are lost, late or doubled, a journal arrives whole, each byte once."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from headrace.model.shipping import BACKOFF_S, Shipping


@given(
    size=st.integers(0, 300),
    most=st.integers(1, 50),
    held=st.integers(0, 40),
    fates=st.lists(st.sampled_from(["answered", "lost", "swallowed"]), max_size=60),
    is_first=st.booleans(),
)
def test_whatever_is_lost_the_server_ends_with_every_byte_once(
    size: int, most: int, held: int, fates: list[str], is_first: bool
) -> None:
    """A piece, or its answer, may be lost; another supervisor may have shipped before; the disk syncs as it goes."""
    journal = bytes(number % 251 for number in range(size))
    server = bytearray(b"" if is_first else journal[: min(held, size)])
    shipping = Shipping(is_first=is_first)
    for number in range(size + len(fates) + 2):
        fate = fates[number] if number < len(fates) else "answered"
        synced = size if number >= len(fates) else min(size, number * most)
        if shipping.offset is None:
            if fate == "answered":
                shipping.holds(len(server))
            continue
        piece = shipping.piece(synced, most)
        if piece is None:
            assert shipping.offset >= synced
            continue
        begin, end = piece
        assert begin < end <= synced
        assert end - begin <= most
        if fate != "lost" and begin <= len(server):
            server += journal[len(server) : end]
        if fate == "answered":
            shipping.holds(len(server))

    assert journal == bytes(server)


@given(luck=st.lists(st.floats(0, 1), min_size=12, max_size=12))
def test_tries_become_rarer_and_begin_anew_after_an_answer(luck: list[float]) -> None:
    """Never rarer than the longest pause and a third."""
    shipping = Shipping(is_first=True)
    pauses = [shipping.is_away(one) for one in luck]
    first, longest = BACKOFF_S

    assert all(pause <= longest * 1.3 for pause in pauses)
    assert pauses[0] <= 2 * first * 1.3
    assert pauses[-1] >= longest * 0.7
    shipping.holds(0)
    assert shipping.is_away(1.0) <= 2 * first * 1.3
