"""Who asks for runs: workers' signs of life and polls, kept in memory and written together now and then."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import NamedTuple

from sqlalchemy.engine import Connection

from headrace.model.ids import IdFactory
from headrace.server.store import polls, workers
from headrace.server.store.database import Database

from .service import Service


class _Heard(NamedTuple):
    pool_id: str
    name: str


class RollCall(Service):
    """Take signs of life at no cost. A worker that is heard of for the first time is written down at once."""

    every_s = 25.0

    def __init__(self, database: Database) -> None:
        super().__init__()
        self._database = database
        self._lock = threading.Lock()
        self._known: set[_Heard | str] = set()
        self._workers_us: dict[_Heard, int] = {}
        self._polled_us: dict[str, int] = {}
        self._new_id = IdFactory().new

    def note(self, pool_id: str | None, name: str, polled: Sequence[str], now_us: int) -> bool:
        """Take that a worker asked for runs of ``polled`` (queues, or deployments without a pool) now.

        Return whether some of it is news, which :meth:`tick` should then write at once.
        """
        with self._lock:
            heard: list[_Heard | str] = [*polled]
            if pool_id is not None:
                worker = _Heard(pool_id, name)
                self._workers_us[worker] = now_us
                heard.append(worker)
            self._polled_us.update(dict.fromkeys(polled, now_us))
            news = not self._known.issuperset(heard)
            self._known.update(heard)
            return news

    def tick(self) -> None:
        """Write what was noted since the last time; what cannot be written is kept for the next."""
        with self._lock:
            workers_us, self._workers_us = self._workers_us, {}
            polled_us, self._polled_us = self._polled_us, {}
        if not workers_us and not polled_us:
            return
        try:
            self._database.write(lambda connection: self._write(connection, workers_us, polled_us))
        except Exception:
            with self._lock:
                self._workers_us = {**workers_us, **self._workers_us}
                self._polled_us = {**polled_us, **self._polled_us}
            raise

    def _write(
        self, connection: Connection, workers_us: dict[_Heard, int], polled_us: dict[str, int]
    ) -> None:
        pools = polls.pools_that_are_there(connection, {heard.pool_id for heard in workers_us})
        polls.saw(connection, polled_us)
        for (pool_id, name), at in sorted(workers_us.items()):
            if pool_id in pools:
                id = self._new_id(at)
                workers.saw(connection, self._database.kind, pool_id, name, id=id, interval_s=None, now_us=at)

    def finish(self) -> None:
        """Write what was noted before the server goes."""
        self.tick()
