"""What one worker saw is relied on by others for a moment: until somebody rings, or it is due."""

from __future__ import annotations

from headrace.server.api import looks
from headrace.server.api.bells import Bells
from headrace.server.api.looks import NOTHING_S, READY_S, Looks, Seen
from headrace.server.store.claims import Look

NOW_US = 1_000_000
NOTHING = Look(["a", "b"], ready=False, next_us=None, pool={})
SOME = NOTHING._replace(ready=True)


class Watch:
    """A clock that stands until it is set."""

    now = 100.0

    def __call__(self) -> float:
        """Return the time, in seconds."""
        return self.now


class House:
    """Looks with their bells and their clock."""

    def __init__(self) -> None:
        self.bells, self.watch = Bells(one_by_one=True), Watch()
        self.looks = Looks(self.bells, self.watch)

    def see(self, look: Look, key: str = "k") -> Seen:
        """Look, and remember it."""
        seen = self.looks.seen(look, self.bells.mark())
        self.looks.put(key, seen)
        return seen

    def recalls(self, key: str = "k", now_us: int = NOW_US) -> bool | None:
        """Return whether something is said to be ready; ``None`` when one has to look."""
        seen = self.looks.get(key, now_us)
        return None if seen is None else seen.look.ready


def test_what_was_left_for_others_counts_for_a_moment() -> None:
    """Whoever rings: what a claim finds counts."""
    house = House()
    house.see(SOME)
    house.bells.ring("a")
    assert house.recalls() is True
    assert house.recalls("other") is None
    house.watch.now += READY_S
    assert house.recalls() is None


def test_nothing_counts_until_somebody_rings() -> None:
    """For one of its places, or for everybody; others' bells do not matter."""
    for ring in (
        lambda bells: bells.ring("b"),
        lambda bells: bells.ring_all(),
        lambda bells: bells.ring_here("a"),
    ):
        house = House()
        house.see(NOTHING)
        house.bells.ring("c", None)
        assert house.recalls() is False
        ring(house.bells)
        assert house.recalls() is None
        house.see(NOTHING)
        assert house.recalls() is False


def test_nothing_counts_for_a_while_at_most() -> None:
    """Another server's bells may not be heard; and to remember it again makes it no newer."""
    house = House()
    seen = house.see(NOTHING)
    house.watch.now += NOTHING_S * 0.9
    house.looks.put("k", seen)
    assert house.recalls() is False
    house.watch.now += NOTHING_S * 0.2
    assert house.recalls() is None


def test_nothing_counts_until_the_next_run_is_due() -> None:
    """By the server's clock."""
    house = House()
    house.see(NOTHING._replace(next_us=NOW_US + 5))
    assert house.recalls(now_us=NOW_US + 4) is False
    assert house.recalls(now_us=NOW_US + 5) is None


def test_what_is_rung_for_while_one_looks_may_have_been_missed() -> None:
    """It was not there yet when the look began."""
    house = House()

    mark = house.bells.mark()
    house.bells.ring("a")
    seen = house.looks.seen(NOTHING, mark)
    house.looks.put("k", seen)
    assert not seen.is_still_so(house.bells)
    assert house.recalls() is None


def test_what_a_claim_left_takes_the_place_of_what_was_seen_before() -> None:
    """It is newer."""
    house = House()
    house.see(SOME)
    house.see(NOTHING)
    assert house.recalls() is False
    house.see(SOME)
    assert house.recalls() is True


def test_it_holds_a_bounded_number_of_keys() -> None:
    """However many there are; the newest is always among them, and no ring is missed for having too many things."""
    house = House()
    for number in range(3_000):
        house.see(NOTHING, str(number))
        assert house.recalls(str(number)) is False
    assert len(house.looks._kept) <= looks._MOST
    for number in range(25_000):
        house.bells.ring(str(number))
    assert len(house.bells._rung) <= 10_000
    assert house.recalls("2999") is None
