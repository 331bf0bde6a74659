"""A slice ends by the clock, and its pieces become smaller where they take long, larger where they do not."""

from __future__ import annotations

from headrace.server.store.pace import LEAST_ROWS, MOST_ROWS, Pace


class Clock:
    """Tells the time it was set to."""

    def __init__(self) -> None:
        self.at = 100.0

    def __call__(self) -> float:
        return self.at


def test_a_slice_is_over_when_its_time_is() -> None:
    """As soon as the piece is done that took it there; the next slice begins anew."""
    clock = Clock()
    pace = Pace(0.010, clock)
    clock.at += 0.006

    assert (pace.took(), pace.over, pace.enough()) == (False, False, False)

    clock.at += 0.006

    assert pace.enough()
    assert not pace.over  # no piece was done since
    assert pace.took()
    assert pace.over

    pace.begin()

    assert not pace.over
    assert not pace.enough()


def test_pieces_follow_what_they_took() -> None:
    """Down to a least size, and up again to the usual one."""
    clock = Clock()
    pace = Pace(0.010, clock)
    sizes = []
    for took_s in (0.011, 0.030, 0.011, 0.011, 0.007, 0.004, 0.004, 0.004, 0.004, 0.004):
        pace.begin()
        clock.at += took_s
        pace.took()
        sizes.append(pace.rows)

    assert sizes == [50, 25, 12, LEAST_ROWS, LEAST_ROWS, 20, 40, 80, MOST_ROWS, MOST_ROWS]


def test_what_comes_before_a_piece_is_none_of_it() -> None:
    """To lock fifty runs may take longer than to delete a hundred rows."""
    clock = Clock()
    pace = Pace(0.010, clock)
    clock.at += 0.050
    pace.mark()
    clock.at += 0.001

    assert pace.took()
    assert pace.rows == MOST_ROWS
