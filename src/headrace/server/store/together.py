"""Requests of one kind that come while one of them is carried out are carried out together, in one transaction."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Future
from typing import Any, Generic, NamedTuple, TypeVar

Ask = TypeVar("Ask")
Answer = TypeVar("Answer")


class _Waiting(NamedTuple):
    ask: Any
    outcome: Future[Any]


class _Queue:
    """What waits under one key, and whose turn it is."""

    def __init__(self) -> None:
        self.turn = threading.Lock()
        self.waiting: list[_Waiting] = []
        self.users = 0


class Together(Generic[Ask, Answer]):
    """Carries out requests of many threads: one at a time under each key, with all that wait there by then.

    Under one lock of the database they would wait for each other all the same, each with a transaction of its own.
    Where they would not, ``patience_s`` says how many seconds a request waits for those before it: then it goes beside
    them, with all that wait by then. So what is stuck holds up nobody else.
    """

    def __init__(self, patience_s: float | None = None) -> None:
        self._patience_s = -1 if patience_s is None else patience_s
        self._lock = threading.Lock()
        self._queues: dict[Hashable, _Queue] = {}

    def carry_out(self, key: Hashable, ask: Ask, work: Callable[[Sequence[Ask]], Sequence[Answer]]) -> Answer:
        """Return what ``work`` answers to ``ask``; it is called with all requests of ``key``, in the order they came.

        What it raises is raised to each of them.
        """
        mine = _Waiting(ask, Future())
        with self._lock:
            queue = self._queues.setdefault(key, _Queue())
            queue.users += 1
            queue.waiting.append(mine)
        try:
            mine_now = queue.turn.acquire(timeout=self._patience_s)
            try:
                if not mine.outcome.done():
                    self._work(queue, work)
            finally:
                if mine_now:
                    queue.turn.release()
        finally:
            with self._lock:
                queue.users -= 1
                if not queue.users:
                    del self._queues[key]
        answer: Answer = mine.outcome.result()
        return answer

    def _work(self, queue: _Queue, work: Callable[[Sequence[Ask]], Sequence[Answer]]) -> None:
        with self._lock:
            waiting, queue.waiting = queue.waiting, []
        if not waiting:
            return  # others have them in their hands
        try:
            answers = work([one.ask for one in waiting])
        except BaseException as error:  # noqa: BLE001  # it belongs to all of them, each in its own thread
            for one in waiting:
                one.outcome.set_exception(error)
            return
        for one, answer in zip(waiting, answers, strict=True):
            one.outcome.set_result(answer)
