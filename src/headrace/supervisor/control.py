"""Listen for commands: a long poll that is also the sign of life."""

from __future__ import annotations

import os
import queue
import random
import threading
import time
from collections.abc import Callable

from ..client.port import Command, JournalPort
from ..errors import ApiError, ServerUnavailable

_WAIT_SECONDS = 25.0
"""Under the idle limits of the usual proxies."""

_FIRST_S = 0.05
"""Seconds before the first poll: what is short ends without one, and what begins has the processors to itself."""

_BACKOFF = (0.2, 3.0)


class Listener:
    """Asks for commands in a thread of its own and hands them over through ``commands`` and ``wake``."""

    def __init__(self, journal: str, port: JournalPort, wake: int, log: Callable[[str], None]) -> None:
        self.commands: queue.SimpleQueue[Command] = queue.SimpleQueue()
        self._journal = journal
        self._port = port
        self._wake = wake
        self._log = log
        self._after = 0
        self._stop = threading.Event()

    def start(self) -> None:
        """Begin to listen."""
        threading.Thread(target=self._run, name="listen", daemon=True).start()

    def stop(self) -> None:
        """Listen no more; the thread ends with its present poll."""
        self._stop.set()

    def _run(self) -> None:
        failures = 0
        self._stop.wait(_FIRST_S)
        while not self._stop.is_set():
            try:
                found = self._port.commands(self._journal, after=self._after, wait=_WAIT_SECONDS)
                failures = 0
            except (ServerUnavailable, ApiError):
                failures += 1
                time.sleep(min(_BACKOFF[1], _BACKOFF[0] * 2 ** min(failures, 8)) * random.uniform(0.7, 1.3))
                continue
            except Exception as error:  # noqa: BLE001  # listening goes on, whatever one poll met
                self._log(f"listening met {type(error).__name__}: {error}")
                time.sleep(1.0)
                continue
            for command in found:
                self._after = max(self._after, command.id)
                self.commands.put(command)
                os.write(self._wake, b"!")
