"""A loop that outlives its errors: started, stopped, and turned by hand in tests."""

from __future__ import annotations

import logging
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable

from sqlalchemy.exc import OperationalError

_log = logging.getLogger("headrace.server")


class Service(ABC):
    """Call :meth:`tick` every :attr:`every_s` seconds in a thread of its own.

    What a tick raises is logged and never ends the loop. Starting twice, and stopping twice or before
    starting, are fine.
    """

    every_s: float
    """Seconds between the end of one tick and the beginning of the next."""

    def __init__(self) -> None:
        self._stopping = threading.Event()
        self._woken = threading.Event()
        self._thread: threading.Thread | None = None

    @abstractmethod
    def tick(self) -> None:
        """Do what is due now."""

    def finish(self) -> None:
        """Do what must not be left undone when the loop has ended; nothing by default."""
        return

    def start(self) -> None:
        """Start the loop; its first tick comes after one pause."""
        if self._thread is None:
            self._stopping.clear()
            self._thread = threading.Thread(target=self._loop, name=f"headrace-{self.name}", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """End the loop and wait for the tick it is in."""
        thread, self._thread = self._thread, None
        if thread is not None:
            self._stopping.set()
            self._woken.set()
            thread.join()

    def wake(self) -> None:
        """Let the next tick come at once; any thread may call it, also when the loop has not started."""
        self._woken.set()

    @property
    def name(self) -> str:
        """The service's noun, for threads and the log."""
        return type(self).__name__

    def _loop(self) -> None:
        while not self._is_over():
            self._survive(self.tick)
        self._survive(self.finish)

    def _is_over(self) -> bool:
        """Pause, unless somebody wakes the loop, and say whether it is to end."""
        self._woken.wait(self.every_s)
        self._woken.clear()
        return self._stopping.is_set()

    def _survive(self, step: Callable[[], None]) -> None:
        try:
            step()
        except (
            OperationalError
        ) as error:  # the database is away or busy: that passes, and is nobody's mistake here
            why = " ".join(str(error.orig).split())
            _log.warning("%s will try again in %g s: %s", self.name, self.every_s, why)
        except Exception:  # noqa: BLE001  # whatever it was, the next turn may do better
            _log.exception("%s could not do its work and will try again in %g s.", self.name, self.every_s)
