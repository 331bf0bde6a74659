"""Keeps the figures fresh that only this process knows, where another process may be the one that is asked."""

from __future__ import annotations

from collections.abc import Callable

from .service import Service

TOGETHER = "PROMETHEUS_MULTIPROC_DIR"
"""Names the folder in which server processes on one port keep their counts together; prometheus-client reads it."""


class Pulse(Service):
    """Bring figures up to date every few seconds."""

    every_s = 5.0

    def __init__(self, update: Callable[[], None]) -> None:
        super().__init__()
        self._update = update

    def tick(self) -> None:
        """Bring them up to date."""
        self._update()

    def finish(self) -> None:
        """Leave none behind that is not true any more."""
        self._update()
