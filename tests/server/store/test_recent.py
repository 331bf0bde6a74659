"""What was found a moment ago is remembered for that moment."""

from __future__ import annotations

from headrace.server.store.recent import Recent


class Watch:
    """A clock that stands until it is set."""

    now = 100.0

    def __call__(self) -> float:
        """Return the time, in seconds."""
        return self.now


def test_a_value_is_remembered_for_its_time() -> None:
    """Each key's from when it was put there; what is put again begins anew."""
    watch = Watch()
    recent: Recent[str] = Recent(2.0, watch)
    recent.put("a", "first")
    watch.now += 1.5
    recent.put("b", "other")
    assert (recent.get("a"), recent.get("b"), recent.get("c")) == ("first", "other", None)
    watch.now += 0.5
    assert (recent.get("a"), recent.get("b")) == (None, "other")
    recent.put("a", "second")
    assert recent.get("a") == "second"


def test_what_is_forgotten_is_gone() -> None:
    """Forgetting what is not there does nothing."""
    recent: Recent[int] = Recent(2.0, Watch())
    recent.put("a", 1)
    recent.forget("a")
    recent.forget("a")
    assert recent.get("a") is None


def test_it_holds_a_bounded_number_of_keys() -> None:
    """However many there are; the newest is always among them."""
    recent: Recent[int] = Recent(2.0, Watch())
    for number in range(10_000):
        recent.put(number, number)
        assert recent.get(number) == number
    assert len(recent._kept) <= 1_000
