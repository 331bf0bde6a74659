"""What many threads ask at one time is carried out at once, each gets his own answer, and one fault is everybody's."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest

from headrace.server.store.together import Together
from tests.verdicts.house import until


class Slow:
    """Work whose first batch waits until it is let go."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.go = threading.Event()

    def __call__(self, asks: Sequence[int]) -> list[int]:
        """Answer each number with its square."""
        self.batches.append(list(asks))
        if len(self.batches) == 1:
            assert self.go.wait(30)
        if 13 in asks:
            raise ValueError("not 13")
        return [ask * ask for ask in asks]


def test_those_who_come_meanwhile_go_together() -> None:
    """One goes first; the others share the next turn, and their answers are not mixed up."""
    together: Together[int, int] = Together()
    work = Slow()
    with ThreadPoolExecutor(8) as threads:
        first = threads.submit(together.carry_out, "key", 1, work)
        until(lambda: work.batches, "the first turn")
        others = {number: threads.submit(together.carry_out, "key", number, work) for number in range(2, 8)}
        until(lambda: len(together._queues["key"].waiting) == 6, "all others to wait")
        elsewhere = threads.submit(together.carry_out, "another key", 9, lambda asks: [-ask for ask in asks])
        assert elsewhere.result(30) == -9, "who asks for something else does not wait"
        work.go.set()
        assert first.result(30) == 1
        assert {number: future.result(30) for number, future in others.items()} == {
            number: number * number for number in others
        }

    assert [sorted(batch) for batch in work.batches] == [[1], [2, 3, 4, 5, 6, 7]]
    assert together._queues == {}, "nothing is kept of keys that nobody asks under"


def test_a_fault_is_told_to_all_of_a_turn_and_to_nobody_else() -> None:
    """The next turn is a new one."""
    together: Together[int, int] = Together()
    work = Slow()
    with ThreadPoolExecutor(8) as threads:
        first = threads.submit(together.carry_out, "key", 1, work)
        until(lambda: work.batches, "the first turn")
        others = [threads.submit(together.carry_out, "key", number, work) for number in (12, 13)]
        until(lambda: len(together._queues["key"].waiting) == 2, "the others to wait")
        work.go.set()
        assert first.result(30) == 1
        for future in others:
            with pytest.raises(ValueError, match="not 13"):
                future.result(30)

    assert together.carry_out("key", 3, work) == 9
